"""Reads Kafka through kafka-python, as one consumer of a group whose offsets are kept in the store.

The store decides where to continue: the worker seeks after each assignment. Offsets are committed to Kafka only for lag
tools.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from monitor.config import KafkaConfig
from monitor.errors import BrokerUnavailableError
from monitor.messages.record import Partition, Record
from monitor.messages.text import name_topics
from monitor.sources.header_names import tolerate_any_header_name
from monitor.sources.kafka_errors import kafka_errors
from monitor.sources.looking import Looking
from monitor.sources.lookout import Lookout
from monitor.sources.settings import reading
from monitor.sources.topic import TopicQuestions

log = logging.getLogger(__name__)

ANSWER_MS = 10_000
"""How long a question to the coordinator of the group may take, in milliseconds."""


class KafkaSource(Looking):
    """A :class:`monitor.sources.protocol.Source` on kafka-python.

    If Kafka cannot be reached at the start, the first poll that finds it back connects.

    Raises:
        TopicMissingError: no topic exists.
        BrokerError: a setting is wrong. The message names it.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._fresh: set[Partition] = set()
        self._ours: set[Partition] = set()
        self._lock = threading.Lock()
        self._consumer: Any = None
        questions = TopicQuestions(config)
        super().__init__(questions, Lookout(config, questions, lambda: set(self._ours), watch_group=True))
        self._lookout.begin()

    def _connected(self) -> Any:
        if self._consumer is None:
            if self._lookout.trouble and not self._lookout.unreadable:
                raise BrokerUnavailableError(self._lookout.trouble)
            from kafka import KafkaConsumer

            config = self._config
            tolerate_any_header_name()
            with kafka_errors(f"{config.bootstrap_servers}"):
                consumer = KafkaConsumer(
                    **reading(config),
                    group_id=config.group,
                    group_instance_id=config.instance_id or None,
                    max_poll_records=config.max_poll_records,
                    max_partition_fetch_bytes=config.max_partition_fetch_bytes,
                    max_poll_interval_ms=config.max_poll_interval_ms,
                    session_timeout_ms=config.session_timeout_ms,
                    heartbeat_interval_ms=config.heartbeat_interval_ms,
                    partition_assignment_strategy=_assignors(config.assignment),
                )
                for topic in config.topic_names:  # else a leader may deal partitions before it knows of any
                    if topic in self._lookout.sights:
                        consumer.partitions_for_topic(topic)
                consumer.subscribe(list(config.topic_names), listener=_listener(self._given, self._taken))
            self._consumer = consumer
        return self._consumer

    def _join_again(self) -> None:
        """Leave the group and join it again: kafka-python 3.0 does not notice that it assigned by old metadata."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=5000)
        self._taken(list(self._fresh))

    # The listener runs on the client's IO thread: it only notes what changed.
    def _given(self, partitions: Iterable[Partition]) -> None:
        with self._lock:
            self._fresh.update(partitions)

    def _taken(self, partitions: Iterable[Partition]) -> None:
        with self._lock:
            self._fresh.difference_update(partitions)

    def poll(self, timeout_ms: int, max_records: int) -> dict[Partition, list[Record]]:
        """Return new records by partition, in offset order. Partitions without new records are left out."""
        orphans = self._lookout.take_orphans()
        if orphans and self._consumer is not None:  # else it has not joined yet: the artifact may take long to load
            names = ", ".join(str(p) for p in sorted(orphans))
            log.warning(
                "no worker was given %s although the group is settled; this worker joins the group again", names
            )
            self._join_again()
        if (returned := self._lookout.take_returned()) and self._consumer is not None:
            log.info(
                "%s came back; this worker joins the group again to be given its partitions", name_topics(returned)
            )
            self._join_again()
        consumer = self._connected()
        with kafka_errors("poll"):
            polled = consumer.poll(timeout_ms=timeout_ms, max_records=max_records)
        self._ours = self.assigned()
        return {
            Partition(tp.topic, tp.partition): [
                Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in records
            ]
            for tp, records in polled.items()
        }

    def assigned(self) -> set[Partition]:
        """The partitions that are assigned to this worker now."""
        if self._consumer is None:
            return set()
        return {Partition(tp.topic, tp.partition) for tp in self._consumer.assignment()}

    def take_fresh(self) -> set[Partition]:
        """Return the partitions that were assigned since the last call."""
        with self._lock:
            fresh, self._fresh = self._fresh, set()
        return fresh

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue at ``offset``. Does nothing if the partition is no longer assigned to this worker."""
        if partition not in self.assigned():
            return
        try:
            self._consumer.seek(_native(partition), offset)
        except (ValueError, KeyError):  # taken away since
            return

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Stop fetching these partitions, but keep them."""
        for p in set(partitions) & self.assigned():
            self._while_ours(self._consumer.pause, p)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these partitions again."""
        for p in set(partitions) & self.assigned():
            self._while_ours(self._consumer.resume, p)

    def _while_ours(self, call: Callable[[Any], None], partition: Partition) -> None:
        try:
            call(_native(partition))
        except KeyError:  # taken away since
            return

    def end_known(self) -> dict[Partition, int]:
        """Return the end of each partition as of the last fetch, without asking; absent if there was none yet."""
        found = {p: self._consumer.highwater(_native(p)) for p in self.assigned()}
        return {p: offset for p, offset in found.items() if offset is not None}

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the offsets that the group has committed to Kafka; absent if it has not."""
        with kafka_errors("committed offsets"):
            pairs = {p: self._connected().committed(_native(p), timeout_ms=ANSWER_MS) for p in partitions}
        return {p: offset for p, offset in pairs.items() if offset is not None}

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets to Kafka, for lag tools only. Failures do not matter."""
        from kafka import OffsetAndMetadata
        from kafka.errors import KafkaError

        if self._consumer is None:
            return
        try:
            self._consumer.commit_async({_native(p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()})
        except KafkaError:
            return

    def close(self) -> None:
        """Leave the consumer group."""
        self._lookout.close()
        if self._consumer is not None:
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
