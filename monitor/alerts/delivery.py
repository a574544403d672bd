"""Alerts beyond Redis: a webhook in Alertmanager's layout, and Alertmanager itself.

What is delivered is read from the history in Redis, and how far is kept there too: each transition goes out at least
once and in order, whoever holds the lease.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from monitor.config import DeliveryConfig

log = logging.getLogger(__name__)

Post = Callable[[str, bytes, float], None]
"""``(url, JSON body, timeout)``; raises OSError where it was not taken."""

_LABELS = ("kind", "level", "stream", "severity")
_NOTES = (
    "rate",
    "rate_low",
    "rate_high",
    "samples",
    "evidence",
    "onset_at",
    "classes",
    "streams",
    "examples",
    "artifact",
)


def post(url: str, body: bytes, timeout: float) -> None:
    """POST JSON; raises OSError (URLError) where it was not taken."""
    request = Request(url, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310  the operator's URL
    with urlopen(request, timeout=timeout):  # noqa: S310
        return


def alertmanager(event: Mapping[str, str], group: str) -> list[dict[str, Any]]:
    """One transition as ``POST /api/v2/alerts`` takes it. An alert without an end stays open until it is sent again."""
    return [
        {
            "labels": _labels(event, group),
            "annotations": _notes(event),
            "startsAt": event["started_at"],
            **({"endsAt": event["ended_at"]} if event["ended_at"] else {}),
        }
    ]


def webhook(event: Mapping[str, str], group: str) -> dict[str, Any]:
    """One transition in the layout of Alertmanager's webhook, version 4."""
    labels = _labels(event, group)
    alert = {
        "status": event["status"],
        "labels": labels,
        "annotations": _notes(event),
        "startsAt": event["started_at"],
        "endsAt": event["ended_at"] or "0001-01-01T00:00:00Z",
        "fingerprint": event["fingerprint"],
    }
    return {
        "version": "4",
        "groupKey": f"{group}:{event['fingerprint']}",
        "status": event["status"],
        "receiver": "ood-monitor",
        "groupLabels": {"group": group},
        "commonLabels": labels,
        "commonAnnotations": alert["annotations"],
        "externalURL": "",
        "truncatedAlerts": 0,
        "alerts": [alert],
    }


def _labels(event: Mapping[str, str], group: str) -> dict[str, str]:
    return {"alertname": "OODSurge" if event["kind"] == "ood" else "StreamSilent", "group": group} | {
        name: event[name] for name in _LABELS if event[name]
    }


def _notes(event: Mapping[str, str]) -> dict[str, str]:
    return {name: event[name] for name in _NOTES}


class Delivery:
    """Sends what the history holds and was not sent yet.

    Args:
        config: where to.
        group: a label of every alert.
        send: how; :func:`post` where not given.
    """

    def __init__(self, config: DeliveryConfig, group: str, send: Post = post) -> None:
        self._config, self._group, self._send = config, group, send

    def deliver(self, event: Mapping[str, str]) -> bool:
        """Send one transition everywhere; False where a receiver did not take it, and it must be sent again."""
        d = self._config
        try:
            if d.webhook_url:
                self._send(d.webhook_url, json.dumps(webhook(event, self._group)).encode(), d.timeout_seconds)
            if d.alertmanager_url:
                url = f"{d.alertmanager_url.rstrip('/')}/api/v2/alerts"
                self._send(url, json.dumps(alertmanager(event, self._group)).encode(), d.timeout_seconds)
        except (URLError, OSError, ValueError) as error:
            log.warning("an alert was not taken, trying again: %s", error)
            return False
        return True
