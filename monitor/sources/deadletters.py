"""Dead letters: records that cannot be scored are sent to another topic with the reason.

Delivery is at least once; repeats have the same source offset. The producer is separate and not idempotent, because one
record that is too large makes an idempotent producer useless for good.

If a record cannot be sent as it is, a stub is sent with its topic, partition, offset and the reason, but without
anything that its sender chose. If Kafka refuses even that, the place is logged. So a bad record never holds up the
others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from monitor.errors import BrokerError, BrokerUnavailableError
from monitor.messages.text import printable
from monitor.sources.letters import Letter, Rejection, letter_of, stub_of
from monitor.sources.settings import BOOTSTRAP_MS

log = logging.getLogger(__name__)


class DeadLetters(Protocol):
    """Takes rejected records."""

    def send(self, rejected: Iterable[Rejection]) -> None:
        """Send rejections ``(record, reason, detail)``, and return when the broker has acknowledged them all."""

    def close(self) -> None:
        """Close the connection."""


@dataclass
class Sent:
    """How many letters were sent so far, how many of them as stubs, how many could not be sent, and failed attempts.

    A failed attempt loses nothing: its records are read and rejected again.
    """

    letters: int = 0
    stubs: int = 0
    unsent: int = 0
    failures: int = 0


class KafkaDeadLetters:
    """Sends dead letters to a topic through kafka-python.

    Args:
        settings: connection settings of kafka-python.
        topic: where to.
        max_bytes: size of one letter. Larger values are cut and marked.
        wait_ms: how long to wait for the topic, and for an answer.
    """

    def __init__(
        self, settings: dict[str, Any], topic: str, max_bytes: int = 900_000, *, wait_ms: int = 30_000
    ) -> None:
        self._settings, self._topic, self._max_bytes, self._wait_ms = settings, topic, max_bytes, wait_ms
        self._producer: Any = None
        self._reached = False
        self.sent = Sent()

    def check(self) -> None:
        """Look for the topic, which a broker may create on this occasion. Call it once, at the start.

        If Kafka cannot be reached, the topic is looked for again before the first letter is sent.

        Raises:
            BrokerError: the topic does not exist, or may not be written to.
        """
        try:
            self._guarded(self._connected)
        except BrokerUnavailableError as error:
            log.warning("%s; trying again when there is something to send", error)

    def send(self, rejected: Iterable[Rejection]) -> None:
        """Send, and wait for all acknowledgements.

        If the topic was there once and is missing or forbidden now, wait for it, so that the worker stays alive to say
        so.

        Raises:
            BrokerUnavailableError: trying again may help. BrokerError: it will not.
        """
        rejections = list(rejected)

        def deliver() -> None:
            letters = [letter_of(r, self._max_bytes) for r in rejections]
            refused = self._deliver(rejections, letters)
            self.sent.letters += len(letters) - len(refused)
            self.sent.stubs += sum(letters[n].stub for n in range(len(letters)) if n not in refused)
            again = [rejections[n] for n in sorted(refused)]
            if again:
                self._as_stubs(again, refused)

        try:
            self._guarded(deliver)
        except BrokerError:
            self.sent.failures += 1
            raise

    def _as_stubs(self, rejections: Sequence[Rejection], refused: dict[int, Exception]) -> None:
        """Send what Kafka has refused once more, as stubs."""
        log.warning(
            "topic %s: %d dead letters were refused (%s); only their place and reason are sent",
            self._topic, len(rejections), printable(str(next(iter(refused.values())))),
        )  # fmt: skip
        lost = self._deliver(rejections, [stub_of(r) for r in rejections])
        self.sent.letters += len(rejections) - len(lost)
        self.sent.stubs += len(rejections) - len(lost)
        self.sent.unsent += len(lost)
        for n, error in lost.items():
            record, reason, _ = rejections[n]
            log.error(
                "%s offset %s (%s): topic %s takes no dead letter for it (%s); read it at its source, and check the "
                "topic's max.message.bytes and cleanup.policy",
                printable(f"{record.topic}/{record.partition}"), record.offset, reason, self._topic,
                printable(str(error)),
                extra={
                    "topic": record.topic, "partition": record.partition, "offset": record.offset, "reason": reason,
                },
            )  # fmt: skip

    def _deliver(self, rejections: Sequence[Rejection], letters: Sequence[Letter]) -> dict[int, Exception]:
        """Send all letters and wait. Returns those that were refused for their content, and why."""
        from kafka import errors

        of_the_record = (
            errors.MessageSizeTooLargeError, errors.RecordListTooLargeError, errors.CorruptRecordError,
            errors.InvalidTimestampError, errors.InvalidRecordError,
        )  # fmt: skip
        producer, waiting, refused = self._connected(), {}, {}
        for n, letter in enumerate(letters):
            try:
                waiting[n] = producer.send(self._topic, value=letter.value, key=letter.key, headers=letter.headers)
            except (*of_the_record, TypeError, ValueError, AssertionError, OverflowError) as error:
                refused[n] = error
        producer.flush(timeout=self._wait_ms / 1000)
        for n, future in waiting.items():
            try:
                future.get(timeout=self._wait_ms / 1000)
            except of_the_record as error:
                refused[n] = error
        return refused

    def _guarded(self, act: Callable[[], object]) -> None:
        """Translate Kafka's errors into this package's: what they mean for the topic, and what to do."""
        from kafka import errors

        try:
            act()
        except (errors.TopicAuthorizationFailedError, errors.ClusterAuthorizationFailedError) as error:
            self._drop()
            raise self._kind()(
                f"dead letters may not be written to topic {self._topic!r} ({type(error).__name__}): allow this user "
                "Write and Describe on it, or set dead_letters.topic to a topic that it may write to"
            ) from error
        except errors.KafkaError as error:
            self._drop()
            kind = BrokerUnavailableError if error.retriable else BrokerError
            raise kind(f"dead letters cannot be sent to topic {self._topic!r}: {error}") from error

    def _connected(self) -> Any:
        if self._producer is None:
            from kafka import KafkaProducer, errors

            self._producer = KafkaProducer(
                **{"bootstrap_timeout_ms": BOOTSTRAP_MS, **self._settings},
                enable_idempotence=False, acks="all", linger_ms=5, retries=5,
                max_block_ms=min(10_000, self._wait_ms), max_request_size=self._max_bytes + 200_000,
            )  # fmt: skip
            try:
                self._producer.partitions_for(self._topic)
            except errors.KafkaTimeoutError as error:
                if not self._is_missing():
                    raise
                raise self._kind()(
                    f"the dead-letter topic {self._topic!r} does not exist and the broker does not create it: create "
                    f"it (kafka-topics.sh --create --topic {self._topic}), or set dead_letters.topic to one that exists"
                ) from error
            self._reached = True
        return self._producer

    def _kind(self) -> type[BrokerError]:
        return BrokerUnavailableError if self._reached else BrokerError

    def _is_missing(self) -> bool:
        """Whether Kafka answers that there is no such topic."""
        from kafka import KafkaConsumer, errors

        try:
            consumer = KafkaConsumer(**{"bootstrap_timeout_ms": BOOTSTRAP_MS, **self._settings})
        except errors.KafkaError:
            return False
        try:
            return self._topic not in consumer.topics()
        except errors.KafkaError:
            return False
        finally:
            consumer.close()

    def _drop(self) -> None:
        """Drop the producer after a failure; the next attempt opens a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=1)

    def close(self) -> None:
        """Close the producer."""
        if self._producer is not None:
            self._producer.close(timeout=5)
            self._producer = None
