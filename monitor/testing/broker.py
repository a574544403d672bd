"""A broker with consumer groups in memory, and what reads from it and sends to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from monitor.errors import BrokerUnavailableError
from monitor.messages.record import Partition, Record


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
    """A :class:`monitor.sources.kafka_python.Source` on a :class:`MemoryBroker`."""

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

    def end_known(self) -> dict[Partition, int]:
        """The end of each partition as the last fetch told it, without asking."""
        return self.end_offsets(self._position)

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
    """A :class:`monitor.sources.kafka_python.DeadLetters` that sends to a :class:`MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, topic: str) -> None:
        self.broker, self.topic = broker, topic

    def send(self, rejected: Iterable[tuple[Record, str, str]]) -> None:
        """Send records with their reason and detail."""
        from monitor.sources.deadletters import headers_of

        for record, reason, detail in rejected:
            self.broker.send(
                self.topic, record.value, key=record.key, headers=headers_of(record, reason, detail, cut=False)
            )

    def close(self) -> None:
        """Nothing is held."""
