"""JSON documents of alerts, transitions and mutes, with numbers as numbers and lists as lists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from monitor.alerts.layout import alert_name, description, read_list, runbook_link, summary
from monitor.store.handling import Handling, Mute, moment

_TEXTS = ("fingerprint", "episode", "status", "change", "kind", "severity", "level", "stream", "subject")
_TIMES = ("started_at", "onset_at", "updated_at", "ended_at")
_NUMBERS = ("rate", "rate_low", "rate_high", "samples", "flagged", "evidence", "evidence_needed")
_LISTS = ("classes", "streams", "examples")


def alert_document(alert: Mapping[str, str], handling: Handling, runbook: str) -> dict[str, Any]:
    """Return the document of an alert or of one transition, with its acknowledgement and its mute.

    Args:
        alert: its fields in the store.
        handling: mutes and acknowledgements.
        runbook: address of docs/runbook.md; if empty, there is no link.
    """
    found: dict[str, Any] = {"id": alert["id"]} if "id" in alert else {}
    found |= {name: alert.get(name, "") for name in _TEXTS}
    found |= {name: alert.get(name) or None for name in _TIMES}
    found |= {"name": alert_name(alert.get("kind", "")), "summary": summary(alert), "description": description(alert)}
    found |= {"runbook_url": runbook_link(alert, runbook), "expert": alert.get("expert", "")}
    found |= {name: _number(alert.get(name, "")) for name in _NUMBERS}
    found |= {name: read_list(alert.get(name, "")) for name in _LISTS}
    taken = handling.annotated(alert)
    found["acknowledged"] = None
    if "acknowledged_by" in taken:
        found["acknowledged"] = {
            "author": taken["acknowledged_by"],
            "at": taken["acknowledged_at"],
            "reason": taken["acknowledged_reason"],
        }
    mute = handling.mute_of(alert)
    found["muted"] = mute_document(mute, handling.now_ms) if mute is not None else None
    return found


def mute_document(mute: Mute, now_ms: int) -> dict[str, Any]:
    """Return the document of a mute."""
    state = "in force" if mute.is_in_force(now_ms) else "to come" if mute.begun_ms > now_ms else "over"
    return {
        "id": mute.id,
        "state": state,
        "stream": mute.stream,
        "alert": mute.alert or None,
        "kind": mute.kind or None,
        "reason": mute.reason,
        "author": mute.author,
        "begins_at": moment(mute.begun_ms),
        "ends_at": moment(mute.ends_ms),
    }


def _number(text: str) -> float | None:
    """Read a number; None if the text is not a number that JSON can hold."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
