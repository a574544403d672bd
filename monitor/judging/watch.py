"""The monitor watches itself: if it could miss a surge, it raises an alert about that.

Every process does this in a thread of its own, and any of them may raise or resolve an alert. They all read the same
facts from the store, so with the same settings they come to the same result. Each finding is a
:class:`monitor.store.verdicts.Notice`, which is sent once when it begins and once when it ends.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from monitor.judging.ages import age_of
from monitor.messages.record import Partition
from monitor.messages.text import name_topics
from monitor.store.partitions import PartitionState, partitions_of
from monitor.store.protocol import Store
from monitor.store.verdicts import Health, Notice

Observe = Callable[[Health, Mapping[Partition, PartitionState], Sequence[Notice]], None]


def observe_nothing(_health: Health, _partitions: Mapping[Partition, PartitionState], _found: Sequence[Notice]) -> None:
    """Do nothing: the default for ``observe``."""


@dataclass(frozen=True)
class WatchSettings:
    """When the watch raises an alert. Times are in milliseconds.

    Attributes:
        topics: only partitions of these topics count; if empty, all do.
        stalled_ms: an alert is raised if nothing was judged, read or reported for this long.
        lag_ms: an alert is raised if a partition has been behind its end for this long.
        gap_ms: an alert about lost records is resolved after this long.
        grace_ms: a process raises nothing for this long after its start, since others may still be joining. The same
            holds if it could not look for longer than this, since the others could not report either, and if the
            store's clock was set back.
        canary_ms: time between two canaries; 0 if none are sent.
        canary_timeout_ms: a canary must be detected within this time.
        streams: the most streams that are counted separately.
    """

    topics: frozenset[str] = frozenset()
    stalled_ms: int = 120_000
    lag_ms: int = 300_000
    gap_ms: int = 3_600_000
    grace_ms: int = 60_000
    canary_ms: int = 0
    canary_timeout_ms: int = 120_000
    streams: int = 2000


SUBJECTS = ("judging", "partitions", "kafka", "lag", "late", "redis", "redis-risk", "canary")
"""Subjects of alerts of the kind ``stalled``: what can keep the monitor from seeing a surge."""

ON_PARTITIONS = ("gap", "bad-records")
"""Kinds whose subject is a partition."""

UNFOUND_MS = 10_000
"""An alert is over once no process has found its cause for this long.

Not all of them find the same: while other settings are rolled out, one may still find what another no longer looks for.
"""

WATCHED = ("stalled", "streams")
"""Kinds that this module raises, and therefore resolves."""


def find_trouble(
    health: Health, partitions: Mapping[Partition, PartitionState], settings: WatchSettings
) -> list[Notice]:
    """Find everything that keeps the monitor from seeing a surge now. Each finding is a firing notice."""
    ours = partitions_of(settings.topics, partitions)
    found = [
        _nothing_judged(health, settings),
        _unread(health, ours, settings),
        _behind(health, ours, settings),
        _late(health, ours, settings),
        _kafka(health, settings),
        _canary(health, settings),
        _overflow(health, settings),
    ]
    return [notice for notice in found if notice is not None]


def _stalled(subject: str, summary: str, severity: str = "critical", **details: str) -> Notice:
    return Notice("stalled", subject, True, severity, summary, details)


def _nothing_judged(health: Health, s: WatchSettings) -> Notice | None:
    waited = age_of(health.times.get("pending_since", health.now_ms), health.now_ms)
    if not health.pending or waited <= s.stalled_ms:
        return None
    return _stalled(
        "judging",
        f"Records arrive, but nothing has been judged for {_span(waited)}: a surge would not be noticed. Look at the "
        "logs of the workers, at Redis and at the partitions that hold buckets open.",
        buckets=str(health.pending),
    )


def _unread(health: Health, partitions: Mapping[Partition, PartitionState], s: WatchSettings) -> Notice | None:
    late = [
        p
        for p, state in partitions.items()
        if min(age_of(state.seen_ms, health.now_ms), age_of(state.at_ms, health.now_ms)) > s.stalled_ms
    ]
    if not late:
        return None
    return _stalled(
        "partitions",
        f"No worker reads {_names(late)}, for more than {_span(s.stalled_ms)}: a surge there would not be noticed. "
        "Start workers, or look at why they do not get their partitions.",
        partitions=json.dumps([str(p) for p in late[:50]]),
    )


def _behind(health: Health, partitions: Mapping[Partition, PartitionState], s: WatchSettings) -> Notice | None:
    slow = [
        p for p, state in partitions.items() if state.behind_ms and age_of(state.behind_ms, health.now_ms) > s.lag_ms
    ]
    if not slow:
        return None
    lag = sum(partitions[p].lag for p in slow)
    return _stalled(
        "lag",
        f"The workers have been behind on {_names(slow)} for more than {_span(s.lag_ms)}, by {lag} records now: a "
        "surge is noticed late. Start more workers, or find what slows them down.",
        "warning",
        records=str(lag),
    )


def _late(health: Health, partitions: Mapping[Partition, PartitionState], s: WatchSettings) -> Notice | None:
    old = [p for p, state in partitions.items() if _lasts(health, state, s)]
    if not old:
        return None
    return _stalled(
        "late",
        f"Records that are older than what has been judged come from {_names(old)}. They are counted and judged with "
        "current records. Look at the clocks of the senders and of Redis, or at why they are read late.",
        "warning",
        partitions=json.dumps([str(p) for p in old[:50]]),
    )


def _lasts(health: Health, state: PartitionState, s: WatchSettings) -> bool:
    """Whether a partition has been late for more than ``stalled_ms`` and still receives records."""
    return bool(state.late_ms) and state.at_ms - state.late_ms > s.stalled_ms > health.now_ms - state.at_ms


def _kafka(health: Health, s: WatchSettings) -> Notice | None:
    for name, (at, entry) in sorted(health.workers.items()):
        report = json.loads(entry)
        trouble, since = report.get("trouble"), int(report.get("trouble_for_ms", 0))
        if trouble and since > s.stalled_ms and age_of(at, health.now_ms) < s.stalled_ms:
            topics = [str(topic) for topic in report.get("topics", ())]
            if not topics:
                return _stalled("kafka", f"Worker {name} gets nothing from Kafka: {trouble}", worker=name)
            return _stalled(
                "kafka",
                f"Worker {name} gets nothing from {name_topics(topics)}, a surge there would not be noticed; the other "
                f"topics are counted. {trouble}",
                worker=name,
                topics=json.dumps(topics[:50]),
            )
    return None


def _canary(health: Health, s: WatchSettings) -> Notice | None:
    first = health.times.get("canary_first")
    if not s.canary_ms or not first:
        return None
    waited = min(age_of(at, health.now_ms) for at in (first, health.times.get("canary_seen", first)))
    if waited <= s.canary_ms + s.canary_timeout_ms:
        return None
    return _stalled(
        "canary",
        f"The monitor has not noticed the surge that it sends itself for {_span(waited)}: it would not notice a real "
        "one either. Look at Kafka, at the workers and at Redis, in that order.",
    )


def _overflow(health: Health, s: WatchSettings) -> Notice | None:
    at = health.times.get("overflow_at")
    if not at or health.now_ms - at > s.gap_ms:
        return None
    return Notice(
        "streams", "group", True, "warning",
        f"More than {s.streams} streams send embeddings (streams.limit): those that came later count together as one. "
        "Look at whether the record key is a request id, retire streams that are gone, or raise the limit.",
        {"samples": str(health.sums.get("overflow", 0))},
    )  # fmt: skip


class Watch:
    """Raises an alert for each finding of :func:`find_trouble`, and resolves it when the finding is gone.

    Args:
        store: read for findings, and alerts are written to it. It needs a connection of its own.
        settings: when an alert is raised.
        extra: gives more findings that only this process can make, such as a Redis server that may evict keys.
        observe: called after each check with everything that was found; the metrics use it.
    """

    def __init__(
        self,
        store: Store,
        settings: WatchSettings,
        extra: Callable[[], Iterable[Notice]] = lambda: (),
        observe: Observe = observe_nothing,
    ) -> None:
        self._store, self._settings, self._extra, self._observe = store, settings, extra, observe
        self._begun_ms = self._looked_ms = -math.inf

    def step(self) -> list[Notice]:
        """Check once, and return the notices that were raised or resolved.

        Raises:
            StoreUnavailableError: the store cannot be reached. The caller reports it.
        """
        health, partitions = self._store.health(), self._store.partitions()
        if not 0 <= health.now_ms - self._looked_ms <= self._settings.grace_ms:
            self._begun_ms = health.now_ms
        self._looked_ms = health.now_ms
        found = {(n.kind, n.subject): n for n in (*find_trouble(health, partitions, self._settings), *self._extra())}
        self._observe(health, partitions_of(self._settings.topics, partitions), list(found.values()))
        changes = self._settle(found, partitions, health.now_ms)
        if health.now_ms - self._begun_ms >= self._settings.grace_ms:
            changes += [n for n in found.values() if self._store.notice(n)]
        return changes

    def _settle(
        self, found: Mapping[tuple[str, str], Notice], partitions: Mapping[Partition, PartitionState], now_ms: int
    ) -> list[Notice]:
        """Resolve alerts whose cause is gone, old ones about lost records, and those of partitions nobody reads."""
        over, left, known = [], self._left_out(partitions, now_ms), set(map(str, partitions))
        for alert in self._store.alerts():
            if alert["status"] != "firing" or "subject" not in alert:
                continue
            old = now_ms - _ms(alert["started_at"]) > self._settings.gap_ms
            lasts = age_of(_ms(alert["updated_at"]), now_ms) < UNFOUND_MS  # the process that finds it refreshes it
            gone = alert["kind"] in WATCHED and (alert["kind"], alert["subject"]) not in found and not lasts
            left_out = alert["kind"] in ON_PARTITIONS and alert["subject"] in left
            left_out = left_out or (alert["kind"] == "bad-records" and alert["subject"] not in known)
            if gone or left_out or (alert["kind"] == "gap" and old):
                over.append(Notice(alert["kind"], alert["subject"], firing=False))
        return [n for n in over if self._store.notice(n)]

    def _left_out(self, partitions: Mapping[Partition, PartitionState], now_ms: int) -> set[str]:
        """Partitions of topics that nobody reads any more, neither this process nor one with other settings."""
        ours, limit = partitions_of(self._settings.topics, partitions), now_ms - self._settings.stalled_ms
        return {str(p) for p, s in partitions.items() if p not in ours and max(s.seen_ms, s.at_ms) < limit}


def _ms(moment: str) -> int:
    from datetime import datetime

    return round(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() * 1000)


def _span(ms: float) -> str:
    """Write a length of time for people."""
    seconds = round(ms / 1000)
    return f"{seconds} seconds" if seconds < 180 else f"{seconds // 60} minutes"


def _names(partitions: Sequence[Partition]) -> str:
    """Name up to five partitions and count the rest."""
    some = ", ".join(str(p) for p in sorted(partitions)[:5])
    more = f" and {len(partitions) - 5} more" if len(partitions) > 5 else ""
    return f"partition{'s' if len(partitions) > 1 else ''} {some}{more}"
