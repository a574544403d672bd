"""A replay over actors of Ray gives what the plain replay gives, digit for digit, whatever happens to an actor."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path

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


def processes_of_ray() -> set[int]:
    found = set()
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = line.read_bytes()
        except OSError:
            continue
        if b"ray::" in text or b"/ray/core/src" in text:
            found.add(int(line.parent.name))
    return found


def test_one_two_and_four_actors_give_what_the_plain_replay_gives_and_leave_nothing_running(topic, capsys):
    before = processes_of_ray()
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
    until = time.monotonic() + 20
    while processes_of_ray() - before:
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
        for _ in range(2):  # the second finds the cluster as the first has left it
            code, out, err = said(capsys, topic, "--json", "--ray", ray_cluster.address, "--ray-actors", "2")
            assert code == 0, err
            assert out == plain[1]
            assert err.startswith("ood-monitor: 2 actors of Ray read ")
        assert processes_of_ray()


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
