"""Reads a bounded range of the topics, up to the ends they had at the start, or fails and says how far it got."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from monitor.config import KafkaConfig
from monitor.errors import BrokerError, BrokerUnavailableError, ReplayError
from monitor.messages.record import Partition, Record
from monitor.sources.header_names import tolerate_any_header_name
from monitor.sources.kafka_errors import kafka_errors
from monitor.sources.settings import reading
from monitor.sources.topic import TopicQuestions

PATIENCE = 60.0
"""After this many seconds without progress, reading a range fails."""
ATTEMPTS = 2
"""How often the topics are asked for their ends before Kafka counts as unreachable: one answer may be late."""

Ranges = Mapping[Partition, tuple[int, int]]
"""The first offset of each partition, and the one behind the last."""


def read_topic(
    config: KafkaConfig,
    begin_ms: int | None = None,
    end_ms: int | None = None,
    *,
    patience: float = PATIENCE,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[dict[Partition, list[Record]]]:
    """Read records with ``begin_ms <= timestamp < end_ms`` of every topic, up to its end when it was opened.

    The timestamp is the Kafka record's. No group is joined, nothing is committed, and no topic is created.

    Raises:
        TopicMissingError: a topic does not exist.
        BrokerError: a topic cannot be described. The message says why.
        ReplayError: the range could not be read to its end. The message says how far each partition was read.
    """
    ends = _ends(config)
    with _consuming(config) as consumer:
        for polled in _Range(consumer, _pinned(consumer, ends, begin_ms), patience, clock).read():
            found = {p: keep_within(records, begin_ms, end_ms) for p, records in polled.records.items()}
            yield {p: records for p, records in found.items() if records}


def pin(config: KafkaConfig, begin_ms: int | None = None) -> dict[Partition, tuple[int, int]]:
    """Where reading begins in each partition of every topic, and where it ends: what comes later does not belong to it.

    Raises:
        TopicMissingError: a topic does not exist.
        BrokerError: a topic cannot be described; the message says why.
    """
    ends = _ends(config)
    with _consuming(config) as consumer:
        return _pinned(consumer, ends, begin_ms)


def _ends(config: KafkaConfig) -> dict[Partition, int]:
    for _ in range(ATTEMPTS - 1):
        with suppress(BrokerUnavailableError):
            return _ask_ends(config)
    return _ask_ends(config)


def _ask_ends(config: KafkaConfig) -> dict[Partition, int]:
    questions = TopicQuestions(config)
    try:
        partitions: list[Partition] = []
        for topic, seen in questions.describe().items():
            if isinstance(seen, BrokerError):
                raise seen
            partitions += [Partition(topic, n) for n in sorted(seen.partitions)]
        return dict(questions.real_ends(partitions))
    finally:
        questions.close()


def _pinned(consumer: Any, ends: Mapping[Partition, int], begin_ms: int | None) -> dict[Partition, tuple[int, int]]:
    from kafka import TopicPartition

    native = {p: TopicPartition(p.topic, p.number) for p in ends}
    with kafka_errors("finding the beginning"):
        firsts = consumer.beginning_offsets(list(native.values()))
        found = {} if begin_ms is None else consumer.offsets_for_times(dict.fromkeys(native.values(), begin_ms))
    begins = {p: firsts[tp] if found.get(tp) is None else found[tp].offset for p, tp in native.items()}
    return {p: (min(ends[p], begins[p]), ends[p]) for p in ends}


@dataclass(frozen=True)
class Polled:
    """The result of one poll: the records of each partition, none after its end, and the next offset to read."""

    records: dict[Partition, list[Record]]
    at: dict[Partition, int]


def read_ranges(
    config: KafkaConfig, ranges: Ranges, *, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic
) -> Iterator[Polled]:
    """Everything in these offsets, whatever its time.

    Raises:
        ReplayError: they could not be read to their ends; the message says how far each partition was read.
    """
    with _consuming(config) as consumer:
        yield from _Range(consumer, ranges, patience, clock).read()


def keep_within(records: Iterable[Record], begin_ms: int | None, end_ms: int | None) -> list[Record]:
    """Those with ``begin_ms <= timestamp < end_ms``."""
    return [
        r
        for r in records
        if (begin_ms is None or r.timestamp_ms >= begin_ms) and (end_ms is None or r.timestamp_ms < end_ms)
    ]


@contextmanager
def _consuming(config: KafkaConfig) -> Iterator[Any]:
    with kafka_errors("opening the topic"):
        from kafka import KafkaConsumer

        tolerate_any_header_name()
        # Records that are gone are an error here, not a reason to go on elsewhere.
        settings = {"auto_offset_reset": "none", "max_partition_fetch_bytes": config.max_partition_fetch_bytes}
        consumer = KafkaConsumer(**{**reading(config), **settings})
    try:
        yield consumer
    finally:
        consumer.close()


class _Range:
    def __init__(self, consumer: Any, ranges: Ranges, patience: float, clock: Callable[[], float]) -> None:
        from kafka import TopicPartition

        self._consumer, self._patience, self._clock = consumer, patience, clock
        self._native = {p: TopicPartition(p.topic, p.number) for p in ranges}
        self._begins = {p: begin for p, (begin, _) in ranges.items()}
        self._ends = {p: end for p, (_, end) in ranges.items()}
        self._at = dict(self._begins)

    def read(self) -> Iterator[Polled]:
        with kafka_errors("opening the topic"):
            self._consumer.assign(list(self._native.values()))
            for p, tp in self._native.items():
                self._consumer.seek(tp, self._at[p])
        moved_at = self._clock()
        while any(self._at[p] < self._ends[p] for p in self._ends):
            polled = self._poll()
            if self._move():
                moved_at = self._clock()
            elif self._clock() - moved_at > self._patience:
                raise ReplayError(
                    f"{self._progress()}; nothing came for {self._patience:.0f} seconds: look whether all brokers are "
                    "up and whether a transaction was left open, then replay again"
                )
            found = {p: self._before_end(p, polled.get(tp, ())) for p, tp in self._native.items()}
            at = {p: min(self._at[p], self._ends[p]) for p in self._ends}
            yield Polled({p: records for p, records in found.items() if records}, at)

    def _poll(self) -> Mapping[Any, Any]:
        from kafka import errors

        try:
            with kafka_errors("reading the topic"):
                found: Mapping[Any, Any] = self._consumer.poll(timeout_ms=250)
                return found
        except BrokerUnavailableError:
            time.sleep(0.1)  # it may come back; patience ends it if not
            return {}
        except Exception as error:
            if isinstance(error.__cause__, errors.OffsetOutOfRangeError):
                raise ReplayError(
                    f"{self._progress()}; the next records are gone (retention, or the topic was made again): begin "
                    "later, or raise retention.ms of the topic"
                ) from error
            raise

    def _move(self) -> bool:
        before = dict(self._at)
        for p, tp in self._native.items():
            position = self._consumer.position(tp, timeout_ms=1000)
            self._at[p] = before[p] if position is None else position
        return self._at != before

    def _before_end(self, p: Partition, records: Any) -> list[Record]:
        return [
            Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
            for r in records
            if r.offset < self._ends[p]
        ]

    def _progress(self) -> str:
        """Describe how far each partition was read, in offsets."""
        read = sum(min(self._at[p], self._ends[p]) - self._begins[p] for p in self._ends)
        of = sum(self._ends[p] - self._begins[p] for p in self._ends)
        behind = [
            f"{p} up to offset {self._at[p]} of {self._ends[p]}" for p in self._ends if self._at[p] < self._ends[p]
        ]
        return f"only {read} of {of} offsets were read, and nothing was judged ({'; '.join(behind)})"
