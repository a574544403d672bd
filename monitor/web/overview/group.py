"""The parts of the document about the group: budget, partitions, workers, canary, receivers, rejected records."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from monitor.judging.closing import SEEN_MS
from monitor.math.budget import LEVELS
from monitor.messages.reasons import ADVICE, REASONS
from monitor.messages.text import list_topics, printable
from monitor.store.partitions import partitions_of
from monitor.web.overview.evidence import everything
from monitor.web.overview.facts import Facts, Present
from monitor.web.overview.gathering import Known
from monitor.web.overview.streams import evidence
from monitor.web.overview.texts import at, count_of

MOST = 40
"""How many partitions, workers and reasons are shown. The others are only counted."""


def process(facts: Facts, present: Present, known: Known) -> dict[str, Any]:
    """Show which process answers, and what it does."""
    does = [name for name, so in (("counts", present.partitions > 0), ("judges", present.judges)) if so]
    return {
        "version": facts.version,
        "artifact": facts.artifact[:12],
        "group": facts.group,
        "topic": list_topics(facts.topics),
        "experts": list(facts.rules.experts),
        "role": " and ".join(does) or "stands by",
        "partitions": present.partitions,
        "trouble": present.trouble,
        "judge": known.look.holder,
    }


def budget(facts: Facts, known: Known) -> dict[str, Any]:
    """Show the false-alert budget, and how much of it has been spent at most."""
    rules, samples = facts.rules, known.header.get("samples") or {}
    watched = {level: samples.get(level, 0) for level in LEVELS if level in rules.budget.shares}
    return {
        "requests": rules.budget.requests,
        "judged": max(watched.values(), default=0),
        "spent": round(rules.budget.spent(watched), 6),
        "raised": known.header.get("raises", 0),
        "levels": [
            {"level": level, "samples": n, "needed": round(rules.budget.threshold(level))}
            for level, n in watched.items()
        ],
        "everything": evidence(everything(known.header, rules), facts, known.now_ms) if known.header else None,
    }


def judging(known: Known) -> dict[str, Any]:
    """Show up to when inputs were judged, and by which process."""
    times, pending = known.look.health.times, known.look.health.pending
    waited = known.now_ms - times.get("pending_since", known.now_ms) if pending else 0
    return {
        "holder": known.look.holder,
        "judged_until": at(known.last_end_ms),
        "last_judged_at": at(times.get("folded_at", 0)),
        "pending_buckets": pending,
        "waiting_seconds": round(max(0, waited) / 1000, 1),
    }


def partitions(known: Known, topics: Collection[str]) -> dict[str, Any]:
    """Show the partitions of the topics, those furthest behind first."""
    now = known.now_ms
    ours = partitions_of(topics, known.look.partitions)
    read = {p: now - s.seen_ms < SEEN_MS for p, s in ours.items()}
    order = sorted(ours, key=lambda p: (read[p], -ours[p].lag, p))
    return {
        "total": len(ours),
        "unread": sum(not r for r in read.values()),
        "lag": sum(max(0, s.lag) for s in ours.values()),
        "rows": [
            {
                "name": str(p),
                "next": ours[p].next,
                "lag": max(0, ours[p].lag),
                "read": read[p],
                "behind_since": at(ours[p].behind_ms),
                "late_since": at(ours[p].late_ms),
                "counted_at": at(ours[p].at_ms),
            }
            for p in order[:MOST]
        ],
    }


def workers(known: Known) -> dict[str, Any]:
    """Show the processes that have reported recently."""
    found = known.workers
    rows = [
        {
            "name": name,
            "judges": name == known.look.holder,
            "partitions": int(report.get("partitions", 0)),
            "trouble": printable(str(report.get("trouble", "")), 300),
            "reported_at": at(at_ms),
        }
        for name, (at_ms, report) in sorted(found.items())
    ]
    return {"total": len(rows), "rows": rows[:MOST]}


def canary(facts: Facts, known: Known) -> dict[str, Any]:
    """Show the canary: when it was last sent and detected."""
    times = known.look.health.times
    first, seen = times.get("canary_first", 0), times.get("canary_seen", 0)
    waited = (known.now_ms - max(first, seen)) / 1000 if first else 0.0
    late = bool(first) and waited > facts.canary_seconds + facts.canary_timeout_seconds
    return {
        "on": facts.canary_seconds > 0,
        "every_seconds": facts.canary_seconds,
        "sent_at": at(times.get("canary_sent", 0)),
        "seen_at": at(seen),
        "late": facts.canary_seconds > 0 and late,
    }


def receivers(facts: Facts, present: Present, known: Known) -> list[dict[str, Any]]:
    """Show the receivers, whether they accept alerts, and what they never accepted."""
    found = []
    for name, where in facts.receivers.items():
        here, kept = present.sinks.get(name), known.look.receivers.get(name, {})
        why = (here.why if here else "") or (kept.get("failing_why", "") if kept.get("failing_since") else "")
        found.append(
            {
                "name": name,
                "where": where,
                "trouble": printable(why, 300),
                "failing_since": kept.get("failing_since", ""),
                "oldest_seconds": round(here.oldest_seconds, 1) if here else 0.0,
                "taken": here.delivered if here else 0,
                "dropped": max(here.dropped if here else 0, count_of(kept, "dropped")),
                "dropped_why": printable(kept.get("dropped_why", ""), 300),
            }
        )
    return found


def rejected(known: Known) -> list[dict[str, Any]]:
    """Show how many records could not be scored, by reason, the most frequent first."""
    order = sorted(known.look.rejected.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"reason": reason, "records": n, "means": REASONS.get(reason, ""), "to_do": ADVICE.get(reason, "")}
        for reason, n in order[:MOST]
        if n
    ]


def calibration(facts: Facts) -> dict[str, Any]:
    """Show what the calibration set supports."""
    rate = facts.rules.null_rate()
    return {"flag_rate": round(rate, 5) if math.isfinite(rate) else None, "limits": list(facts.limits)}


def sums(known: Known) -> Mapping[str, int]:
    """Show samples that were counted in another bucket or stream than their own, and skipped records."""
    return dict(known.look.health.sums)
