"""Sends through kafka-python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.publishing.messages import Message
from monitor.publishing.producers import Answer, SendError

DEFAULTS = {
    "linger_ms": 20,
    "acks": "all",
    "bootstrap_timeout_ms": 5_000,  # then it is tried again, and the log says so
    "max_block_ms": 5_000,  # only the publisher's own thread ever waits
    "request_timeout_ms": 10_000,
    "delivery_timeout_ms": 2**31 - 1,  # the library repeats without duplicates, the publisher could not
    "reconnect_backoff_max_ms": 2_000,
    "allow_auto_create_topics": False,
}

OWN_FAULT = ("MessageSizeTooLargeError", "RecordListTooLargeError", "InvalidRecordError", "InvalidTimestampError")
PATIENT = (
    "TopicAuthorizationFailedError", "ClusterAuthorizationFailedError", "UnknownTopicOrPartitionError",
    "InvalidTopicError",
)  # fmt: skip


class KafkaPythonProducer:
    """A :class:`monitor.publishing.producers.Producer` on ``kafka.KafkaProducer``.

    Args:
        producer: the library's producer.
        own: whether to close it.
    """

    def __init__(self, producer: Any, *, own: bool) -> None:
        self._producer, self._own = producer, own

    @classmethod
    def opened(cls, bootstrap_servers: str, settings: Mapping[str, Any]) -> KafkaPythonProducer:
        """Connect, for at most ``bootstrap_timeout_ms``."""
        from kafka import KafkaProducer

        servers = [s.strip() for s in bootstrap_servers.split(",") if s.strip()]
        wanted = {**DEFAULTS, **settings}
        producer = KafkaProducer(bootstrap_servers=servers, **wanted)
        # kafka-python 3.0.12 takes this setting and does not hand it on: a topic that is missing would be created.
        producer._metadata.config["allow_auto_create_topics"] = wanted["allow_auto_create_topics"]
        return cls(producer, own=True)

    def partitions(self, topic: str) -> list[int]:
        """See :class:`monitor.publishing.producers.Producer`."""
        from kafka.errors import KafkaError, KafkaTimeoutError

        try:
            return sorted(self._producer.partitions_for(topic) or ())
        except KafkaTimeoutError:  # how this library says that it knows no such topic
            return []
        except KafkaError as error:
            raise _sorted_out(error) from error

    def send(self, topic: str, partition: int, message: Message, answer: Answer) -> None:
        """See :class:`monitor.publishing.producers.Producer`."""
        try:
            future = self._producer.send(
                topic,
                value=message.value,
                key=message.key,
                headers=message.headers,
                partition=partition,
                timestamp_ms=message.timestamp_ms,
            )
        except Exception as error:
            raise _sorted_out(error) from error
        future.add_callback(lambda _metadata: answer(message, None))
        # A batch that the broker finds too large poisons an idempotent producer of this library for good.
        future.add_errback(lambda error: answer(message, _sorted_out(error, answered=True)))

    def serve(self, seconds: float) -> str:
        """Do nothing: this library answers from a thread of its own."""
        return ""

    def close(self, seconds: float) -> None:
        """See :class:`monitor.publishing.producers.Producer`."""
        from kafka.errors import KafkaError

        if not self._own:
            return
        try:
            self._producer.close(timeout=seconds)
        except KafkaError:
            # It could not be flushed, and this library then leaves its thread running: that would send later what the
            # publisher has given up or sends again.
            sender = self._producer._sender
            sender.force_close()
            sender.join(seconds)
            self._producer.close(timeout=seconds)


def _sorted_out(error: BaseException, *, answered: bool = False) -> SendError:
    """Translate the library's error into what it means for the message."""
    from kafka.errors import KafkaError

    name = type(error).__name__
    text = f"{name}: {error}"
    if name in OWN_FAULT or isinstance(error, (AssertionError, TypeError, ValueError)):
        return SendError(text, own_fault=True, rebuild=answered)
    patient = name in PATIENT
    retriable = isinstance(error, KafkaError) and bool(getattr(error, "retriable", False))
    return SendError(text, rebuild=not retriable and not patient, patient=patient or retriable)
