"""A replay over actors of Ray gives what the plain replay gives, digit for digit, whatever happens to an actor."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest

from monitor import cli
from monitor.alerts.alert import moment
from monitor.service.replaying import pieces, ray_actors
from tests.monitor_support import embeddings
from tests.ray_cluster import start_cluster

pytestmark = pytest.mark.skipif(
    find_spec("ray") is None, reason='Ray is not installed: pip install "openood-line[ray]"'
)
HOUR = 3_600_000


@pytest.fixture
def topic(cluster, monkeypatch):
    """6,000 records with a surge, some that cannot be scored, and timestamps that jump back and forth."""
    monkeypatch.setattr(pieces, "LEAST", 150)
    c = cluster(alerts={"requests_per_false_alert": 1000, "silence_seconds": 0}, partitions=3)
    begin, rng = time.time_ns() // 1_000_000 - HOUR, np.random.default_rng(5)
    inside, outside = embeddings(2000, seed=11), embeddings(2000, seed=12, ood=1.0)
    for n in range(6000):
        rows = outside if 600 <= n < 900 and n % 4 else inside
        value = b"short" if n % 37 == 0 else rows[n % len(rows)].tobytes()
        c.producer().send(
            c.topic, key=f"model-{n % 4}".encode(), value=value, partition=n % 3,
            timestamp_ms=begin + 10 * n + int(rng.integers(-1500, 1500)),
        )  # fmt: skip
        c.sent += 1
    c.producer().flush()
    return c


def said(capsys, c, *more: str) -> tuple[int, str, str]:
    code = cli.main(["replay", "--config", str(c.path), *more])
    out = capsys.readouterr()
    return code, out.out, out.err


def children_of_ray() -> set[int]:
    """Processes of a Ray that this process has started. Those of other test files are nobody's business here."""
    rows = [line.split(None, 2) for line in _ps("pid=,ppid=,args=")]
    found = {int(pid) for pid, parent, args in rows if int(parent) == os.getpid() and "/ray/core/src" in args}
    while more := {int(pid) for pid, parent, _ in rows if int(parent) in found} - found:
        found |= more
    return found


def _ps(columns: str) -> list[str]:
    return subprocess.run(["ps", "-eo", columns], capture_output=True, text=True, check=True).stdout.splitlines()


def test_one_two_and_four_actors_give_what_the_plain_replay_gives_and_leave_nothing_running(topic, capsys, monkeypatch):
    started: set[int] = set()
    take_in = ray_actors._Crew._take_in

    def note_and_take_in(crew, reference):
        started.update(children_of_ray())
        take_in(crew, reference)

    monkeypatch.setattr(ray_actors._Crew, "_take_in", note_and_take_in)
    plain, text = said(capsys, topic, "--json"), said(capsys, topic)
    assert (plain[0], text[0]) == (0, 0)
    document = json.loads(plain[1])
    assert {"raised", "resolved"} <= {t["change"] for t in document["transitions"]}
    assert (len(document["rejected"]), document["records"]) == (1, 6000)
    for actors in ("1", "2"):
        code, out, err = said(capsys, topic, "--json", "--ray", "--ray-actors", actors)
        assert code == 0, err
        assert out == plain[1]
    code, out, err = said(capsys, topic, "--ray", "--ray-actors", "4")
    assert code == 0, err
    assert out == text[1]
    assert err == (
        "ood-monitor: 4 actors of Ray read 18 pieces: each of 6,000 offsets once, 0 of them without a record\n"
    )
    assert len(started) >= 3 * 2 + 1 + 2 + 4  # of each Ray its two servers, and the actors
    until = time.monotonic() + 20
    while started & {int(pid) for pid in _ps("pid=")}:
        assert time.monotonic() < until, "processes of Ray are left"
        time.sleep(0.05)


def test_a_range_of_times_is_the_same_and_a_killed_actor_is_replaced(topic, capsys, monkeypatch):
    first = min(r.timestamp for r in topic.records()) / 1000
    between = ["--from", moment(first + 8), "--to", moment(first + 50), "--json"]
    plain = said(capsys, topic, *between)
    assert 0 < json.loads(plain[1])["records"] < 6000
    killed, give = [], ray_actors._Crew._give

    def give_and_kill(crew, actor, n, of):
        if n == 4 and not killed:
            killed.append(crew._ray.get(actor.process.remote()))
            os.kill(killed[0], signal.SIGKILL)
        give(crew, actor, n, of)

    monkeypatch.setattr(ray_actors._Crew, "_give", give_and_kill)
    code, out, err = said(capsys, topic, *between, "--ray", "--ray-actors", "2")
    assert code == 0, err
    assert out == plain[1]
    assert len(killed) == 1
    assert "; 1 actor died and what it had in hand was read again\n" in err


def test_a_replay_over_the_nodes_of_a_cluster_is_the_plain_one_and_the_cluster_runs_on(topic, capsys):
    plain = said(capsys, topic, "--json")
    with start_cluster(1, more=1) as ray_cluster:
        command = [sys.executable, "-m", "monitor.cli", "replay", "--config", str(topic.path), "--json"]
        command += ["--ray", ray_cluster.address, "--ray-actors", "2"]
        for _ in range(2):  # the second finds the cluster as the first has left it
            # In a process of its own: Ray asks once a process whether there is a token, and keeps the answer.
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout == plain[1]
            assert "ood-monitor: 2 actors of Ray read " in done.stderr


def test_ray_that_is_not_there_or_not_installed_is_one_line_that_says_how_to_go_on(cluster, capsys, monkeypatch):
    c = cluster()
    code, out, err = said(capsys, c, "--ray", "127.0.0.1:1")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"ood-monitor: nothing answers at 127.0.0.1:1 \(.*give the address .*\n", err)
    monkeypatch.setitem(sys.modules, "ray", None)
    code, out, err = said(capsys, c, "--ray")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"ood-monitor: .*pip install 'openood-line\[ray\]'\n", err)
    assert said(capsys, c, "--ray-actors", "2")[0] == 2
