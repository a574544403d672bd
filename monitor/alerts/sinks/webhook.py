"""A webhook: it gets each transition in order, at least once, in the format of Alertmanager's webhook, version 4."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from monitor.alerts.addresses import address, shown
from monitor.alerts.exchange import Exchange
from monitor.alerts.layout import identity, notes
from monitor.alerts.sink import Context, Fields, Mode, Outcome


class Webhook:
    """Posts one transition for each call."""

    name = "webhook"
    mode: Mode = "transitions"
    every = 0.0

    def __init__(self, url: str, context: Context) -> None:
        self.shown = shown(url)
        self._url, self._group, self._extra = url, context.group, context.delivery.labels
        self._runbook = context.delivery.runbook_url
        self._exchange = Exchange(context.delivery.timeout_seconds)

    def send(self, alerts: Sequence[Fields]) -> Outcome:
        """Post one transition."""
        (event,) = alerts
        body = json.dumps(self.document(event)).encode()
        return self._exchange("POST", self._url, body).outcome

    def check(self) -> str:
        """Describe the receiver without calling it, since it would take a check for an alert."""
        return "not called, because it would take the check for an alert"

    def document(self, event: Fields) -> dict[str, Any]:
        """Build the body that is posted for one transition."""
        labels, annotations = identity(event, self._group, self._extra), notes(event, self._runbook)
        status, fingerprint = event.get("status", "firing"), event.get("fingerprint", "")
        alert = {
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": event.get("started_at") or "0001-01-01T00:00:00Z",
            "endsAt": event.get("ended_at") or "0001-01-01T00:00:00Z",
            "fingerprint": fingerprint,
        }
        return {
            "version": "4",
            "groupKey": f"{self._group}:{fingerprint}",
            "status": status,
            "receiver": "ood-monitor",
            "groupLabels": {"group": self._group},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "",
            "truncatedAlerts": 0,
            "alerts": [alert],
        }


def open(settings: None, context: Context) -> Webhook | None:  # noqa: A001  every sink has it
    """Open the webhook of ``delivery.webhook_url``, if it is set."""
    url = address(context.delivery.webhook_url, "delivery.webhook_url")
    return Webhook(url, context) if url else None
