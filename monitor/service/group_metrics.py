"""Metrics of the group: what the watch last saw in Redis, and how long ago."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monitor.judging.watch import SUBJECTS
from monitor.messages.record import Partition
from monitor.service.families import family
from monitor.store.partitions import PartitionState
from monitor.store.verdicts import SUMS, Health, Notice

REPORTED_MS = 15_000
"""A worker that has not reported for this long is not counted."""

REMEMBERED = 512
"""How many ends of a partition's log are remembered."""


class LagClock:
    """Measures how long a partition has been behind: since when the next record to count has been in the log.

    This is when the end of the log passed that record, by the clock of Redis. Times that senders chose play no part,
    and neither do the clocks of workers.
    """

    def __init__(self) -> None:
        self._ends: dict[Partition, deque[tuple[int, int]]] = {}

    def seconds(self, now_ms: int, partitions: Mapping[Partition, PartitionState]) -> dict[Partition, float]:
        """Return the seconds for each partition; 0 if everything is counted."""
        for gone in set(self._ends) - set(partitions):
            del self._ends[gone]
        return {p: self._behind(now_ms, p, state) for p, state in partitions.items()}

    def _behind(self, now_ms: int, partition: Partition, state: PartitionState) -> float:
        ends = self._ends.setdefault(partition, deque())
        end = state.next + max(0, state.lag)
        if ends and end < ends[-1][0]:
            ends.clear()  # another log: it was made again, or cut off
        while ends and ends[0][0] <= state.next:
            ends.popleft()
        if state.lag > 0 and (not ends or end > ends[-1][0]):
            if len(ends) >= REMEMBERED:
                ends = self._ends[partition] = deque(list(ends)[::2])  # coarser, so that memory stays bounded
            ends.append((end, now_ms))
        return (now_ms - ends[0][1]) / 1000 if ends else 0.0


@dataclass(frozen=True)
class _Seen:
    health: Health
    lag: Mapping[Partition, int]
    lag_seconds: Mapping[Partition, float]
    stalled: frozenset[str]
    at: float


@dataclass(eq=False)
class GroupCollector:
    """Shows the last known facts about the group. Ages keep growing while Redis cannot be reached.

    Attributes:
        redis_seconds: if Redis has not answered for this long, that counts as stalled.
        topics: the topics that are read. Each has numbers of its own.
        monotonic: a clock that only goes forward, in seconds.
    """

    redis_seconds: float = 30.0
    topics: tuple[str, ...] = ()
    monotonic: Callable[[], float] = time.monotonic
    _lag: LagClock = field(default_factory=LagClock)
    _seen: _Seen = field(init=False)

    def __post_init__(self) -> None:
        self._seen = _Seen(Health(0), {}, {}, frozenset(), self.monotonic())

    def watched(self, health: Health, partitions: Mapping[Partition, PartitionState], found: Sequence[Notice]) -> None:
        """Takes over the facts that the watch found about the group."""
        lag = {p: max(0, state.lag) for p, state in partitions.items()}
        stalled = frozenset(n.subject for n in found if n.kind == "stalled")
        self._seen = _Seen(health, lag, self._lag.seconds(health.now_ms, partitions), stalled, self.monotonic())

    def collect(self) -> Iterator[Any]:
        """Collect the metrics, as prometheus-client asks."""
        seen = self._seen
        health, times = seen.health, seen.health.times
        age = self.monotonic() - seen.at
        now_ms = health.now_ms + 1000 * age

        def since(name: str) -> float:
            return (now_ms - times[name]) / 1000 if times.get(name) else -1.0

        reporting = sum(health.now_ms - at < REPORTED_MS for at, _ in health.workers.values())
        stalled = seen.stalled | ({"redis"} if age > self.redis_seconds else set())
        yield family("group_seen_age_seconds", {(): age})
        yield family("workers", {(): reporting})
        yield family("lag_records", {(): sum(seen.lag.values())})
        yield family("lag_seconds", {(): max(seen.lag_seconds.values(), default=0.0)})
        of = {topic: [p for p in seen.lag if p.topic == topic] for topic in self.topics}
        yield family("topic_lag_records", {(t,): sum(seen.lag[p] for p in mine) for t, mine in of.items()})
        longest: dict[tuple[str, ...], float] = {
            (t,): max((seen.lag_seconds[p] for p in mine), default=0.0) for t, mine in of.items()
        }
        yield family("topic_lag_seconds", longest)
        yield family("pending_buckets", {(): health.pending})
        yield family("judging_wait_seconds", {(): max(0.0, since("pending_since")) if health.pending else 0.0})
        yield family("last_judged_age_seconds", {(): since("folded_at")})
        yield family("mutes", {(): health.mutes})
        yield family("streams", {(): health.streams})
        yield family("moved_samples", {(why,): health.sums.get(why, 0) for why in SUMS})
        yield family("canary_age_seconds", {(): since("canary_seen")})
        yield family("stalled", {(subject,): subject in stalled for subject in SUBJECTS})
