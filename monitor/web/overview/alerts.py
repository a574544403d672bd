"""Firing alerts for the status page: what fires, since when, how bad, which requests, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from monitor.alerts.layout import alert_name, read_list, runbook_link, summary
from monitor.math.lifecycle import Alert
from monitor.math.state import Rules
from monitor.store.handling import Handling, Mute, moment
from monitor.web.overview.facts import Facts
from monitor.web.overview.texts import count_of, finite, image_link, rate_of, stream_id

Fields = Mapping[str, str]

MOST = 25
"""How many alerts are shown in full. The others are only counted."""

LISTED = 12
"""How many classes, streams and transitions of one alert are shown."""

EXAMPLES = 5
"""How many requests of one alert are shown."""

INFORMATION = "info"
"""The severity of notices that need no action now."""

RANKS = {"critical": 0, "warning": 1, INFORMATION: 2}

NAMELESS = "the stream without a name"

TO_DO = {
    "ood": "Look at the most unusual requests below and find who sends them. Route them to people or to a fallback, "
    "or roll back what changed.",
    "silence": "Look at what sends this stream: start it again, or retire the stream if it is gone for good.",
}
"""What to do, by kind of alert. The runbook says more. Alerts of the monitor about itself say it in their summary."""

TITLES = {
    "stalled": "A surge may go unnoticed ({about})",
    "gap": "Records were lost ({about})",
    "bad-records": "Many records of {about} cannot be scored",
    "streams": "There are more streams than the limit allows",
    "epoch": "The evidence was started afresh",
}
"""Titles of alerts of the monitor about itself, by kind."""


def rank(alert: Fields) -> tuple[int, str, str]:
    """Sort alerts: the most severe first, then the oldest."""
    return RANKS.get(alert.get("severity", ""), 1), alert.get("started_at", ""), alert.get("fingerprint", "")


def firing(alerts: Sequence[Fields]) -> list[Fields]:
    """Return the firing alerts that need action, the most pressing first."""
    return sorted((a for a in alerts if a.get("status") == "firing" and a.get("severity") != INFORMATION), key=rank)


def unhandled_first(alerts: Sequence[Fields], handling: Handling) -> list[Fields]:
    """Move acknowledged and muted alerts to the end. At most a few hundred are returned."""
    few = alerts[: 10 * MOST]
    return sorted(few, key=lambda a: "acknowledged_at" in handling.annotated(a) or handling.mute_of(a) is not None)


def information(alerts: Sequence[Fields]) -> list[Fields]:
    """Return the firing notices that are only information."""
    return sorted((a for a in alerts if a.get("status") == "firing" and a.get("severity") == INFORMATION), key=rank)


def shown(
    alert: Fields, facts: Facts, held: Alert | None, history: Sequence[Fields], handling: Handling
) -> dict[str, Any]:
    """Return one alert in full.

    Args:
        alert: its stored fields.
        facts: of this process.
        held: the same alert in the evaluator's state; None if the monitor raised it about itself.
        history: transitions, the latest first.
        handling: what people did about alerts.
    """
    name = alert.get("fingerprint", "")
    steps = [h for h in history if h.get("fingerprint") == name][:LISTED]
    taken, muted = handling.annotated(alert), handling.mute_of(alert)
    by = {"by": taken.get("acknowledged_by", ""), "at": taken.get("acknowledged_at", "")}
    return {
        **brief(alert, facts),
        "acknowledged": {**by, "reason": taken.get("acknowledged_reason", "")} if by["at"] else None,
        "muted": mute_of(muted) if muted else None,
        "handled": bool(by["at"] or muted),
        "summary": summary(alert),
        "to_do": TO_DO.get(alert.get("kind", ""), ""),
        "updated_at": alert.get("updated_at", ""),
        "rate": rate_of(count_of(alert, "samples"), count_of(alert, "flagged")) if alert.get("kind") == "ood" else None,
        "evidence": alert.get("evidence", ""),
        "evidence_needed": alert.get("evidence_needed", ""),
        "expert": alert.get("expert", ""),
        "classes": _classes(alert, facts, held),
        "streams": [str(s) for s in read_list(alert.get("streams", ""))][:LISTED],
        "examples": examples(read_list(alert.get("examples", "")), facts),
        "resolving": resolving(held, facts.rules),
        "history": [
            {"at": h.get("updated_at", ""), "change": h.get("change", ""), "severity": h.get("severity", "")}
            for h in steps
        ],
    }


def brief(alert: Fields, facts: Facts) -> dict[str, Any]:
    """Return an alert or a transition in short form."""
    stream = alert.get("stream", "")
    return {
        "fingerprint": alert.get("fingerprint", ""),
        "kind": alert.get("kind", ""),
        "name": alert_name(alert.get("kind", "")),
        "title": title(alert),
        "about": about(alert),
        "stream_id": stream_id(stream) if is_of_stream(alert) else "",
        "severity": alert.get("severity", ""),
        "status": alert.get("status", ""),
        "change": alert.get("change", ""),
        "onset_at": alert.get("onset_at", ""),
        "started_at": alert.get("started_at", ""),
        "at": alert.get("updated_at", ""),
        "runbook": runbook_link(alert, facts.runbook),
    }


def is_of_stream(alert: Fields) -> bool:
    """Whether an alert is about one stream, which may be the one without a name."""
    return "subject" not in alert and alert.get("level") != "everything"


def about(alert: Fields) -> str:
    """Name what an alert is about, for people."""
    if not is_of_stream(alert):
        return alert.get("subject") or "everything together"
    return alert.get("stream") or NAMELESS


def title(alert: Fields) -> str:
    """Name an alert in a few words, for people."""
    kind, what = alert.get("kind", ""), about(alert)
    named = f"stream {what}" if is_of_stream(alert) and what != NAMELESS else what
    if kind == "ood":
        return f"Surge in {named}"
    if kind == "silence":
        return f"{named[0].upper()}{named[1:]} is silent" if is_of_stream(alert) else "Many streams are silent"
    return TITLES.get(kind, f"{alert_name(kind)}: {{about}}").replace("{about}", what)


def mute_of(mute: Mute) -> dict[str, Any]:
    """Return the mute of an alert: what it covers, until when, by whom and why."""
    given = {"kind": mute.kind, "alert": mute.alert}
    stream = {} if mute.stream is None else {"stream": mute.stream, "stream_id": stream_id(mute.stream)}
    return {
        "id": mute.id,
        **{name: value for name, value in given.items() if value},
        **stream,
        "by": mute.author,
        "reason": mute.reason,
        "until": moment(mute.ends_ms),
    }


def examples(found: Sequence[Any], facts: Facts) -> list[dict[str, Any]]:
    """Return the most unusual requests, each with the link to its image."""
    return [
        {
            "id": str(e.get("id", "")),
            "confidence": finite(e.get("confidence")),
            "class": str(e.get("class", "")),
            "record": f"{e.get('partition', '')} offset {e.get('offset', '')}",
            "expert": str(e.get("expert", "")),
            "link": image_link(facts.image_link, str(e.get("id", ""))),
        }
        for e in found[:EXAMPLES]
        if isinstance(e, dict)
    ]


def resolving(held: Alert | None, rules: Rules) -> float | None:
    """How much of the evidence that the surge is over has been collected, from 0 to 1."""
    if held is None or held.kind != "ood":
        return None
    return round(min(1.0, held.cusum / math.log(rules.alerts.resolve_after)), 4)


def _classes(alert: Fields, facts: Facts, held: Alert | None) -> list[dict[str, Any]]:
    """Return the predicted classes that surged, with their rates since the onset if the evaluator knows them."""
    if held is None:
        return [{"class": str(name)} for name in read_list(alert.get("classes", ""))[:LISTED]]
    surged = set(held.classes)
    rates = {label: (n, flagged) for label, n, flagged in held.by_class if label in surged}
    order = sorted(surged, key=lambda label: (-rates.get(label, (0, 0))[1], label))[:LISTED]
    return [{"class": facts.class_name(label), **(rate_of(*rates[label]) if label in rates else {})} for label in order]
