"""The headline of the status page: whether something is wrong, since when, in which stream, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from monitor.alerts.alert import moment
from monitor.web.overview.alerts import TO_DO
from monitor.web.overview.facts import Facts
from monitor.web.overview.gathering import Known
from monitor.web.overview.texts import at

Level = Literal["alarm", "blind", "attention", "handled", "waiting", "ok"]
"""``alarm``: inputs surge. ``blind``: a surge would not be noticed. ``attention``: something else is wrong.
``handled``: every firing alert is acknowledged or muted. ``waiting``: nothing was judged yet. ``ok``."""

ORDER: tuple[Level, ...] = ("alarm", "blind", "attention", "handled", "waiting", "ok")

SHOWN = 5
"""How many findings are shown. The others are only counted."""

UNJUDGED_SECONDS = 20.0
"""If records have waited for judging for this long, nobody judges."""


def verdict(facts: Facts, known: Known, alerts: Sequence[Mapping[str, Any]], total: int) -> dict[str, Any]:
    """Build the headline and the findings behind it.

    Args:
        facts: of this process.
        known: the last reading.
        alerts: the firing alerts that are shown, the most pressing first.
        total: how many alerts fire.
    """
    found = sorted([*_troubles(facts, known), *map(_of_alert, alerts)], key=lambda f: ORDER.index(f["level"]))
    more = max(0, total - len(alerts)) + max(0, len(found) - SHOWN)
    if not found:
        return {"level": _calm(known), "headline": _calm_words(known), "since": "", "findings": [], "more": 0}
    first = found[0]
    return {
        "level": first["level"],
        "headline": _headline(found),
        "since": first["since"],
        "findings": found[:SHOWN],
        "more": more,
    }


def _troubles(facts: Facts, known: Known) -> list[dict[str, Any]]:
    """Find what keeps the monitor from seeing a surge now, before it has raised an alert about it."""
    if known.away_seconds:
        since = moment(known.now_ms / 1000) if known.now_ms else ""
        text = (
            f"Redis has not answered this process for {known.away_seconds:.0f} seconds ({known.why}). Nothing is "
            "counted or judged, and the page below shows the last known state."
        )
        to_do = "Bring Redis back. Nothing is lost as long as the topic retains its records."
        return [_blind("Redis does not answer", text, since, to_do, _entry(facts, "stalled-redis"))]
    if not known.now_ms:
        return []
    if not known.workers:
        last = max((at_ms for at_ms, _ in known.look.health.workers.values()), default=0)
        text = "No worker has reported for 15 seconds: nothing is counted or judged."
        to_do = "Start workers (ood-monitor run), or look at why they end."
        return [_blind("No worker runs", text, at(last), to_do, _entry(facts, "stalled-partitions"))]
    pending = known.look.health.times.get("pending_since", 0) if known.look.health.pending else 0
    waited = (known.now_ms - pending) / 1000 if pending else 0.0
    if not known.look.holder and waited > UNJUDGED_SECONDS:
        text = f"Inputs are counted, and nobody has judged them for {waited:.0f} seconds: a surge is not noticed."
        to_do = "Restart the workers one after the other; if that does not help, look at Redis."
        return [_blind("Nobody judges", text, at(pending), to_do, _entry(facts, "stalled-judging"))]
    return []


def _blind(title: str, text: str, since: str, to_do: str, runbook: str) -> dict[str, Any]:
    about = {"level": "blind", "title": title, "text": text, "since": since, "to_do": to_do}
    return {**about, "runbook": runbook, "fingerprint": "", "stream_id": ""}


def _entry(facts: Facts, anchor: str) -> str:
    return f"{facts.runbook}#{anchor}" if facts.runbook else ""


def _of_alert(alert: Mapping[str, Any]) -> dict[str, Any]:
    kind, handled = alert["kind"], bool(alert.get("handled"))
    level = "alarm" if kind == "ood" else "blind" if _is_blind(alert) else "attention"
    return {
        "level": "handled" if handled else level,
        "title": alert["title"],
        "text": "" if kind in TO_DO else alert["summary"],
        "since": alert["onset_at"] or alert["started_at"],
        "to_do": TO_DO.get(kind, ""),
        "runbook": alert["runbook"],
        "fingerprint": alert["fingerprint"],
        "stream_id": alert["stream_id"],
    }


def _is_blind(alert: Mapping[str, Any]) -> bool:
    return bool(alert["kind"] == "stalled" and alert["severity"] == "critical")


def _headline(found: Sequence[Mapping[str, Any]]) -> str:
    level = found[0]["level"]
    same = [f for f in found if f["level"] == level]
    if level == "handled":
        return "Everything that fires is being taken care of"
    if len(same) == 1:
        return str(same[0]["title"])
    if level == "alarm":
        return f"{len(same)} surges of unusual inputs"
    return f"{len(same)} things keep the monitor from seeing" if level == "blind" else f"{len(same)} alerts fire"


def _calm(known: Known) -> Level:
    return "ok" if known.header.get("last_bucket") is not None else "waiting"


def _calm_words(known: Known) -> str:
    return "No surge" if _calm(known) == "ok" else "Nothing has been judged yet"
