"""Reads Redis for the status page: bounded amounts in few round trips. It never writes.

It has a connection of its own, so counting and judging never wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from monitor.messages.record import Partition
from monitor.store.connection import translate_redis_errors
from monitor.store.counts import CountKey, Example
from monitor.store.handling import Handling
from monitor.store.keys import STREAM_FIELD, parse_field
from monitor.store.partitions import PartitionState
from monitor.store.redis import RedisStore
from monitor.store.verdicts import Health

HEADER = "#header"
"""The field of the evidence hash that holds everything but the evidence of streams."""

MOST_ALERTS = 1000
"""How many alerts are read at most: those that changed last."""

AT_ONCE = 20_000
"""About how many fields Redis reads out at once.

Meanwhile it answers nobody else, so larger hashes are read in parts.
"""

EVIDENCE_AT_ONCE = 20
"""For how many streams Redis reads out evidence at once. A stream with a thousand classes has 300 kB."""


@dataclass(frozen=True)
class Look:
    """The state of the group in one reading.

    Attributes:
        health: the health of the group, with the time by Redis' clock.
        holder: the process that judges; empty if none does.
        header: the packed state without the streams (JSON); empty if nothing was judged yet.
        partitions: every partition that was ever claimed.
        streams: the time (ms) of the last count, by stream.
        alerts: the current alerts, the latest transition first, at most :data:`MOST_ALERTS`.
        alerts_known: how many alerts there are, including resolved ones.
        history: the transitions, the latest first.
        rejected: number of records ever rejected, by reason.
        receivers: what is kept about each sink.
        handling: mutes and acknowledgements.
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
    """The interface of the store that the status page uses. Every method may raise ``StoreUnavailableError``."""

    def look(self, sinks: Sequence[str] = (), history: int = 100) -> Look:
        """Read the state of the group, with what is kept about ``sinks``."""

    def alerts(self, fingerprints: Sequence[str]) -> list[dict[str, str]]:
        """Read these alerts. Those that do not exist are left out."""

    def evidence(self, streams: Sequence[str], most: int) -> dict[str, str]:
        """Read the packed evidence (JSON) of these streams, in the order given, until ``most`` characters are read.

        A stream without evidence is in the answer with an empty text. A stream that is missing was not read. The first
        few always are.
        """

    def counts(self, buckets: Sequence[int], most: int) -> dict[int, dict[CountKey, int]]:
        """Read counts of buckets, in the order given, until ``most`` fields are read.

        The first with counts is always read.

        A bucket without counts is in the answer too. A bucket that is missing was not read.
        """

    def examples(self, stream: str, buckets: Sequence[int]) -> list[Example]:
        """Read the most OOD samples of a stream in these buckets, the most OOD first."""


class RedisOverviews:
    """The :class:`OverviewStore` of one group.

    Args:
        store: of the group, over a connection of its own.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store, self._client, self._keys = store, store.client, store.keys

    def look(self, sinks: Sequence[str] = (), history: int = 100) -> Look:
        """Read the state of the group, with what is kept about ``sinks``."""
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
        """Read these alerts. Those that do not exist are left out."""
        return [found for found in self._each("hgetall", [self._keys.alert(f) for f in fingerprints]) if found]

    def evidence(self, streams: Sequence[str], most: int) -> dict[str, str]:
        """Read the packed evidence (JSON) of these streams, until ``most`` characters are read."""
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
        """Read counts of buckets, in the order given, until ``most`` fields are read."""
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
        """Read the most OOD samples of a stream in these buckets, the most OOD first."""
        found = [e for b in buckets for e in self._store.examples(b, stream)]
        return sorted(found, key=lambda e: e.confidence)

    def _large(self, key: str) -> dict[str, str]:
        """Read a hash that may be so large that Redis must not read it out at once."""
        with translate_redis_errors():
            return dict(self._client.hscan_iter(key, count=AT_ONCE // 20))

    def _each(self, command: str, names: Sequence[str]) -> list[Any]:
        """Ask the same about many keys in one round trip."""
        found: list[Any] = []
        for first in range(0, len(names), 500):
            with translate_redis_errors():
                pipe = self._client.pipeline(transaction=False)
                for name in names[first : first + 500]:
                    getattr(pipe, command)(name)
                found += pipe.execute()
        return found


def portions(sizes: Mapping[int, int], most: int, at_once: int) -> list[list[int]]:
    """Choose what is read: items in the order of ``sizes``, at most ``most`` together, in pieces of about ``at_once``.

    The first item that is not empty is always read. Otherwise a large bucket would never be read.
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
