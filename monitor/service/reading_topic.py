"""Reads a bounded range of the topics, up to the ends they had at the start, or fails and says how far it got."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
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
    questions = TopicQuestions(config)
    try:
        partitions: list[Partition] = []
        for topic, seen in questions.describe().items():
            if isinstance(seen, BrokerError):
                raise seen
            partitions += [Partition(topic, n) for n in sorted(seen.partitions)]
        ends = questions.real_ends(partitions)
    finally:
        questions.close()
    with kafka_errors("opening the topic"):
        from kafka import KafkaConsumer

        tolerate_any_header_name()
        # Records that are gone are an error here, not a reason to go on elsewhere.
        settings = {"auto_offset_reset": "none", "max_partition_fetch_bytes": config.max_partition_fetch_bytes}
        consumer = KafkaConsumer(**{**reading(config), **settings})
    try:
        yield from _Range(consumer, ends, patience, clock).read(begin_ms, end_ms)
    finally:
        consumer.close()


class _Range:
    def __init__(
        self, consumer: Any, ends: Mapping[Partition, int], patience: float, clock: Callable[[], float]
    ) -> None:
        from kafka import TopicPartition

        self._consumer, self._patience, self._clock = consumer, patience, clock
        self._native = {p: TopicPartition(p.topic, p.number) for p in ends}
        self._ends = ends
        self._begins: dict[Partition, int] = {}
        self._at: dict[Partition, int] = {}

    def read(self, begin_ms: int | None, end_ms: int | None) -> Iterator[dict[Partition, list[Record]]]:
        self._open(begin_ms)
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
            found = {p: self._within(p, polled.get(tp, ()), begin_ms, end_ms) for p, tp in self._native.items()}
            yield {p: records for p, records in found.items() if records}

    def _open(self, begin_ms: int | None) -> None:
        consumer, native = self._consumer, self._native
        with kafka_errors("finding the beginning"):
            consumer.assign(list(native.values()))
            firsts = consumer.beginning_offsets(list(native.values()))
            found = {} if begin_ms is None else consumer.offsets_for_times(dict.fromkeys(native.values(), begin_ms))
            for p, tp in native.items():
                at = found.get(tp)
                self._begins[p] = self._at[p] = min(self._ends[p], firsts[tp] if at is None else at.offset)
                consumer.seek(tp, self._at[p])

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

    def _within(self, p: Partition, records: Any, begin_ms: int | None, end_ms: int | None) -> list[Record]:
        return [
            Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
            for r in records
            if r.offset < self._ends[p]
            and (begin_ms is None or r.timestamp >= begin_ms)
            and (end_ms is None or r.timestamp < end_ms)
        ]

    def _progress(self) -> str:
        """Describe how far each partition was read, in offsets."""
        read = sum(min(self._at[p], self._ends[p]) - self._begins[p] for p in self._ends)
        of = sum(self._ends[p] - self._begins[p] for p in self._ends)
        behind = [
            f"{p} up to offset {self._at[p]} of {self._ends[p]}" for p in self._ends if self._at[p] < self._ends[p]
        ]
        return f"only {read} of {of} offsets were read, and nothing was judged ({'; '.join(behind)})"
