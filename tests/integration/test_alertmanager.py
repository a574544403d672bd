"""A surge as people behind a real Alertmanager see it: real monitor, Kafka, Redis and Alertmanager processes."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pytest

from monitor.alerts.delivery import Delivery
from monitor.alerts.sink import Context
from monitor.alerts.sinks.alertmanager import Alertmanager
from monitor.config import DeliveryConfig
from monitor.store.connection import connect
from monitor.store.redis import RedisStore
from monitor.store.redis.deliveries import RedisDeliveries
from monitor.store.verdicts import Notice
from monitor.testing.alertmanager import find_alertmanager, standing_alerts, start_alertmanager
from monitor.testing.receivers import Receiver
from tests.monitor_support import embeddings

pytestmark = pytest.mark.skipif(
    not find_alertmanager(), reason="Alertmanager is not installed (Debian: prometheus-alertmanager)"
)
RESEND, RESOLVE_TIMEOUT, SURGE = 2.0, 20.0, 50.0


class Traffic:
    """Some 200 embeddings a second, a share of them OOD, until it is stopped."""

    def __init__(self, cluster) -> None:
        self._cluster, self.ood = cluster, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._cluster.producer()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        rng, seed = np.random.default_rng(0), 100
        ins, outs = embeddings(4000, seed), embeddings(4000, seed + 1, ood=1.0)
        while not self._stop.wait(0.1):
            at = time.time_ns() // 1_000_000
            for k in range(20):
                row = (outs if rng.random() < self.ood else ins)[rng.integers(0, 4000)]
                self._cluster.producer().send(
                    self._cluster.topic, value=row.tobytes(), key=b"m", partition=k % 3, timestamp_ms=at
                )


@dataclass(frozen=True)
class Seen:
    """What Alertmanager held at one time; ``None`` while it was away."""

    at: float
    surges: tuple[tuple[str, str], ...] | None  # fingerprint and severity


class Observer:
    """Asks Alertmanager for its alerts five times a second."""

    def __init__(self, server) -> None:
        self.server, self.seen = server, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            surges = None
            with suppress(OSError):
                found = standing_alerts(self.server)
                surges = tuple(
                    (a["fingerprint"], a["annotations"]["severity"])
                    for a in found
                    if a["labels"]["alertname"] == "OODSurge"
                )
            self.seen.append(Seen(time.monotonic(), surges))

    def now(self):
        return self.seen[-1].surges if self.seen else None


def wait_until(what, seconds=30):
    until = time.monotonic() + seconds
    pause = threading.Event()
    while not what():
        assert time.monotonic() < until, f"not within {seconds} s"
        pause.wait(0.05)


def alerts_of(requests, name):
    return [a for r in requests for a in r.json["alerts"] if a["labels"]["alertname"] == name]


def test_a_surge_is_one_alert_from_its_raise_to_its_end_whatever_happens_to_alertmanager(cluster):
    with Receiver() as people:
        manager = start_alertmanager(people.url, f"{RESOLVE_TIMEOUT:g}s")
        c = cluster(
            partitions=3,
            buckets={"seconds": 0.5, "idle_seconds": 5.0},
            delivery={
                "alertmanager_url": f"http://{manager.address}", "resend_seconds": RESEND, "timeout_seconds": 1.0,
                "labels": {"team": "ml"}, "keep_firing_seconds": 5.0,
            },
        )  # fmt: skip
        try:
            with Traffic(c) as traffic, Observer(manager) as observer:
                c.start_worker()
                c.wait(lambda: c.counted() > 1000)
                traffic.ood = 0.15
                c.wait(observer.now, 60)
                raised = time.monotonic()
                first = observer.now()
                assert [severity for _, severity in first] == ["warning"]

                traffic.ood = 0.7
                c.wait(lambda: observer.now() and observer.now()[0][1] == "critical", 60)

                killed = time.monotonic()
                manager.kill()
                manager = observer.server = start_alertmanager(
                    people.url, f"{RESOLVE_TIMEOUT:g}s", port=manager.port
                )  # with empty storage
                returned = time.monotonic()
                c.wait(lambda: any(s.surges for s in observer.seen if s.at > returned), 30)
                back = next(s.at for s in observer.seen if s.at > returned and s.surges) - returned
                assert back < RESEND + 1.0

                c.wait(lambda: time.monotonic() - raised > SURGE)  # several times what an alert lives by itself
                traffic.ood, over = 0.0, time.monotonic()
                people.wait(lambda r: any(a["status"] == "resolved" for a in alerts_of(r, "OODSurge")), 120)
            lasting = [s for s in observer.seen if raised < s.at < over and s.surges is not None]
            # Seconds after the kill. It is empty from then until the first post, and at no other time.
            empty = [s.at - killed for s in lasting if not s.surges]
            assert not [at for at in empty if not 0 < at < returned + back - killed]
            assert {name for s in lasting for name, _ in s.surges} == {first[0][0]}
            assert all(len(s.surges) <= 1 for s in lasting)
            heard = alerts_of(people.requests, "OODSurge")
            assert len({a["fingerprint"] for a in heard}) == 1
            assert [a["status"] for a in heard][-1] == "resolved"
            assert [a["status"] for a in heard].count("resolved") == 1
            assert heard[0]["labels"]["team"] == "ml"
            history = [h["change"] for h in reversed(c.store.history()) if h["kind"] == "ood"]
            assert (history.count("raised"), history.count("resolved")) == (1, 1)
        finally:
            manager.stop()


def test_alertmanager_notices_that_every_monitor_is_dead(redis):
    """The heartbeat ends a few intervals after the last process that sent it."""
    with Receiver() as people:
        manager = start_alertmanager(people.url, "5m")
        client = connect(f"redis://{redis.address}/0")
        config = DeliveryConfig(alertmanager_url=f"http://{manager.address}", resend_seconds=0.5, timeout_seconds=0.5)
        healthy = [True]
        delivery = Delivery(config, "beats", RedisDeliveries(client, "beats"), "me", healthy=lambda: healthy[0])
        try:
            delivery.start()
            people.wait(lambda r: alerts_of(r, "MonitorHeartbeat"))
            healthy[0] = False  # the poll loop hangs; the process is still there
            people.wait(lambda r: any(a["status"] == "resolved" for a in alerts_of(r, "MonitorHeartbeat")), 30)
        finally:
            delivery.close()
            manager.stop()
            client.close()


def test_alerts_of_the_monitor_about_itself_are_told_and_resolved(redis):
    with Receiver() as people:
        manager = start_alertmanager(people.url, "5m")
        client = connect(f"redis://{redis.address}/0")
        store = RedisStore(client, "itself")
        config = DeliveryConfig(
            alertmanager_url=f"http://{manager.address}", resend_seconds=30, timeout_seconds=1, heartbeat=False,
            keep_firing_seconds=0,
        )  # fmt: skip
        delivery = Delivery(config, "itself", RedisDeliveries(client, "itself"), "me")
        notice = Notice("gap", "embeddings/3", True, "critical", "12 records were lost.", {"lost": "12"})
        try:
            delivery.start()
            store.notice(notice)
            (heard,) = alerts_of(people.wait(lambda r: alerts_of(r, "RecordsLost"), 10), "RecordsLost")
            assert heard["labels"] == {
                "alertname": "RecordsLost", "group": "itself", "kind": "gap", "subject": "embeddings/3",
            }  # fmt: skip
            assert (heard["annotations"]["summary"], heard["annotations"]["lost"]) == ("12 records were lost.", "12")
            store.notice(replace(notice, firing=False))
            people.wait(lambda r: any(a["status"] == "resolved" for a in alerts_of(r, "RecordsLost")), 10)
        finally:
            delivery.close()
            manager.stop()
            client.close()


@pytest.mark.parametrize("away", [False, True], ids=["alertmanager-there", "alertmanager-away"])
def test_people_hear_of_an_alert_that_is_over_before_alertmanager_would_notify(redis, away):
    """``group_wait`` is three seconds, and the alert is raised and resolved within milliseconds."""
    with Receiver() as people:
        manager = start_alertmanager(people.url, "5m", group_wait="3s")
        client = connect(f"redis://{redis.address}/0")
        group = f"brief-{away}"
        store = RedisStore(client, group)
        config = DeliveryConfig(
            alertmanager_url=f"http://{manager.address}", resend_seconds=1, timeout_seconds=1, heartbeat=False,
            keep_firing_seconds=6,
        )  # fmt: skip
        delivery = Delivery(config, group, RedisDeliveries(client, group), "me")
        try:
            if away:
                manager.kill()
            delivery.start()
            status = delivery.statuses["alertmanager"]
            wait_until(lambda: status.delivered)  # there is nothing to post yet
            notice = Notice("gap", "embeddings/3", True, "critical", "12 records were lost.")
            store.notice(notice)
            store.notice(replace(notice, firing=False))
            if away:
                wait_until(lambda: status.failed >= 2)
                manager = start_alertmanager(people.url, "5m", group_wait="3s", port=manager.port)
            people.wait(lambda r: [a["status"] for a in alerts_of(r, "RecordsLost")] == ["firing", "resolved"], 30)
            heard = alerts_of(people.requests, "RecordsLost")[0]
            assert heard["annotations"]["description"].startswith("It is over since ")
        finally:
            delivery.close()
            manager.stop()
            client.close()


def test_alertmanager_takes_every_name_and_time_that_a_sender_can_choose():
    """Alertmanager refuses labels that are not UTF-8 and alerts that end before they begin."""
    names = [
        "a\x00b",
        "a\nb",
        "\x1b[2J",
        "x" * 5000,
        "\ud800",
        "\ufffd",
        "a\u202eb",
        "'\"\\{}=~,",
        "",
        " ",
        "None",
        "\U0001f4a5",
    ]
    times = ["1970-01-01T00:00:00.000Z", "2261-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00Z"]
    with Receiver() as people:
        manager = start_alertmanager(people.url, "5m")
        try:
            config = DeliveryConfig(alertmanager_url=f"http://{manager.address}", heartbeat=False)
            sink = Alertmanager(config.alertmanager_url, Context("chosen", config, clock=time.time))
            for status in ("resolved", "firing"):
                alerts = [
                    {
                        "kind": "ood", "level": "stream", "status": status, "fingerprint": f"f{n}-{k}",
                        "change": "raised", "stream": f"{name}{k}" if name else "", "started_at": when,
                        "ended_at": times[-k], "severity": "warning", "rate": "nan", "examples": '[{"id": "\\u0000"}]',
                    }
                    for n, name in enumerate(names) for k, when in enumerate(times)
                ]  # fmt: skip
                assert sink.send(alerts).status == "taken"
            assert len(standing_alerts(manager)) == len(names) * len(times)
        finally:
            manager.stop()
