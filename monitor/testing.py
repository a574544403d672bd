"""Doubles that hold to the same contracts as the real parts: a store, a broker with consumer groups, a clock.

They are public: use them to test what you build on the monitor. ``tests/contract`` runs one suite over them and over
real servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from monitor.counts import Batch, Claim, CountKey, Example, Fold, Partition, PartitionState, Reply
from monitor.errors import BrokerUnavailableError, StoreUnavailableError
from monitor.messages.contract import Record


@dataclass
class FakeClock:
    """A clock that moves when told to; call it for milliseconds since the epoch."""

    now_ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        """The time now."""
        return self.now_ms

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)


class MemoryStore:
    """A :class:`monitor.counts.Store` in memory.

    Attributes:
        away: set it to have every call raise ``StoreUnavailableError``.
        lose_replies: that many next commits are applied, and their answers lost.
    """

    def __init__(self, clock: FakeClock | None = None, examples: int = 5) -> None:
        self.away = False
        self.lose_replies = 0
        self._clock = clock or FakeClock()
        self._keep = examples
        self.wipe()

    def wipe(self) -> None:
        """Forget everything, as a Redis without persistence does."""
        self._partitions: dict[Partition, PartitionState] = {}
        self._buckets: dict[int, dict[CountKey, int]] = {}
        self._unfolded: set[int] = set()
        self._examples: dict[tuple[int, str], list[Example]] = {}
        self._totals: dict[CountKey, int] = {}
        self._rejected: dict[str, int] = {}
        self._streams: dict[str, int] = {}
        self._meta = {"closed": -1, "folded": -1, "token": 0}
        self._artifact = ""
        self._lease: tuple[str, int, int] | None = None
        self._state: dict[str, str] = {}
        self._alerts: dict[str, dict[str, str]] = {}
        self._history: list[dict[str, str]] = []

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailableError("the store is away")

    def ping(self) -> None:
        """Raise where it is away."""
        self._reach()

    def bind(self, artifact: str) -> str:
        """Record the artifact in use; the one before."""
        self._reach()
        before, self._artifact = self._artifact, artifact
        return before

    def claim(self, first: Mapping[Partition, int], now_ms: int) -> dict[Partition, Claim]:
        """Take partitions over."""
        self._reach()
        claims = {}
        for p, offset in first.items():
            old = self._partitions.get(p)
            kept = old or PartitionState(0, offset, -1, now_ms)
            self._partitions[p] = PartitionState(kept.epoch + 1, kept.next, kept.bucket, now_ms)
            claims[p] = Claim(kept.epoch + 1, kept.next, kept.bucket, old is None)
        return claims

    def commit(self, batch: Batch, now_ms: int) -> Reply:
        """Write counts and offsets together, or nothing."""
        self._reach()
        reply = self._judge(batch)
        if reply.status == "ok":
            self._write(batch, now_ms)
        if self.lose_replies:
            self.lose_replies -= 1
            raise StoreUnavailableError("the answer was lost")
        return reply

    def _judge(self, batch: Batch) -> Reply:
        repeated = False
        for p in batch.progress:
            stored = self._partitions.get(p.partition)
            if stored is None:
                return Reply("refused", partition=p.partition, why="wiped")
            if stored.epoch != p.epoch:
                return Reply("refused", partition=p.partition, why="fenced")
            if stored.next != p.start:
                if stored.next != p.next:
                    return Reply("refused", partition=p.partition, why="moved")
                repeated = True
        if repeated:
            return Reply("repeat")
        if any(bucket <= self._meta["closed"] for bucket in batch.counts):
            return Reply("closed", closed=self._meta["closed"])
        return Reply("ok")

    def _write(self, batch: Batch, now_ms: int) -> None:
        for p in batch.progress:
            self._partitions[p.partition] = PartitionState(p.epoch, p.next, p.bucket, now_ms)
        for bucket, cells in batch.counts.items():
            _add(self._buckets.setdefault(bucket, {}), cells)
            self._unfolded.add(bucket)
            self._streams.update(dict.fromkeys((key[0] for key in cells), now_ms))
        _add(self._totals, batch.totals())
        for reason, n in batch.rejected.items():
            self._rejected[reason] = self._rejected.get(reason, 0) + n
        for key, found in batch.examples.items():
            kept = sorted([*self._examples.get(key, []), *found], key=lambda e: e.confidence)
            self._examples[key] = kept[: self._keep]

    def partitions(self) -> dict[Partition, PartitionState]:
        """Every partition ever claimed."""
        self._reach()
        return dict(sorted(self._partitions.items()))

    def totals(self) -> dict[CountKey, int]:
        """Samples counted since the beginning."""
        self._reach()
        return dict(self._totals)

    def rejected(self) -> dict[str, int]:
        """Records rejected since the beginning, by reason."""
        self._reach()
        return dict(self._rejected)

    def streams(self) -> dict[str, int]:
        """Stream to the time (ms) of its last count."""
        self._reach()
        return dict(self._streams)

    def lease(self, holder: str, ttl_ms: int) -> int:
        """Take, keep or (``ttl_ms`` 0) give back the lease."""
        self._reach()
        held = self._lease
        if held and held[2] <= self._clock():
            held = self._lease = None
        if held and held[0] != holder:
            return 0
        if not ttl_ms:
            self._lease = None
            return 0
        if held is None:
            self._meta["token"] += 1
        token = held[1] if held else self._meta["token"]
        self._lease = (holder, token, self._clock() + ttl_ms)
        return token

    def _holds(self, token: int) -> bool:
        return self._lease is not None and self._lease[1] == token and self._lease[2] > self._clock()

    def close(self, token: int, bucket: int) -> tuple[int, int] | None:
        """Close buckets up to ``bucket``."""
        self._reach()
        if not self._holds(token):
            return None
        self._meta["closed"] = max(self._meta["closed"], bucket)
        return self._meta["closed"], self._meta["folded"]

    def pending(self, folded: int, closed: int) -> list[int]:
        """Closed buckets that hold counts and are not folded, ascending."""
        self._reach()
        return sorted(b for b in self._unfolded if folded < b <= closed)

    def counts(self, bucket: int) -> dict[CountKey, int]:
        """Counts of one bucket."""
        self._reach()
        return dict(self._buckets.get(bucket, {}))

    def examples(self, bucket: int, stream: str) -> list[Example]:
        """The most OOD samples of a stream in a bucket, the worst first."""
        self._reach()
        return list(self._examples.get((bucket, stream), []))

    def state(self) -> dict[str, str]:
        """The evidence state of every key."""
        self._reach()
        return dict(self._state)

    def apply(self, fold: Fold) -> str:
        """Write a folded bucket."""
        self._reach()
        if not self._holds(fold.token):
            return "refused"
        if fold.bucket is not None:
            if self._meta["folded"] == fold.bucket:
                return "repeat"
            if self._meta["folded"] != fold.folded:
                return "refused"
            self._meta["folded"] = fold.bucket
            self._unfolded.discard(fold.bucket)
        if fold.guard is not None and self._state.get(fold.guard[0], "") != fold.guard[1]:
            return "repeat" if self._state.get(fold.guard[0]) == fold.state.get(fold.guard[0]) else "refused"
        self._state.update(fold.state)
        for t in fold.alerts:
            fields = {"fingerprint": t.fingerprint, **t.fields}
            self._alerts.pop(t.fingerprint, None)
            self._alerts[t.fingerprint] = fields
            if t.event:
                self._history.append({"id": f"{len(self._history) + 1}-0", **fields})
        return "ok"

    def alerts(self) -> list[dict[str, str]]:
        """Current alerts, the latest transition first."""
        self._reach()
        return [dict(fields) for fields in reversed(self._alerts.values())]

    def history(self, count: int = 100) -> list[dict[str, str]]:
        """Transitions, the latest first."""
        self._reach()
        return [dict(event) for event in reversed(self._history)][:count]


def _add(into: dict[CountKey, int], cells: Mapping[CountKey, int]) -> None:
    for key, n in cells.items():
        into[key] = into.get(key, 0) + n


@dataclass
class MemoryBroker:
    """Topics and consumer groups in memory; partitions are dealt out in turn, and dealt again on each join and leave.

    Attributes:
        away: set it to have every poll and send raise ``BrokerUnavailableError``.
    """

    partitions: int = 3
    away: bool = False
    logs: dict[Partition, list[Record]] = field(default_factory=dict)
    first: dict[Partition, int] = field(default_factory=dict)
    committed: dict[tuple[str, Partition], int] = field(default_factory=dict)
    members: dict[str, list[MemorySource]] = field(default_factory=dict)

    def create(self, topic: str) -> None:
        """Make a topic; sending to it does so too."""
        for n in range(self.partitions):
            self.logs.setdefault(Partition(topic, n), [])

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
        timestamp_ms: int = 1_700_000_000_000,
        partition: int | None = None,
    ) -> Record:
        """Append one record."""
        if self.away:
            raise BrokerUnavailableError("the broker is away")
        self.create(topic)
        number = sum(key or b"") % self.partitions if partition is None else partition
        log = self.logs[Partition(topic, number)]
        offset = self.first.get(Partition(topic, number), 0) + len(log)
        log.append(Record(topic, number, offset, timestamp_ms, key, value, tuple(headers)))
        return log[-1]

    def expire(self, partition: Partition, offset: int) -> None:
        """Drop what lies below ``offset``, as retention does."""
        begin = self.first.get(partition, 0)
        self.logs[partition] = self.logs[partition][max(0, offset - begin) :]
        self.first[partition] = max(begin, offset)

    def records(self, topic: str) -> list[Record]:
        """Everything retained of a topic, by partition and offset."""
        return [r for p, log in sorted(self.logs.items()) if p.topic == topic for r in log]

    def deal(self, group: str) -> None:
        """Rebalance."""
        members = self.members.get(group, [])
        for n, member in enumerate(members):
            mine = [p for p in sorted(self.logs) if p.topic == member.topic]
            member.assign(mine[n :: len(members)])


class MemorySource:
    """A :class:`monitor.source.Source` on a :class:`MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, topic: str, group: str) -> None:
        self.broker, self.topic, self.group = broker, topic, group
        self._position: dict[Partition, int] = {}
        self._fresh: set[Partition] = set()
        self._paused: set[Partition] = set()
        broker.create(topic)
        broker.members.setdefault(group, []).append(self)
        broker.deal(group)

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Called by the broker: these are yours now."""
        new = set(partitions) - set(self._position)
        self._position = {p: self._position.get(p, self.broker.first.get(p, 0)) for p in partitions}
        self._fresh |= new
        self._paused &= set(self._position)

    def poll(self, _timeout_ms: int, max_records: int) -> dict[Partition, list[Record]]:
        """Records by partition, in offset order, at least one each."""
        if self.broker.away:
            raise BrokerUnavailableError("the broker is away")
        found: dict[Partition, list[Record]] = {}
        for p in sorted(set(self._position) - self._paused):
            begin = self.broker.first.get(p, 0)
            at = max(self._position[p], begin)
            chunk = self.broker.logs[p][at - begin :][:max_records]
            max_records -= len(chunk)
            self._position[p] = at + len(chunk)
            if chunk:
                found[p] = chunk
        return found

    def assigned(self) -> set[Partition]:
        """Partitions that are ours now."""
        return set(self._position)

    def take_fresh(self) -> set[Partition]:
        """Partitions given to us since the last call."""
        fresh, self._fresh = self._fresh, set()
        return fresh & set(self._position)

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``."""
        if partition in self._position:
            self._position[partition] = offset

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Stop fetching these."""
        self._paused |= set(partitions) & set(self._position)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these again."""
        self._paused -= set(partitions)

    def first_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The earliest offset that is still there."""
        return {p: self.broker.first.get(p, 0) for p in partitions}

    def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset that the next record will have."""
        return {p: self.broker.first.get(p, 0) + len(self.broker.logs[p]) for p in partitions}

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """What the group told Kafka, for partitions where it did."""
        pairs = {p: self.broker.committed.get((self.group, p)) for p in partitions}
        return {p: offset for p, offset in pairs.items() if offset is not None}

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell Kafka, for lag tools."""
        self.broker.committed.update({(self.group, p): offset for p, offset in offsets.items()})

    def lag(self) -> int:
        """Records that are there and were not read."""
        ends = self.end_offsets(self._position)
        return sum(ends[p] - at for p, at in self._position.items())

    def close(self) -> None:
        """Leave the group."""
        self.broker.members[self.group].remove(self)
        self.broker.deal(self.group)


class MemoryDeadLetters:
    """A :class:`monitor.source.DeadLetters` that sends to a :class:`MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, topic: str) -> None:
        self.broker, self.topic = broker, topic

    def send(self, rejected: Iterable[tuple[Record, str, str]]) -> None:
        """Send records with their reason and detail."""
        from monitor.deadletters import headers_of

        for record, reason, detail in rejected:
            self.broker.send(
                self.topic, record.value, key=record.key, headers=headers_of(record, reason, detail, cut=False)
            )

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def outage(part: MemoryStore | MemoryBroker) -> Iterator[None]:
    """The part is away while this lasts."""
    part.away = True
    try:
        yield
    finally:
        part.away = False
