"""``ood-monitor check`` says of each receiver whether it answers and how it fared, and shows no token."""

from __future__ import annotations

import pytest

from monitor.config import validate
from monitor.counting.scoring import Scorer
from monitor.math.nulls import pooled
from monitor.service import assembly, check
from monitor.store.verdicts import Notice
from monitor.testing import FakeClock, MemoryDeliveries, MemoryStore, outage
from monitor.testing.receivers import Receiver
from tests.monitor_support import artifact

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
    assert finding() == ("delivery", False, "none besides Redis: nobody is notified of an alert unless they look")


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


def artifact_findings(path, **alerts):
    settings = validate({**LEAST, "model": {"artifact": str(path)}, "alerts": alerts})
    return {name: (failed, words) for name, failed, words in check._artifact_findings(settings)}


def test_what_the_calibration_set_cannot_support_is_printed_with_what_the_rule_makes_of_it(tmp_path):
    found = artifact_findings(artifact(tmp_path))
    failed, words = found["calibration"]
    scorer = Scorer.load(artifact(tmp_path), threads=1)
    assert not failed
    assert all(sentence in words for sentence in scorer.calibration.limits())
    margin = pooled(scorer.calibration.n).margin
    assert f"expectation, evidence of OOD inputs is divided by {margin:.3f}, so the false-alert budget holds" in words


def test_the_rule_that_does_not_hold_the_budget_says_so_and_which_one_does(tmp_path):
    _, words = artifact_findings(artifact(tmp_path), masses="nominal")["calibration"]
    assert "exceeded for about half of the calibration sets of this size: set alerts.masses to expectation" in words


def test_an_artifact_that_is_not_there_is_one_finding(tmp_path):
    found = artifact_findings(tmp_path / "none.safetensors")
    assert list(found) == ["model"]
    assert found["model"][0]
