"""Kafka in through librdkafka: the same protocol as kafka-python at a fraction of its CPU a record.

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
from monitor.sources.lookout import Lookout
from monitor.sources.protocol import Log, Sight
from monitor.sources.settings import librdkafka_settings
from monitor.sources.topic import TopicQuestions

quiet = logging.getLogger("librdkafka")
"""librdkafka's own lines; shown with ``--debug``. What people must know is said by the lookout."""

ANSWER_SECONDS = 10.0
"""How long a question to the broker may take."""


UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID = 100, 103
"""Kafka's error codes; older releases of the library have no names for them."""


class ConfluentSource:
    """A :class:`monitor.sources.protocol.Source` on confluent-kafka.

    Raises:
        TopicMissingError: no topic exists.
        BrokerError: a setting is wrong; the message names it.
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
        self._questions = TopicQuestions(config)
        self._lookout = Lookout(config, self._questions, lambda: set(self._ours))
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
        """Records by partition, in offset order, at least one each."""
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
        """Partitions that are ours now."""
        with confluent_errors("assignment"):
            return set(_ours(self._consumer.assignment()))

    def take_fresh(self) -> set[Partition]:
        """Partitions given to us since the last call."""
        fresh, self._fresh = self._fresh, set()
        return fresh

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``; nothing happens if the partition is not ours any more."""
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
        """Stop fetching these, keep them."""
        self._while_ours(self._consumer.pause, partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these again."""
        self._while_ours(self._consumer.resume, partitions)

    def _while_ours(self, call: Callable[[list[Any]], None], partitions: Iterable[Partition]) -> None:
        ours = [_native(p) for p in set(partitions) & self.assigned()]
        with confluent_errors("pause"):
            if ours:
                call(ours)

    def look(self) -> Mapping[str, Sight]:
        """Each topic as it was last seen."""
        return self._lookout.sights

    def trouble(self) -> str:
        """Why something cannot be read now; empty if all is well."""
        return self._lookout.trouble

    def unreadable(self) -> tuple[str, ...]:
        """The topics that trouble is about if others can be read."""
        return self._lookout.unreadable

    def logs(
        self, partitions: Iterable[Partition], read_up_to: Mapping[Partition, int] | None = None
    ) -> dict[Partition, Log]:
        """Ask the broker about these partitions; those without a leader are left out."""
        return self._questions.logs(list(partitions), read_up_to or {})

    def end_known(self) -> dict[Partition, int]:
        """The end of each partition as the last fetch told it, without asking; absent if nothing was fetched yet."""
        with confluent_errors("cached offsets"):
            found = {p: self._consumer.get_watermark_offsets(_native(p), cached=True)[1] for p in self.assigned()}
        return {p: offset for p, offset in found.items() if offset >= 0}

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """What the group told Kafka, for partitions of which it did."""
        with confluent_errors("committed offsets"):
            told = self._consumer.committed([_native(p) for p in partitions], ANSWER_SECONDS)
        for tp in told:
            if tp.error is not None:
                _refuse(tp.error, "committed offsets")
        return {Partition(tp.topic, tp.partition): tp.offset for tp in told if tp.offset >= 0}

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell Kafka, for lag tools; failures do not matter."""
        from confluent_kafka import KafkaException

        try:
            self._consumer.commit(offsets=[_native(p, o) for p, o in offsets.items()], asynchronous=True)
        except KafkaException:
            return

    def close(self) -> None:
        """Leave the group."""
        self._lookout.close()
        self._consumer.close()


def _headers(message: Any) -> tuple[tuple[str, bytes], ...]:
    """The headers, or what the contract rejects if the name of one is not UTF-8.

    The client then returns a list with a hole in it and an error besides. Python's fast path for a call misses that
    error, which strikes anywhere later; a call through ``methodcaller`` is always checked.
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
    """Whether this is a topic that is not there, or a login that is refused.

    The lookout finds that out by itself, says why and what to do, while the consumer waits for it to be mended.
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
    """Raise an error of librdkafka as this package's, told apart by whether trying again helps."""
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
    """What librdkafka raises as this package's errors."""
    from confluent_kafka import KafkaException

    try:
        yield
    except KafkaException as error:
        _refuse(error.args[0], what)
