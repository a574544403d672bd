"""Reads Kafka through librdkafka, at a fraction of kafka-python's CPU time per record.

librdkafka fetches and decodes in threads of its own, outside Python's lock. Chosen by ``kafka.client``.
"""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from monitor.config import KafkaConfig
from monitor.errors import BrokerError, BrokerUnavailableError, MissingLibraryError
from monitor.messages.record import UNREADABLE, Partition, Record
from monitor.sources.looking import Looking
from monitor.sources.lookout import Lookout
from monitor.sources.settings import librdkafka_settings
from monitor.sources.topic import TopicQuestions

quiet = logging.getLogger("librdkafka")
"""Log lines of librdkafka itself, shown with ``--debug``. The lookout logs what people need to know."""

ANSWER_SECONDS = 10.0
"""How many seconds a question to the broker may take."""


UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID = 100, 103
"""Error codes of Kafka that older releases of the library have no names for."""


class ConfluentSource(Looking):
    """A :class:`monitor.sources.protocol.Source` on confluent-kafka.

    Raises:
        TopicMissingError: no topic exists.
        BrokerError: a setting is wrong. The message names it.
        MissingLibraryError: confluent-kafka is not installed.
    """

    def __init__(self, config: KafkaConfig) -> None:
        try:
            from confluent_kafka import Consumer
        except ImportError:
            raise MissingLibraryError(
                "kafka.client is confluent-kafka, which is not installed: pip install 'openood-line[confluent]', "
                "or set it to kafka-python"
            ) from None
        self._fresh: set[Partition] = set()
        self._ours: set[Partition] = set()
        questions = TopicQuestions(config)
        super().__init__(questions, Lookout(config, questions, lambda: set(self._ours)))
        self._lookout.begin()
        settings = librdkafka_settings(config)
        with confluent_errors(config.bootstrap_servers):
            self._consumer = Consumer({**settings, "error_cb": _note}, logger=quiet)
            topics, told = list(config.topic_names), {"on_revoke": self._taken, "on_lost": self._taken}
            self._consumer.subscribe(topics, on_assign=self._given, **told)

    # Called inside consume(), so by the thread that calls poll().
    def _given(self, _consumer: Any, partitions: Iterable[Any]) -> None:
        self._fresh.update(_ours(partitions))

    def _taken(self, _consumer: Any, partitions: Iterable[Any]) -> None:
        self._fresh.difference_update(_ours(partitions))

    def poll(self, timeout_ms: int, max_records: int) -> dict[Partition, list[Record]]:
        """Return new records by partition, in offset order. Partitions without new records are left out."""
        with confluent_errors("poll"):
            # consume() waits until it has as many as it may return: only the first record is waited for.
            polled = self._consumer.consume(max_records, 0)
            if not polled and timeout_ms:
                polled = self._consumer.consume(1, timeout_ms / 1000)
                polled += self._consumer.consume(max_records - 1, 0) if polled and max_records > 1 else []
        self._ours = self.assigned()
        found: dict[tuple[str, int], list[Record]] = {}
        for m in polled:
            error = m.error()
            if error is not None:
                if not _is_waited_out(error):
                    _refuse(error, "poll")
                continue
            topic, number = m.topic(), m.partition()
            record = Record(topic, number, m.offset(), m.timestamp()[1], m.key(), m.value(), _headers(m))
            found.setdefault((topic, number), []).append(record)
        return {Partition(*place): records for place, records in found.items()}

    def assigned(self) -> set[Partition]:
        """The partitions that are assigned to this worker now."""
        with confluent_errors("assignment"):
            return set(_ours(self._consumer.assignment()))

    def take_fresh(self) -> set[Partition]:
        """Return the partitions that were assigned since the last call."""
        fresh, self._fresh = self._fresh, set()
        return fresh

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue at ``offset``. Does nothing if the partition is no longer assigned to this worker."""
        from confluent_kafka import KafkaError, KafkaException

        until = time.monotonic() + ANSWER_SECONDS
        while partition in self.assigned():
            try:
                self._consumer.seek(_native(partition, offset))
            except KafkaException as error:
                # librdkafka begins to fetch a partition some time after it was assigned, and cannot seek before.
                if error.args[0].code() != KafkaError._STATE or time.monotonic() > until:
                    raise BrokerUnavailableError(f"{partition}: no seek to offset {offset}: {error}") from error
                time.sleep(0.005)
            else:
                return

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Stop fetching these partitions, but keep them."""
        self._while_ours(self._consumer.pause, partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these partitions again."""
        self._while_ours(self._consumer.resume, partitions)

    def _while_ours(self, call: Callable[[list[Any]], None], partitions: Iterable[Partition]) -> None:
        ours = [_native(p) for p in set(partitions) & self.assigned()]
        with confluent_errors("pause"):
            if ours:
                call(ours)

    def end_known(self) -> dict[Partition, int]:
        """Return the end of each partition as of the last fetch, without asking; absent if there was none yet."""
        with confluent_errors("cached offsets"):
            found = {p: self._consumer.get_watermark_offsets(_native(p), cached=True)[1] for p in self.assigned()}
        return {p: offset for p, offset in found.items() if offset >= 0}

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the offsets that the group has committed to Kafka; absent if it has not."""
        with confluent_errors("committed offsets"):
            told = self._consumer.committed([_native(p) for p in partitions], ANSWER_SECONDS)
        for tp in told:
            if tp.error is not None:
                _refuse(tp.error, "committed offsets")
        return {Partition(tp.topic, tp.partition): tp.offset for tp in told if tp.offset >= 0}

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets to Kafka, for lag tools only. Failures do not matter."""
        from confluent_kafka import KafkaException

        try:
            self._consumer.commit(offsets=[_native(p, o) for p, o in offsets.items()], asynchronous=True)
        except KafkaException:
            return

    def close(self) -> None:
        """Leave the consumer group."""
        self._lookout.close()
        self._consumer.close()


def _headers(message: Any) -> tuple[tuple[str, bytes], ...]:
    """Return the headers. If the name of one is not UTF-8, return what the contract rejects.

    In that case the client returns a list with a hole in it and an error as well. Python's fast path for a call misses
    that error, which then appears anywhere later. A call through ``methodcaller`` is always checked.
    """
    try:
        return tuple(_ask_headers(message) or ())
    except (SystemError, ValueError):
        return UNREADABLE


_ask_headers = operator.methodcaller("headers")


def _native(partition: Partition, offset: int | None = None) -> Any:
    from confluent_kafka import TopicPartition

    return TopicPartition(partition.topic, partition.number, *([] if offset is None else [offset]))


def _ours(partitions: Iterable[Any]) -> list[Partition]:
    return [Partition(tp.topic, tp.partition) for tp in partitions]


def _note(error: Any) -> None:
    quiet.debug("%s: %s", error.name(), error.str())


def _is_waited_out(error: Any) -> bool:
    """Whether this error means a missing topic or a refused login.

    The lookout finds out why and says what to do. Meanwhile the consumer waits until somebody repairs it.
    """
    from confluent_kafka import KafkaError

    codes = {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        UNKNOWN_TOPIC_ID,
        INCONSISTENT_TOPIC_ID,
    }
    return error.code() in codes and not error.fatal()


def _refuse(error: Any, what: str) -> None:
    """Translate an error of librdkafka into this package's, by whether trying again helps, and raise it."""
    from confluent_kafka import KafkaError

    again = {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError._STATE,
        KafkaError._ASSIGNMENT_LOST,
    }
    if not _is_waited_out(error) and (error.fatal() or not (error.retriable() or error.code() in again)):
        raise BrokerError(f"Kafka refuses ({what}): {error.name()}: {error.str()}")
    raise BrokerUnavailableError(f"Kafka cannot be reached ({what}): {error.str()}")


@contextmanager
def confluent_errors(what: str) -> Iterator[None]:
    """Translate errors of librdkafka into this package's."""
    from confluent_kafka import KafkaException

    try:
        yield
    except KafkaException as error:
        _refuse(error.args[0], what)
