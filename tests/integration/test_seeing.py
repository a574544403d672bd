"""What one sender, one clock, one restart or one changed setting does to everybody else: on real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from line_plugin import LINe
from monitor import cli
from monitor.testing.receivers import Receiver
from tests.cluster import differences
from tests.live import Live, holds, transitions, wait_for_surge
from tests.monitor_support import embeddings, small_line

pytestmark = pytest.mark.slow

QUICK = {"seconds": 0.2, "idle_seconds": 2.0, "hold_seconds": 4.0}


@pytest.fixture
def quick(cluster):
    return lambda **more: cluster(**({"buckets": QUICK, "dead_letters": {"max_share": 1.0}} | more))


def judged(c):
    return c.store.health().times.get("folded_at", 0)


def start(c):
    c.start_worker()
    c.wait(lambda: judged(c) > 0)


def test_a_partition_of_records_that_cannot_be_scored_blinds_nobody(quick):
    c = quick()
    with Live(c) as live:
        start(c)
        live.partitions, live.ood = [0, 1, 2, 3, 4], 0.5
        begin = time.monotonic()

        def poison() -> bool:
            c.producer().send(c.topic, value=b"short", partition=5)
            return transitions(c).count("raised") > 0

        c.wait(poison, 40)
        assert time.monotonic() - begin < 10


@pytest.mark.parametrize("shift", [55 * 60, -3600, -1_600_000_000], ids=["55 minutes ahead", "an hour behind", "1970"])
def test_one_sender_with_a_wrong_clock_blinds_nobody(quick, shift):
    c = quick()
    with Live(c) as live:
        live.partitions = [0, 1, 2, 3, 4]
        start(c)
        begin, started = time.monotonic(), time.time_ns() // 1_000_000

        def mistimed() -> bool:  # all the time, on a partition of its own and on one that it shares
            stamp = max(0, started + 1000 * shift + round(1000 * (time.monotonic() - begin)))
            for partition in (0, 5):
                c.producer().send(
                    c.topic, key=b"wrong", value=embeddings(1, 9)[0].tobytes(), partition=partition, timestamp_ms=stamp
                )
                c.sent += 1
            if time.monotonic() - begin > 4:
                live.ood = 0.5
            return transitions(c).count("raised") > 0

        c.wait(mistimed, 40)
        assert time.monotonic() - begin < 4 + 15
    c.wait_until_counted()
    assert differences(c.store.totals(), c.recounted()) == (0, 0)


def test_a_record_stamped_ahead_and_then_quiet_does_not_close_the_future(quick):
    c = quick()
    with Live(c) as live:
        start(c)
    stamp = (time.time_ns() // 1_000_000) + 55 * 60_000
    c.producer().send(c.topic, key=b"a", value=embeddings(1, 9)[0].tobytes(), partition=0, timestamp_ms=stamp).get(30)
    c.sent += 1
    c.wait_until_counted()
    quiet_since = time.monotonic()
    c.wait(lambda: time.monotonic() - quiet_since > QUICK["idle_seconds"] + 1, 30)
    with Live(c) as live:
        assert wait_for_surge(c, live) < 15


def test_a_partition_that_stands_holds_buckets_open_for_a_stated_time_only(quick):
    """Its sender's clock stands still: it goes on sending, and its time does not move."""
    c = quick()
    with Live(c) as live:
        start(c)
        live.partitions = [0, 1, 2, 3, 4]
        stands = time.time_ns() // 1_000_000

        def stuck() -> bool:
            c.producer().send(
                c.topic, key=b"stuck", value=embeddings(1, 9)[0].tobytes(), partition=5, timestamp_ms=stands
            )
            c.sent += 1
            return transitions(c).count("raised") > 0

        live.ood = 0.5
        begin = time.monotonic()
        c.wait(stuck, 40)
        assert time.monotonic() - begin < QUICK["hold_seconds"] + 10


def test_a_restart_after_a_long_pause_is_not_silence(quick):
    c = quick(alerts={"silence_seconds": 3})
    with Live(c):
        start(c)
        c.wait(lambda: sum(c.store.totals().values()) > 2000, 60)
    c.leave(c.workers[0])
    with Live(c):
        stopped = time.monotonic()
        while time.monotonic() - stopped < 6:  # longer than silence_seconds
            time.sleep(0.1)
        c.start_worker()
        before = judged(c)
        c.wait(lambda: judged(c) > before + 3000, 60)
    assert transitions(c, "silence") == []


def test_senders_that_stop_while_the_monitor_listens_are_one_silence(quick):
    c = quick(alerts={"silence_seconds": 3})
    with Live(c, streams=("a", "b", "c")):
        start(c)
        c.wait(lambda: sum(c.store.totals().values()) > 2500, 60)
    c.wait(lambda: transitions(c, "silence") == ["raised"], 40)
    alert = next(a for a in c.store.alerts() if a["kind"] == "silence")
    assert json.loads(alert["streams"]) == ["a", "b", "c"]
    with Live(c, streams=("a", "b", "c")):
        c.wait(lambda: transitions(c, "silence") == ["raised", "resolved"], 40)
    alert = next(a for a in c.store.alerts() if a["kind"] == "silence")
    assert alert["ended_at"] >= alert["started_at"]


# -- settings and artifacts --------------------------------------------------------------------------------------------


def other_artifact(folder: Path) -> Path:
    line = small_line()
    line.calibrate(torch.from_numpy(embeddings(1500, seed=77)))
    path = folder / "other.safetensors"
    line.save(path)
    return path


def with_settings(c, name: str, **sections) -> Path:
    settings = json.loads(json.dumps(c.config))
    for section, values in sections.items():
        settings.setdefault(section, {}).update(values)
    path = c.folder / name
    path.write_text(yaml.safe_dump(settings))
    return path


def run_to_the_end(path: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "monitor.cli", "run", "--config", str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2], check=False
    )
    return done.returncode, done.stderr


def test_a_changed_setting_or_artifact_is_refused_with_how_to_go_on(quick):
    c = quick()
    with Live(c):
        start(c)
        wider = with_settings(c, "wider.yml", buckets={"seconds": 1.0})
        code, said = run_to_the_end(wider)
        assert code == 1
        assert "buckets.seconds is 0.2 there and 1.0 here" in said
        assert "ood-monitor promote" in said
        other = with_settings(c, "other.yml", model={"artifact": str(other_artifact(c.folder))})
        code, said = run_to_the_end(other)
        assert code == 1
        assert "model.artifact is" in said
    assert transitions(c) == []


def test_a_promotion_in_place_loses_no_record_and_starts_the_evidence_afresh(quick, capsys):
    c = quick()
    artifact = other_artifact(c.folder)
    new = with_settings(c, "new.yml", model={"artifact": str(artifact)}, buckets={"seconds": 0.5})
    with Live(c) as live:
        start(c)
        wait_for_surge(c, live)
        live.ood = 0.0  # what is sent between the two workers holds no surge
        before = c.workers.pop()
        assert cli.main(["promote", "--config", str(new)]) == 0
        assert "epoch 1" in capsys.readouterr().out
        assert before.wait(30) == 1  # it is refused, says so and stops
        assert "given other settings or another artifact" in c.logs()
        told = transitions(c)
        assert told.count("raised") == told.count("resolved") >= 1
        c.path = new
        c.start_worker()
        assert holds(c, lambda: transitions(c) == told, 5)
        wait_for_surge(c, live)
    c.wait(lambda: sum(c.store.totals().values()) >= c.sent, 60)
    assert sum(c.store.totals().values()) == c.sent
    raised = next(h for h in c.store.history() if h["change"] == "raised")
    assert raised["artifact"] == LINe.load(artifact).content_sha256


def test_a_rollover_by_group_loses_no_record(quick):
    """Blue counts on while green starts beside it with another artifact; then blue stops."""
    c = quick()
    with Live(c) as live:
        start(c)
        green_settings = with_settings(
            c, "green.yml", model={"artifact": str(other_artifact(c.folder))}, kafka={"group": f"{c.topic}-green"}
        )
        blue, c.path = c.workers[0], green_settings
        c.start_worker()
        green = type(c.store)(c.store._client, f"{c.topic}-green")
        c.wait(lambda: sum(green.totals().values()) >= c.sent - 400, 60)
        c.leave(blue)
        live.ood = 0.5
        c.wait(lambda: any(h["change"] == "raised" for h in green.history()), 40)
    c.wait(lambda: sum(green.totals().values()) >= c.sent, 60)
    assert sum(green.totals().values()) == c.sent


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_key_for_every_record_does_not_slow_the_others_down(quick):
    c = quick(streams={"limit": 50})
    with Live(c) as live:
        start(c)
        for n in range(5000):
            c.producer().send(c.topic, key=f"request-{n}".encode(), value=embeddings(1, 9)[0].tobytes())
            c.sent += 1
        c.producer().flush()
        assert wait_for_surge(c, live) < 15
    c.wait_until_counted()
    assert c.counted() == c.sent
    assert c.store.health().streams <= 50
    assert "streams.limit" in c.logs()


def test_a_retired_stream_is_forgotten_and_its_alert_is_over(quick, capsys):
    c = quick()
    with Live(c) as live:
        start(c)
        wait_for_surge(c, live)
        surging = next(a["stream"] for a in c.store.alerts() if a["status"] == "firing") or "a"
    c.wait_until_counted()
    assert cli.main(["retire", "nobody", "--config", str(c.path)]) == 1
    assert "no stream 'nobody' is known" in capsys.readouterr().err
    assert cli.main(["retire", surging, "--config", str(c.path)]) == 0
    c.wait(lambda: surging not in c.store.streams(), 30)
    assert all(a["stream"] != surging or a["status"] == "resolved" for a in c.store.alerts())
    assert sum(c.store.totals().values()) == c.sent


# -- traffic that changes slowly ---------------------------------------------------------------------------------------


def test_traffic_that_is_no_longer_as_calibrated_is_information_which_no_receiver_is_told(quick):
    receiver = Receiver()
    c = quick(
        drift={"window": 300, "look_seconds": 0.2, "requests_per_false_information": 100_000},
        delivery={"webhook_url": receiver.url},
    )
    rows = embeddings(6000, seed=5)
    line = small_line()
    assert line.calibration is not None
    usual = rows[(line.calibration.cells(line.score(torch.from_numpy(rows))) == 6).numpy()]

    def told() -> list[dict[str, str]]:
        return [a for a in c.store.alerts() if a["kind"] == "drift" and a["status"] == "firing"]

    def send(rows: np.ndarray) -> None:
        now = time.time_ns() // 1_000_000
        for n in range(150):
            row = rows[c.sent % len(rows)]
            c.producer().send(c.topic, key=b"a", value=row.tobytes(), partition=n % c.partitions, timestamp_ms=now)
            c.sent += 1
        c.producer().flush()

    c.start_worker()
    c.wait(lambda: send(rows) or len(c.store.windows()) == 1)
    begun = c.store.windows()["a"]
    c.wait(lambda: send(rows) or c.store.windows()["a"] != begun)  # a whole window of calibrated traffic
    assert told() == []
    c.wait(lambda: send(usual) or bool(told()))
    (alert,) = told()
    assert alert["severity"] == "info"
    assert "of the scores lie in a range that holds 10.0% of the calibration scores" in alert["summary"]
    assert [e["kind"] for e in c.store.history()] == ["drift"]
    c.wait(lambda: send(rows) or not told())
    assert receiver.requests == []
    receiver.close()


# -- the monitor watching itself ---------------------------------------------------------------------------------------


def test_a_canary_goes_the_whole_way_and_stays_from_people(quick):
    c = quick(canary={"seconds": 3, "timeout_seconds": 20})
    with Live(c):
        start(c)
        c.wait(lambda: c.store.health().times.get("canary_seen", 0) > 0, 40)
    assert c.store.history() == []
    assert not any(stream.startswith("__canary__") for stream in c.store.streams())
