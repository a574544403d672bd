"""Receivers that hang, drip, lie or refuse, against ``ood-monitor run`` as its users run it."""

from __future__ import annotations

import signal
import time

import pytest

from monitor.alerts.alert import moment
from monitor.store.verdicts import Notice
from monitor.testing import launcher
from monitor.testing.receivers import BEHAVIOURS, Receiver
from tests.cluster import Cluster
from tests.monitor_support import embeddings

TOLD_WITHIN = 5.0
"""Poll of the history, one exchange, and a busy machine."""

TIMEOUT = 8.0
"""Of one call to a receiver: whoever waited for one that hangs would be later than TOLD_WITHIN."""

BAD = [name for name in BEHAVIOURS if name != "good"]


def notice(subject, firing=True):
    return Notice("gap", subject, firing, "critical", "Records were lost.")


def subjects_of(requests):
    """What Alertmanager was told."""
    return {a["labels"].get("subject") for r in requests for a in r.json if r.path == "/api/v2/alerts"}


def hooked(requests):
    """What the webhook was asked to take of our notices, in order."""
    labels = [r.json["alerts"][0]["labels"] for r in requests]
    return [found["subject"] for found in labels if found["alertname"] == "RecordsLost"]


@pytest.fixture
def receivers():
    with Receiver() as hook, Receiver() as manager:
        yield hook, manager


def start(cluster, receivers):
    hook, manager = receivers
    c = cluster(
        delivery={
            "webhook_url": f"{hook.url}/services/hunter2?token=hunter2", "alertmanager_url": manager.url,
            "timeout_seconds": TIMEOUT,
        }
    )  # fmt: skip
    c._rows = embeddings(4000, seed=11)  # no surge of their own
    c.publish(100)
    c.start_worker()
    c.wait_until_counted()
    return c


def test_a_receiver_that_misbehaves_delays_neither_counting_nor_the_other_receiver(cluster, receivers):
    hook, manager = receivers
    c = start(cluster, receivers)
    for behaviour in BAD:
        hook.behaviour = behaviour
        c.store.notice(notice(behaviour))
        began = time.monotonic()
        manager.wait(lambda r, b=behaviour: b in subjects_of(r))
        assert time.monotonic() - began < TOLD_WITHIN, behaviour
        hook.wait(lambda r, b=behaviour: b in hooked(r))
        before = c.counted()
        c.publish(200)
        began = time.monotonic()
        c.wait(lambda n=before: c.counted() >= n + 200, 20)
        assert time.monotonic() - began < TOLD_WITHIN, behaviour
        hook.behaviour = "good"
        last = f"after {behaviour}"
        c.store.notice(notice(last))
        hook.wait(lambda r, s=last: s in hooked(r), 30)
    taken = list(dict.fromkeys(hooked(hook.requests)))
    assert taken == [s for behaviour in BAD for s in (behaviour, f"after {behaviour}")]
    assert "hunter2" not in c.logs()
    assert "Traceback" not in c.logs()


@pytest.mark.parametrize("behaviour", ["hangs", "drips", "drips headers", "fails"])
def test_a_monitor_whose_receiver_misbehaves_ends_when_it_is_told_to(cluster, receivers, behaviour):
    hook, _ = receivers
    c = start(cluster, receivers)
    hook.behaviour = behaviour
    c.store.notice(notice(behaviour))
    hook.wait(lambda r: behaviour in hooked(r))
    (worker,) = c.workers
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert time.monotonic() - began < 5.0
    c.workers.clear()
    hook.behaviour = "good"
    asked = len(hook.requests)
    c.start_worker()
    hook.wait(lambda r: behaviour in hooked(r[asked:]), 60)  # it waited for the next process


def test_redis_away_is_told_and_resolves_nothing_that_fires_until_it_is_back(broker, tmp_path, receivers):
    hook, manager = receivers
    data = tmp_path / "redis"
    data.mkdir()
    redis = launcher.start_store(folder=data)
    c = Cluster(
        broker.address, f"redis://{redis.address}/0", tmp_path, "told-while-away",
        watch={"redis_seconds": 1.0},
        delivery={
            "webhook_url": hook.url, "alertmanager_url": manager.url, "timeout_seconds": 1.0, "resend_seconds": 1.0,
        },
    )  # fmt: skip
    try:
        c._rows = embeddings(4000, seed=11)
        c.publish(100)
        c.start_worker()
        c.wait_until_counted()
        c.store.notice(notice("embeddings/3"))
        manager.wait(lambda r: "embeddings/3" in subjects_of(r))
        redis.stop()

        def stalled(requests):
            return [a for r in requests for a in r.json if a["labels"].get("alertname") == "MonitorStalled"]

        manager.wait(stalled, 60)
        hook.wait(lambda r: any(x.json["alerts"][0]["labels"]["alertname"] == "MonitorStalled" for x in r), 20)
        posts = len(manager.requests)
        later = manager.wait(lambda r: len(r) >= posts + 4, 60)[posts:]
        for request in later:  # what fired goes on firing, beside the news
            assert {"embeddings/3", "redis"} <= subjects_of([request])
        redis = launcher.start_store(port=redis.port, folder=data)
        manager.wait(lambda r: any(ended(a) for a in stalled(r)), 60)
        hook.wait(lambda r: any(ended(a) for x in r for a in x.json["alerts"]), 20)
        assert c.workers[0].poll() is None
    finally:
        c.stop()
        redis.stop()


def ended(alert):
    """Whether it is the end of the alert that Redis is away."""
    over = alert.get("status") == "resolved" or alert["endsAt"] < moment(time.time() + 1)
    return over and alert["labels"].get("subject") == "redis" and not alert["endsAt"].startswith("0001")
