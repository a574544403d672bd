"""Alerts beyond Redis, and metrics."""

from __future__ import annotations

import json

import pytest

from monitor.alerts.delivery import Delivery
from monitor.config import DeliveryConfig
from monitor.service.telemetry import Telemetry

EVENT = {
    "fingerprint": "f1", "status": "resolved", "change": "resolved", "kind": "ood", "level": "stream", "stream": "a",
    "severity": "warning", "started_at": "2026-01-01T00:00:00.000Z", "onset_at": "2026-01-01T00:00:00.000Z",
    "ended_at": "2026-01-01T00:05:00.000Z", "rate": "0.2", "rate_low": "0.1", "rate_high": "0.3", "samples": "9",
    "evidence": "1", "classes": "[]", "streams": "[]", "examples": "[]", "artifact": "h",
}  # fmt: skip


def test_a_transition_goes_to_both_receivers_in_their_own_layouts():
    sent = {}
    config = DeliveryConfig(webhook_url="http://hook", alertmanager_url="http://am/")
    assert Delivery(config, "g", lambda url, body, _: sent.update({url: json.loads(body)})).deliver(EVENT)
    (alert,) = sent["http://am/api/v2/alerts"]
    assert alert["labels"] == {
        "alertname": "OODSurge", "group": "g", "kind": "ood", "level": "stream", "stream": "a", "severity": "warning",
    }  # fmt: skip
    assert alert["endsAt"] == EVENT["ended_at"]
    assert sent["http://hook"]["version"] == "4"
    assert sent["http://hook"]["alerts"][0]["fingerprint"] == "f1"


def test_a_firing_alert_has_no_end():
    sent = {}
    firing = {**EVENT, "status": "firing", "ended_at": ""}
    config = DeliveryConfig(alertmanager_url="http://am")
    Delivery(config, "g", lambda url, body, _: sent.update({url: json.loads(body)})).deliver(firing)
    assert "endsAt" not in sent["http://am/api/v2/alerts"][0]


def test_a_receiver_that_does_not_answer_gets_it_again():
    def down(*_):
        raise ConnectionRefusedError("down")

    assert not Delivery(DeliveryConfig(webhook_url="http://hook"), "g", down).deliver(EVENT)


def test_metrics_are_in_a_registry_of_their_own_and_carry_the_artifact():
    pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")
    from prometheus_client import REGISTRY, generate_latest

    telemetry = Telemetry("0123456789abcdef")
    telemetry.counted(5, {"wrong-width": 2}, 0.01)
    telemetry.store_away(True)
    text = generate_latest(telemetry.registry).decode()
    assert 'ood_monitor_samples_total{artifact="0123456789ab"} 5.0' in text
    assert 'ood_monitor_rejected_total{artifact="0123456789ab",reason="wrong-width"} 2.0' in text
    assert 'ood_monitor_store_away{artifact="0123456789ab"} 1.0' in text
    assert b"ood_monitor" not in generate_latest(REGISTRY)
