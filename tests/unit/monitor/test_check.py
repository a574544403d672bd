"""``ood-monitor check`` says of each receiver whether it answers and how it fared, and shows no token."""

from __future__ import annotations

import pytest

from monitor.config import validate
from monitor.service import assembly, check
from monitor.store.verdicts import Notice
from monitor.testing import FakeClock, MemoryDeliveries, MemoryStore, outage
from monitor.testing.receivers import Receiver

LEAST = {"model": {"artifact": "a"}, "kafka": {"bootstrap_servers": "b:1", "topic": "t"}}


@pytest.fixture
def store(monkeypatch):
    store = MemoryStore(FakeClock())
    deliveries = MemoryDeliveries(store)
    monkeypatch.setattr(assembly, "open_deliveries", lambda config: deliveries)
    return store, deliveries


def finding(**delivery):
    return check._finding("delivery", check._delivery, validate({**LEAST, "delivery": delivery}))


def test_a_monitor_that_tells_nobody_is_told_apart(store):
    assert finding() == ("delivery", False, "none besides Redis: nobody is told of an alert unless they look")


def test_each_receiver_is_asked_or_not_called_and_no_token_is_shown(store):
    with Receiver() as manager, Receiver() as hook:
        _, failed, words = finding(alertmanager_url=f"{manager.url}/hunter2", webhook_url=f"{hook.url}/hunter2")
        assert [r.path for r in manager.requests] == ["/hunter2/-/ready"]
        assert hook.requests == []
    assert not failed
    assert f"alertmanager {manager.url}/...: ready" in words
    assert f"webhook {hook.url}/...: not called" in words
    assert "hunter2" not in words


def test_a_receiver_that_is_down_fails_the_check_and_the_others_are_still_named(store):
    with Receiver() as hook, Receiver("hangs") as manager:
        _, failed, words = finding(alertmanager_url=manager.url, webhook_url=hook.url, timeout_seconds=0.3)
    assert failed
    assert "did not answer within 0.3 seconds" in words
    assert "webhook" in words


def test_what_waits_what_fails_and_what_was_refused_is_shown(store):
    memory, deliveries = store
    deliveries.begin("webhook")
    for subject in ("a", "b"):
        memory.notice(Notice("gap", subject, True, "critical", "Lost."))
    token = deliveries.lease("webhook", "me", 60_000)
    first = deliveries.backlog("webhook").events[0]["id"]
    deliveries.advance("webhook", token, first, "dropped", "it answered 400")
    memory._clock.advance(90)
    _, failed, words = finding(webhook_url="http://127.0.0.1:1/")
    assert not failed
    assert "alerts wait for it, the oldest for 90 seconds" in words
    assert "1 alerts were refused and dropped, the last at" in words
    assert "(it answered 400)" in words
    deliveries.note("webhook", {"failing_since": "2026-01-01T00:00:00Z", "failing_why": "it answered 500"})
    _, failed, words = finding(webhook_url="http://127.0.0.1:1/")
    assert failed
    assert "it has failed since 2026-01-01T00:00:00Z: it answered 500" in words


def test_redis_away_does_not_hide_whether_receivers_answer(store):
    with outage(store[0]), Receiver() as manager:
        _, failed, words = finding(alertmanager_url=manager.url)
    assert not failed
    assert "ready" in words


def test_an_address_that_cannot_be_called_is_a_finding(store):
    _, failed, words = finding(webhook_url="hooks.example/hunter2")
    assert failed
    assert "delivery.webhook_url" in words
    assert "hunter2" not in words
