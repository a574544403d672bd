"""Records that cannot be scored, sent on with their reason. Delivery is at least once; the source offset tells repeats.

The producer is one of its own and not idempotent: one record that is too large poisons an idempotent producer for good.

A record that cannot be sent on as it is goes as a stub: the place it came from and the reason, and nothing that its
sender chose. If Kafka refuses even that, the place is logged. So no record can hold up the others by its dead letter.
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
    """Where rejected records go."""

    def send(self, rejected: Iterable[Rejection]) -> None:
        """Send ``(record, reason, detail)`` and return when the broker has them all."""

    def close(self) -> None:
        """Give the connection back."""


@dataclass
class Sent:
    """How many letters were sent so far, how many of them as stubs, how many not even so, and how many attempts failed.

    A failed attempt loses no letter: its records are read again, and rejected again.
    """

    letters: int = 0
    stubs: int = 0
    unsent: int = 0
    failures: int = 0


class KafkaDeadLetters:
    """Dead letters to a topic, through kafka-python.

    Args:
        settings: connection settings of kafka-python.
        topic: where to.
        max_bytes: of one letter; larger values are cut and marked.
        wait_ms: how long the topic may take to be there, and an answer to come.
    """

    def __init__(
        self, settings: dict[str, Any], topic: str, max_bytes: int = 900_000, *, wait_ms: int = 30_000
    ) -> None:
        self._settings, self._topic, self._max_bytes, self._wait_ms = settings, topic, max_bytes, wait_ms
        self._producer: Any = None
        self._reached = False
        self.sent = Sent()

    def check(self) -> None:
        """Reach the topic, which a broker may create on this occasion. To be called once, at the start.

        If Kafka is away it is looked for again when the first letter is to be sent.

        Raises:
            BrokerError: it is not there, or may not be written to.
        """
        try:
            self._guarded(self._connected)
        except BrokerUnavailableError as error:
            log.warning("%s; trying again when there is something to send", error)

    def send(self, rejected: Iterable[Rejection]) -> None:
        """Send and wait for every acknowledgement.

        A topic that was reached once and is missing or forbidden later is waited for: the worker lives to tell.

        Raises:
            BrokerUnavailableError: trying again may help; BrokerError: it will not.
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
        """What Kafka refused as it was, once more without its content."""
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
        """Send all and wait; which of them were refused for what they are, and why."""
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
        """Kafka's errors as this package's; what they mean for the topic as a whole and what to do."""
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
        """Whether Kafka answers, and says that there is no such topic."""
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
        """A producer that failed is not trusted again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=1)

    def close(self) -> None:
        """Close the producer."""
        if self._producer is not None:
            self._producer.close(timeout=5)
            self._producer = None
