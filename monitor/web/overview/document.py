"""The document behind the status page: all that an on-call person may need, in JSON of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.alerts import alert as stored
from monitor.math.lifecycle import Alert
from monitor.messages.text import CANARY
from monitor.store.counts import Example
from monitor.web.overview import alerts, group, streams
from monitor.web.overview.evidence import Standing
from monitor.web.overview.facts import Facts, Present
from monitor.web.overview.gathering import Gatherer
from monitor.web.overview.points import POINTS
from monitor.web.overview.streams import PIECES, Query
from monitor.web.overview.texts import at, stream_id
from monitor.web.overview.verdict import verdict

SCHEMA = 1

RECENT = 25
"""How many transitions are shown."""

DRIFTS = 10
"""How many streams with slow drift are shown."""


def document(gatherer: Gatherer, facts: Facts, present: Present, query: Query) -> dict[str, Any]:
    """Build the document from what was read. It holds plain values; times are RFC 3339, rates go from 0 to 1."""
    known = gatherer.known
    held = held_alerts(gatherer, facts)
    fires = alerts.firing(known.look.alerts)
    shown = [
        alerts.shown(a, facts, held.get(a.get("fingerprint", "")), known.look.history, known.look.handling)
        for a in alerts.unhandled_first(fires, known.look.handling)[: alerts.MOST]
    ]
    total = max(len(fires), len(known.firing))
    drifts = [a for a in alerts.information(known.look.alerts) if a.get("kind") == "drift"]
    return {
        "schema": SCHEMA,
        "read_at": at(known.now_ms),
        "read_ms": known.now_ms,
        "store": {"answers": not known.away_seconds, "away_seconds": round(known.away_seconds, 1), "why": known.why},
        "verdict": verdict(facts, known, shown, total),
        "alerts": {
            "firing": shown,
            "total": total,
            "recent": [
                alerts.brief(h, facts) for h in known.look.history if not h.get("subject", "").startswith(CANARY)
            ][:RECENT],
        },
        "mutes": [alerts.mute_of(mute) for mute in known.look.handling.in_force()],
        "streams": streams.table(gatherer, facts, query),
        "budget": group.budget(facts, known),
        "judging": group.judging(known),
        "partitions": group.partitions(known, facts.topics),
        "workers": group.workers(known),
        "canary": group.canary(facts, known),
        "receivers": group.receivers(facts, present, known),
        "rejected": group.rejected(known),
        "moved": group.sums(known),
        "calibration": group.calibration(facts),
        "drift": {
            "on": facts.drift_window > 0,
            "window": facts.drift_window,
            "total": len(drifts),
            "rows": [
                {"stream": a.get("subject", ""), "since": a.get("started_at", ""), "text": a.get("summary", "")}
                for a in drifts[:DRIFTS]
            ],
        },
        "process": group.process(facts, present, known),
    }


def held_alerts(gatherer: Gatherer, facts: Facts) -> dict[str, Alert]:
    """Return the alerts on inputs in the evaluator's state, by fingerprint."""
    return {stored.fingerprint(facts.group, alert): alert for alert in gatherer.known.firing.values()}


def stream_document(
    gatherer: Gatherer, facts: Facts, name: str, classes: Sequence[Standing], worst: Sequence[Example]
) -> dict[str, Any]:
    """Build the document of one stream, with its classes and its most unusual recent requests."""
    until = streams.until_ms(gatherer)
    recent = gatherer.points.recent(until, streams.RECENT * gatherer.points.step_ms).tolist()
    found = dict(zip(gatherer.points.streams(), recent, strict=True)).get(name, [0, 0])
    step = gatherer.points.step_ms
    drift = next((a for a in alerts.information(gatherer.known.look.alerts) if a.get("subject") == name), None)
    return {
        "schema": SCHEMA,
        "read_at": at(gatherer.known.now_ms),
        **streams.row(gatherer, facts, name, (int(found[0]), int(found[1])), POINTS // PIECES),
        "span_seconds": POINTS * step / 1000,
        "rate_seconds": streams.RECENT * step / 1000,
        "short": streams.pieces(gatherer.points.series(name, until, PIECES, 1)),
        "classes": streams.classes(classes, facts),
        "examples": alerts.examples(
            [
                {"id": e.id, "confidence": e.confidence, "class": facts.class_name(e.predicted)}
                | {"partition": str(e.partition), "offset": e.offset, "expert": e.expert}
                for e in worst
            ],
            facts,
        ),
        "drift": drift.get("summary", "") if drift else "",
    }


def find_stream(gatherer: Gatherer, wanted: str) -> str | None:
    """Find the name of the stream with this id."""
    return next((name for name in gatherer.names() if stream_id(name) == wanted), None)
