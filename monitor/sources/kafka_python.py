"""Kafka in: one consumer of a group, offsets kept elsewhere.

Where to read on is the store's business: the worker seeks after each assignment. What is committed to Kafka is for lag
tools alone. Connection settings for every client of this package are made here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from monitor.config import KafkaConfig
from monitor.errors import BrokerError, BrokerUnavailableError
from monitor.messages.record import Partition, Record
from monitor.sources.settings import connection


class KafkaSource:
    """A :class:`Source` on kafka-python."""

    def __init__(self, config: KafkaConfig) -> None:
        from kafka import KafkaConsumer

        self._fresh: set[Partition] = set()
        self._lock = threading.Lock()
        with kafka_errors(f"{config.bootstrap_servers}"):
            self._consumer = KafkaConsumer(
                **connection(config),
                group_id=config.group,
                group_instance_id=config.instance_id or None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_poll_records=config.max_poll_records,
                max_partition_fetch_bytes=config.max_partition_fetch_bytes,
                max_poll_interval_ms=config.max_poll_interval_ms,
                session_timeout_ms=config.session_timeout_ms,
                heartbeat_interval_ms=config.heartbeat_interval_ms,
                partition_assignment_strategy=_assignors(config.assignment),
            )
            self._consumer.subscribe([config.topic], listener=_listener(self._given, self._taken))

    # The listener runs on the client's IO thread: it only notes what changed.
    def _given(self, partitions: Iterable[Partition]) -> None:
        with self._lock:
            self._fresh.update(partitions)

    def _taken(self, partitions: Iterable[Partition]) -> None:
        with self._lock:
            self._fresh.difference_update(partitions)

    def poll(self, timeout_ms: int, max_records: int) -> dict[Partition, list[Record]]:
        """Records by partition, in offset order, at least one each."""
        with kafka_errors("poll"):
            polled = self._consumer.poll(timeout_ms=timeout_ms, max_records=max_records)
        return {
            Partition(tp.topic, tp.partition): [
                Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in records
            ]
            for tp, records in polled.items()
        }

    def assigned(self) -> set[Partition]:
        """Partitions that are ours now."""
        return {Partition(tp.topic, tp.partition) for tp in self._consumer.assignment()}

    def take_fresh(self) -> set[Partition]:
        """Partitions given to us since the last call."""
        with self._lock:
            fresh, self._fresh = self._fresh, set()
        return fresh

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``; nothing where the partition is not ours any more."""
        try:
            self._consumer.seek(_native(partition), offset)
        except (ValueError, KeyError):  # taken away since
            return

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Stop fetching these, keep them."""
        for p in set(partitions) & self.assigned():
            self._while_ours(self._consumer.pause, p)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these again."""
        for p in set(partitions) & self.assigned():
            self._while_ours(self._consumer.resume, p)

    def _while_ours(self, call: Callable[[Any], None], partition: Partition) -> None:
        try:
            call(_native(partition))
        except KeyError:  # taken away since
            return

    def first_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The earliest offset that is still there."""
        with kafka_errors("beginning offsets"):
            found = self._consumer.beginning_offsets([_native(p) for p in partitions])
        return {Partition(tp.topic, tp.partition): offset for tp, offset in found.items()}

    def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset that the next record will have."""
        with kafka_errors("end offsets"):
            found = self._consumer.end_offsets([_native(p) for p in partitions])
        return {Partition(tp.topic, tp.partition): offset for tp, offset in found.items()}

    def end_known(self) -> dict[Partition, int]:
        """The end of each partition as the last fetch told it, without asking; absent if nothing was fetched yet."""
        found = {p: self._consumer.highwater(_native(p)) for p in self.assigned()}
        return {p: offset for p, offset in found.items() if offset is not None}

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """What the group told Kafka, for partitions where it did."""
        with kafka_errors("committed offsets"):
            pairs = {p: self._consumer.committed(_native(p)) for p in partitions}
        return {p: offset for p, offset in pairs.items() if offset is not None}

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell Kafka, for lag tools; failures do not matter."""
        from kafka import OffsetAndMetadata
        from kafka.errors import KafkaError

        try:
            self._consumer.commit_async({_native(p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()})
        except KafkaError:
            return

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close(autocommit=False, timeout_ms=5000)


def _native(partition: Partition) -> Any:
    from kafka import TopicPartition

    return TopicPartition(partition.topic, partition.number)


def _assignors(name: str) -> tuple[Any, ...]:
    if name == "cooperative":
        from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

        return (CooperativeStickyAssignor,)
    from kafka.coordinator.assignors.range import RangePartitionAssignor

    return (RangePartitionAssignor,)


def _listener(given: Callable[[Iterable[Partition]], None], taken: Callable[[Iterable[Partition]], None]) -> Any:
    from kafka import ConsumerRebalanceListener

    def ours(partitions: Iterable[Any]) -> list[Partition]:
        return [Partition(tp.topic, tp.partition) for tp in partitions]

    class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
        def on_partitions_assigned(self, assigned: Any) -> None:
            given(ours(assigned))

        def on_partitions_revoked(self, revoked: Any) -> None:
            taken(ours(revoked))

        def on_partitions_lost(self, lost: Any) -> None:
            taken(ours(lost))

    return Listener()


@contextmanager
def kafka_errors(what: str) -> Iterator[None]:
    """Kafka errors as this package's, told apart by whether trying again helps."""
    from kafka import errors

    try:
        yield
    except (errors.CommitFailedError, errors.RebalanceInProgressError, errors.IllegalGenerationError) as error:
        raise BrokerUnavailableError(f"Kafka rebalances ({what}): {error}") from error
    except errors.KafkaError as error:
        if error.retriable or isinstance(error, errors.KafkaTimeoutError):
            raise BrokerUnavailableError(f"Kafka cannot be reached ({what}): {error}") from error
        raise BrokerError(f"Kafka refuses ({what}): {type(error).__name__}: {error}") from error
    except (OSError, AssertionError) as error:
        raise BrokerUnavailableError(f"Kafka cannot be reached ({what}): {error}") from error
