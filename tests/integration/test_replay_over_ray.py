"""A replay over actors of Ray gives what the plain replay gives, digit for digit, whatever happens to an actor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from monitor import cli
from monitor.config import load
from monitor.errors import ModelError, ReplayError
from monitor.service.replay import replay
from monitor.service.replaying import pieces, ray_actors
from monitor.service.replaying.fleet import Fleet
from tests.monitor_support import embeddings

pytest.importorskip("ray", reason='Ray is not installed: pip install "openood-line[ray]"')
HOUR = 3_600_000


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "LEAST", 150)


@pytest.fixture
def topic(cluster):
    """3,000 records with a surge, a few that cannot be scored, and timestamps that jump back and forth."""
    c = cluster(alerts={"requests_per_false_alert": 1000, "silence_seconds": 0})
    begin, rng = time.time_ns() // 1_000_000 - HOUR, np.random.default_rng(5)
    inside, outside = embeddings(2000, seed=11), embeddings(2000, seed=12, ood=1.0)
    for n in range(3000):
        rows = outside if 600 <= n < 1000 and n % 2 else inside
        value = b"short" if n % 37 == 0 else rows[n % len(rows)].tobytes()
        c.producer().send(
            c.topic, key=f"model-{n % 4}".encode(), value=value, partition=n % 3,
            timestamp_ms=begin + 10 * n + int(rng.integers(-3000, 3000)),
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
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as line:
                if name.isdecimal() and (b"ray::" in (text := line.read()) or b"/ray/core/src" in text):
                    found.add(int(name))
        except OSError:
            continue
    return found


def test_one_two_and_four_actors_give_the_report_and_the_alerts_of_the_plain_replay(topic, small_pieces, capsys):
    before = processes_of_ray()
    plain, text = said(capsys, topic, "--json"), said(capsys, topic)
    document = json.loads(plain[1])
    assert {"raised", "resolved"} <= {t["change"] for t in document["transitions"]}
    assert document["rejected"] and document["records"] == 3000
    for actors in ("1", "2", "4"):
        assert said(capsys, topic, "--json", "--ray", "--ray-actors", actors)[:2] == plain[:2]
    code, out, err = said(capsys, topic, "--ray", "--ray-actors", "2")
    assert (code, out) == text[:2]
    assert err == (
        "ood-monitor: 2 actors of Ray read 9 pieces: each of 3,000 offsets once, 0 of them without a record\n"
    )
    until = time.monotonic() + 20
    while processes_of_ray() - before:
        assert time.monotonic() < until, "processes of Ray are left"
        time.sleep(0.05)


def test_a_range_of_times_is_the_same_over_actors(topic, small_pieces, capsys):
    from monitor.alerts.alert import moment

    first = min(r.timestamp for r in topic.records()) / 1000
    between = ["--from", moment(first + 8), "--to", moment(first + 25), "--json"]
    plain = said(capsys, topic, *between)
    assert 0 < json.loads(plain[1])["records"] < 3000
    assert said(capsys, topic, *between, "--ray", "--ray-actors", "2")[:2] == plain[:2]


def test_a_killed_actor_is_replaced_and_what_it_had_in_hand_is_read_again(topic, small_pieces, capsys, monkeypatch):
    plain = said(capsys, topic, "--json")
    killed = []
    give = ray_actors._Crew._give

    def give_and_kill(crew, actor, n, of):
        if n in (1, 4) and n not in killed:
            killed.append(n)
            os.kill(crew._ray.get(actor.process.remote()), signal.SIGKILL)
        give(crew, actor, n, of)

    monkeypatch.setattr(ray_actors._Crew, "_give", give_and_kill)
    code, out, err = said(capsys, topic, "--json", "--ray", "--ray-actors", "2")
    assert (code, out) == plain[:2]
    assert killed == [1, 4] and "2 actors died and what they had in hand was read again" in err


def test_a_piece_that_ends_every_actor_is_one_error(topic, small_pieces, monkeypatch):
    give = ray_actors._Crew._give

    def give_and_kill(crew, actor, n, of):
        if n == 2:
            os.kill(crew._ray.get(actor.process.remote()), signal.SIGKILL)
        give(crew, actor, n, of)

    monkeypatch.setattr(ray_actors._Crew, "_give", give_and_kill)
    with pytest.raises(ReplayError, match=r"offsets 300 to 450 of \S+/0 ended 3 actors of Ray one after the other"):
        replay(load(topic.path, {}), "earliest", "latest", ray=Fleet(actors=2))


def test_a_piece_that_is_lost_or_joined_twice_is_found_by_the_sums_of_offsets(topic, small_pieces, monkeypatch):
    read = ray_actors._Crew.read
    for spoil, got in ((lambda found: found[:-1], 851), (lambda found: [*found, found[-1]], 1150)):
        monkeypatch.setattr(ray_actors._Crew, "read", lambda crew, of, spoil=spoil: spoil(list(read(crew, of))))
        with pytest.raises(ReplayError, match=rf"/2: \d+ offsets with a sum of \d+ were read, expected 1000 with"):
            replay(load(topic.path, {}), "earliest", "latest", ray=Fleet(actors=1))
        assert got


def test_what_is_wrong_in_an_actor_is_the_error_of_the_plain_replay(topic, tmp_path):
    config = load(topic.path, {})
    away = config.model_copy(update={"model": config.model.model_copy(update={"artifact": tmp_path / "absent"})})
    with pytest.raises(ModelError, match="absent"):
        replay(away, "earliest", "latest", ray=Fleet(actors=1))


def test_ray_that_is_not_there_or_not_installed_is_one_line_that_says_how_to_go_on(topic, capsys, monkeypatch):
    code, out, err = said(capsys, topic, "--ray", "127.0.0.1:1")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1 and "Ray at 127.0.0.1:1 cannot be used" in err and "replay without --ray" in err
    monkeypatch.setitem(sys.modules, "ray", None)
    code, out, err = said(capsys, topic, "--ray")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1 and 'pip install "openood-line[ray]"' in err
    assert said(capsys, topic, "--ray-actors", "2")[0] == 2
