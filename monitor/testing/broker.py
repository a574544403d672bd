"""A broker with consumer groups in memory, and a source and dead letters on top of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from monitor.errors import BrokerUnavailableError
from monitor.messages.record import Partition, Record
from monitor.sources.protocol import Log, Sight


@dataclass
class MemoryBroker:
    """Topics and consumer groups in memory. Partitions are assigned in turn, again on each join and leave.

    Attributes:
        away: set it to have every poll and send raise ``BrokerUnavailableError``.
        logs: the records of each partition, by offset; offsets may have holes.
        first: the earliest offset of a partition, 0 if it has no entry.
        ends: the offset that the next record of a partition gets, 0 if it has no entry.
        topic_ids: topic to its id; a topic that is made again gets another one.
        muted: partitions about which the broker answers nothing now, as if they had no leader.
    """

    partitions: int = 3
    away: bool = False
    logs: dict[Partition, list[Record]] = field(default_factory=dict)
    first: dict[Partition, int] = field(default_factory=dict)
    ends: dict[Partition, int] = field(default_factory=dict)
    topic_ids: dict[str, str] = field(default_factory=dict)
    muted: set[Partition] = field(default_factory=set)
    committed: dict[tuple[str, Partition], int] = field(default_factory=dict)
    members: dict[str, list[MemorySource]] = field(default_factory=dict)
    _made: int = 0

    def create(self, topic: str, partitions: int | None = None) -> None:
        """Create a topic, or add partitions to it. Sending to a topic does so, too."""
        if topic not in self.topic_ids:
            self._made += 1
            self.topic_ids[topic] = f"id-{self._made}"
        for n in range(partitions or self.partitions):
            self.logs.setdefault(Partition(topic, n), [])

    def delete(self, topic: str) -> None:
        """Delete a topic, and what groups committed about it."""
        self.topic_ids.pop(topic, None)
        for table in (self.logs, self.first, self.ends):
            for p in [p for p in table if p.topic == topic]:
                del table[p]
        for group, p in [key for key in self.committed if key[1].topic == topic]:
            del self.committed[group, p]

    def make_again(self, topic: str, partitions: int | None = None) -> None:
        """Delete a topic and create it again with another id. Group members keep their positions."""
        self.delete(topic)
        self.create(topic, partitions)

    def cut_off(self, partition: Partition, end: int) -> None:
        """Lose the records from offset ``end`` on, like a broker that lost its disk."""
        self.logs[partition] = [r for r in self.logs[partition] if r.offset < end]
        self.ends[partition] = end

    def compact(self, partition: Partition, offsets: Iterable[int]) -> None:
        """Remove records from the middle of a log, as compaction does."""
        gone = set(offsets)
        self.logs[partition] = [r for r in self.logs[partition] if r.offset not in gone]

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
            raise BrokerUnavailableError("the broker cannot be reached")
        self.create(topic)
        number = sum(key or b"") % self.partitions if partition is None else partition
        log = self.logs[Partition(topic, number)]
        offset = self.ends.get(Partition(topic, number), 0)
        self.ends[Partition(topic, number)] = offset + 1
        log.append(Record(topic, number, offset, timestamp_ms, key, value, tuple(headers)))
        return log[-1]

    def expire(self, partition: Partition, offset: int) -> None:
        """Remove the records below ``offset``, as retention does."""
        self.logs[partition] = [r for r in self.logs[partition] if r.offset >= offset]
        self.first[partition] = max(self.first.get(partition, 0), offset)
        self.ends[partition] = max(self.ends.get(partition, 0), offset)

    def records(self, topic: str) -> list[Record]:
        """Return all retained records of a topic, by partition and offset."""
        return [r for p, log in sorted(self.logs.items()) if p.topic == topic for r in log]

    def deal(self, group: str) -> None:
        """Rebalance."""
        members = self.members.get(group, [])
        dealt: dict[int, list[Partition]] = {n: [] for n in range(len(members))}
        for topic in sorted({topic for member in members for topic in member.topics}):
            takers = [n for n, member in enumerate(members) if topic in member.topics]
            for k, p in enumerate(p for p in sorted(self.logs) if p.topic == topic):
                dealt[takers[k % len(takers)]].append(p)
        for n, member in enumerate(members):
            member.assign(dealt[n])


class MemorySource:
    """A :class:`monitor.sources.protocol.Source` on a :class:`MemoryBroker`, of one topic or of several."""

    def __init__(self, broker: MemoryBroker, topic: str | Sequence[str], group: str) -> None:
        self.broker, self.group = broker, group
        self.topics = (topic,) if isinstance(topic, str) else tuple(topic)
        self._position: dict[Partition, int] = {}
        self._fresh: set[Partition] = set()
        self._paused: set[Partition] = set()
        for name in self.topics:
            broker.create(name)
        broker.members.setdefault(group, []).append(self)
        broker.deal(group)

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Called by the broker with the partitions assigned now."""
        new = set(partitions) - set(self._position)
        self._position = {p: self._position.get(p, self.broker.first.get(p, 0)) for p in partitions}
        self._fresh |= new
        self._paused &= set(self._position)

    def poll(self, _timeout_ms: int, max_records: int) -> dict[Partition, list[Record]]:
        """Return new records by partition, in offset order. Partitions without new records are left out."""
        if self.broker.away:
            raise BrokerUnavailableError("the broker cannot be reached")
        found: dict[Partition, list[Record]] = {}
        for p in sorted(set(self._position) - self._paused):
            at = self._position[p]
            if not self.broker.first.get(p, 0) <= at <= self.broker.ends.get(p, 0):
                at = self.broker.first.get(p, 0)  # out of range: as auto.offset.reset=earliest has it
            there = [r for r in self.broker.logs.get(p, []) if r.offset >= at]
            chunk = there[:max_records]
            max_records -= len(chunk)
            # Behind the last record there may be offsets that hold none.
            self._position[p] = there[len(chunk)].offset if len(chunk) < len(there) else self.broker.ends.get(p, 0)
            if chunk:
                found[p] = chunk
        return found

    def assigned(self) -> set[Partition]:
        """The partitions that are assigned to this worker now."""
        return set(self._position)

    def take_fresh(self) -> set[Partition]:
        """Return the partitions that were assigned since the last call."""
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
        """Fetch these partitions again."""
        self._paused -= set(partitions)

    def look(self) -> Mapping[str, Sight]:
        """Each topic as it is: the double has nothing to wait for."""
        if self.broker.away:
            return {}
        return {topic: self._look_at(topic) for topic in self.topics if topic in self.broker.topic_ids}

    def _look_at(self, topic: str) -> Sight:
        asked_at = time.monotonic()
        there = [p for p in self.broker.logs if p.topic == topic]
        logs = self._logs(p for p in self._position if p in there)
        return Sight(self.broker.topic_ids[topic], len(there), logs, asked_at)

    def trouble(self) -> str:
        """Why something cannot be read now; empty if everything can."""
        if self.broker.away:
            return "the broker cannot be reached"
        return "; ".join(f"topic {topic!r} does not exist" for topic in self._missing())

    def unreadable(self) -> tuple[str, ...]:
        """The topics that cannot be read, if others can."""
        missing = self._missing()
        return missing if not self.broker.away and len(missing) < len(self.topics) else ()

    def _missing(self) -> tuple[str, ...]:
        return tuple(topic for topic in self.topics if topic not in self.broker.topic_ids)

    def logs(
        self, partitions: Iterable[Partition], read_up_to: Mapping[Partition, int] | None = None
    ) -> dict[Partition, Log]:
        """Ask the broker about the logs of these partitions. Those without a leader are left out."""
        if self.broker.away:
            raise BrokerUnavailableError("the broker cannot be reached")
        return self._logs(p for p in partitions if p in self.broker.logs and p not in self.broker.muted)

    def _logs(self, partitions: Iterable[Partition]) -> dict[Partition, Log]:
        b = self.broker
        return {p: Log(b.topic_ids.get(p.topic, ""), b.first.get(p, 0), b.ends.get(p, 0)) for p in partitions}

    def end_known(self) -> dict[Partition, int]:
        """The end of each partition from the last fetch, without a question to the broker."""
        return {p: self.broker.ends.get(p, 0) for p in self._position}

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the offsets that the group has committed to Kafka; absent if it has not."""
        pairs = {p: self.broker.committed.get((self.group, p)) for p in partitions}
        return {p: offset for p, offset in pairs.items() if offset is not None}

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell Kafka, for lag tools."""
        self.broker.committed.update({(self.group, p): offset for p, offset in offsets.items()})

    def lag(self) -> int:
        """How many records were not read yet."""
        return sum(max(0, self.broker.ends.get(p, 0) - at) for p, at in self._position.items())

    def close(self) -> None:
        """Leave the consumer group."""
        self.broker.members[self.group].remove(self)
        self.broker.deal(self.group)


class MemoryDeadLetters:
    """A :class:`monitor.sources.deadletters.DeadLetters` that sends to a :class:`MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, topic: str, max_bytes: int = 900_000) -> None:
        from monitor.sources.deadletters import Sent

        self.broker, self.topic, self.max_bytes = broker, topic, max_bytes
        self.sent = Sent()

    def send(self, rejected: Iterable[tuple[Record, str, str]]) -> None:
        """Send records with their reason and detail."""
        from monitor.sources.letters import letter_of

        for rejection in rejected:
            letter = letter_of(rejection, self.max_bytes)
            self.broker.send(self.topic, letter.value, key=letter.key, headers=letter.headers)
            self.sent.letters += 1
            self.sent.stubs += letter.stub

    def close(self) -> None:
        """Nothing is held."""
