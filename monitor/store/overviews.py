"""What the status page reads from Redis: bounded amounts, in few round trips, and nothing is ever written.

It has a connection of its own. What the loop that counts does, and what judges, never waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from monitor.messages.record import Partition
from monitor.store.connection import translate_redis_errors
from monitor.store.counts import CountKey, Example, PartitionState
from monitor.store.handling import Handling
from monitor.store.keys import STREAM_FIELD, parse_field
from monitor.store.redis import RedisStore
from monitor.store.verdicts import Health

HEADER = "#header"
"""Field of the evidence hash that holds everything but the evidence of the streams."""

MOST_ALERTS = 1000
"""Alerts that are read at most: those that changed last."""

AT_ONCE = 20_000
"""Fields that Redis reads out in one go, about: it answers nobody else meanwhile. A larger hash is read in parts."""

EVIDENCE_AT_ONCE = 20
"""Streams whose evidence Redis reads out in one go: with a thousand classes each has 300 kB."""


@dataclass(frozen=True)
class Look:
    """The group as it stands, in one reading.

    Attributes:
        health: how the group is doing, with the clock of Redis.
        holder: the process that judges, empty if none does.
        header: the packed state without the streams (JSON), empty if nothing was judged yet.
        partitions: every one that was ever claimed.
        streams: stream to the time (ms) of its last count.
        alerts: as they stand, the latest transition first; :data:`MOST_ALERTS` at most.
        alerts_known: how many there are, those that are over included.
        history: transitions, the latest first.
        rejected: reason to records rejected since the beginning.
        receivers: sink to what is kept of it.
        handling: which alerts are muted, and which somebody has taken on.
    """

    health: Health
    holder: str = ""
    header: str = ""
    partitions: Mapping[Partition, PartitionState] = field(default_factory=dict)
    streams: Mapping[str, int] = field(default_factory=dict)
    alerts: Sequence[Mapping[str, str]] = ()
    alerts_known: int = 0
    history: Sequence[Mapping[str, str]] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    receivers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    handling: Handling = field(default_factory=Handling)


class OverviewStore(Protocol):
    """What the status page needs of Redis. Every method may raise ``StoreUnavailableError``."""

    def look(self, sinks: Sequence[str] = (), history: int = 100) -> Look:
        """The group as it stands, with what is kept of ``sinks``."""

    def alerts(self, fingerprints: Sequence[str]) -> list[dict[str, str]]:
        """These alerts as they stand; those that there are not are left out."""

    def evidence(self, streams: Sequence[str], most: int) -> dict[str, str]:
        """The packed evidence of these streams (JSON), in the order given, until ``most`` characters are read.

        A stream that has none is in the answer with an empty text. One that is not was not read; the first few always
        are.
        """

    def counts(self, buckets: Sequence[int], most: int) -> dict[int, dict[CountKey, int]]:
        """Counts of buckets, in the order given, until ``most`` fields are read; the first with any is read anyway.

        A bucket that holds none is in the answer too. One that is not was not read.
        """

    def examples(self, stream: str, buckets: Sequence[int]) -> list[Example]:
        """The most OOD samples of a stream in these buckets, the worst first."""


class RedisOverviews:
    """The :class:`OverviewStore` of one group.

    Args:
        store: of the group, over a connection of its own.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store, self._client, self._keys = store, store.client, store.keys

    def look(self, sinks: Sequence[str] = (), history: int = 100) -> Look:
        """The group as it stands, with what is kept of ``sinks``."""
        keys = self._keys
        health, partitions = self._store.health(), self._store.partitions()
        with translate_redis_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.hget(keys.lease, "holder")
            pipe.hget(keys.state, HEADER)
            pipe.hgetall(keys.rejected)
            pipe.zrevrange(keys.index, 0, MOST_ALERTS - 1)
            pipe.zcard(keys.index)
            pipe.xrevrange(keys.history, count=history)
            for sink in sinks:
                pipe.hgetall(keys.delivered(sink))
            holder, header, rejected, names, known, events, *records = pipe.execute()
            streams = self._large(keys.streams)
        return Look(
            health,
            holder or "",
            header or "",
            partitions,
            {stream: int(at) for stream, at in streams.items()},
            self.alerts(names),
            known,
            [{"id": i, **fields} for i, fields in events],
            {reason: int(n) for reason, n in rejected.items()},
            dict(zip(sinks, records, strict=True)),
            self._store.handling(),
        )

    def alerts(self, fingerprints: Sequence[str]) -> list[dict[str, str]]:
        """These alerts as they stand; those that there are not are left out."""
        return [found for found in self._each("hgetall", [self._keys.alert(f) for f in fingerprints]) if found]

    def evidence(self, streams: Sequence[str], most: int) -> dict[str, str]:
        """The packed evidence of these streams (JSON), until ``most`` characters are read."""
        found: dict[str, str] = {}
        for first in range(0, len(streams), EVIDENCE_AT_ONCE):
            some = streams[first : first + EVIDENCE_AT_ONCE]
            with translate_redis_errors():
                values = self._client.hmget(self._keys.state, [STREAM_FIELD + s for s in some])
            found |= {s: text or "" for s, text in zip(some, values, strict=True)}
            most -= sum(len(text or "") for text in values)
            if most <= 0:
                break
        return found

    def counts(self, buckets: Sequence[int], most: int) -> dict[int, dict[CountKey, int]]:
        """Counts of buckets, in the order given, until ``most`` fields are read."""
        sizes = self._each("hlen", [self._keys.counts(b) for b in buckets])
        found: dict[int, dict[CountKey, int]] = {}
        for some in portions(dict(zip(buckets, sizes, strict=True)), most, AT_ONCE):
            keys = [self._keys.counts(b) for b in some]
            held = [self._large(keys[0])] if sizes[buckets.index(some[0])] > AT_ONCE else self._each("hgetall", keys)
            found |= {
                b: {parse_field(name): int(n) for name, n in fields.items()}
                for b, fields in zip(some, held, strict=True)
            }
        return found | {b: {} for b, size in zip(buckets, sizes, strict=True) if not size}

    def examples(self, stream: str, buckets: Sequence[int]) -> list[Example]:
        """The most OOD samples of a stream in these buckets, the worst first."""
        found = [e for b in buckets for e in self._store.examples(b, stream)]
        return sorted(found, key=lambda e: e.confidence)

    def _large(self, key: str) -> dict[str, str]:
        """A hash that may hold so much that Redis must not read it out in one go."""
        with translate_redis_errors():
            return dict(self._client.hscan_iter(key, count=AT_ONCE // 20))

    def _each(self, command: str, names: Sequence[str]) -> list[Any]:
        """The same question about many keys."""
        found: list[Any] = []
        for first in range(0, len(names), 500):
            with translate_redis_errors():
                pipe = self._client.pipeline(transaction=False)
                for name in names[first : first + 500]:
                    getattr(pipe, command)(name)
                found += pipe.execute()
        return found


def portions(sizes: Mapping[int, int], most: int, at_once: int) -> list[list[int]]:
    """What of ``sizes`` is read, in its order and ``most`` together, in pieces of about ``at_once``.

    The first that is not empty is read whatever its size: else a large bucket would never be seen.
    """
    found: list[list[int]] = []
    total, piece = 0, at_once
    for name, size in sizes.items():
        if not size:
            continue
        if total and total + size > most:
            break
        if piece + size > at_once or not found:
            found.append([])
            piece = 0
        found[-1].append(name)
        total, piece = total + size, piece + size
    return found
