"""Sends through confluent-kafka (librdkafka)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from monitor.publishing.messages import Message
from monitor.publishing.producers import Answer, SendError

DEFAULTS = {
    "linger.ms": 20,
    "enable.idempotence": True,
    "message.timeout.ms": 0,  # never: the library repeats without duplicates, the publisher could not
    "socket.timeout.ms": 10_000,
    "reconnect.backoff.max.ms": 2_000,
    "allow.auto.create.topics": False,
    "log_level": 2,  # it would write to the serving process's stderr by itself; what matters comes as an error
}
METADATA_SECONDS = 60.0
"""For how many seconds the number of partitions is remembered."""


class ConfluentProducer:
    """A :class:`monitor.publishing.producers.Producer` on ``confluent_kafka.Producer``.

    Args:
        producer: the library's producer.
        own: whether to close it.
    """

    def __init__(self, producer: Any, *, own: bool) -> None:
        self._producer, self._own = producer, own
        self._known: tuple[str, float, list[int]] = ("", 0.0, [])
        self._complaint = ""

    @classmethod
    def opened(cls, bootstrap_servers: str, settings: Mapping[str, Any]) -> ConfluentProducer:
        """Make a producer. It connects in the background, so this returns at once."""
        from confluent_kafka import Producer

        given = {_dotted(name): value for name, value in settings.items()}
        made = cls(None, own=True)
        made._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, **DEFAULTS, **given, "error_cb": made._complain}
        )
        return made

    def _complain(self, error: Any) -> None:
        self._complaint = error.str()

    def partitions(self, topic: str) -> list[int]:
        """See :class:`monitor.publishing.producers.Producer`."""
        from confluent_kafka import KafkaException

        name, since, found = self._known
        if name == topic and found and time.monotonic() - since < METADATA_SECONDS:
            return found
        try:
            about = self._producer.list_topics(topic, timeout=5).topics[topic]
        except KafkaException as error:
            raise SendError(f"{error.args[0].str()}{self._why()}", patient=True) from error
        if about.error is not None and about.error.name() not in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"):
            raise SendError(about.error.str(), patient=True)
        self._known = (topic, time.monotonic(), sorted(about.partitions))
        return self._known[2]

    def _why(self) -> str:
        self.serve(0)
        return f" ({self._complaint})" if self._complaint else ""

    def send(self, topic: str, partition: int, message: Message, answer: Answer) -> None:
        """See :class:`monitor.publishing.producers.Producer`."""
        from confluent_kafka import KafkaException

        def answered(error: Any, _message: Any) -> None:
            answer(message, None if error is None else self._sorted_out(error))

        try:
            self._producer.produce(
                topic,
                value=message.value,
                key=message.key,
                headers=message.headers,
                partition=partition,
                timestamp=message.timestamp_ms,
                on_delivery=answered,
            )
        except BufferError as error:  # the library's own queue, which other users of the producer may have filled
            self._producer.poll(0.05)
            raise SendError(str(error), patient=True) from error
        except KafkaException as error:
            raise self._sorted_out(error.args[0]) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise SendError(f"{type(error).__name__}: {error}", own_fault=True) from error

    def serve(self, seconds: float) -> str:
        """See :class:`monitor.publishing.producers.Producer`."""
        self._producer.poll(seconds)
        complaint, self._complaint = self._complaint, ""
        return complaint

    def close(self, seconds: float) -> None:
        """See :class:`monitor.publishing.producers.Producer`."""
        if self._own:
            self._producer.purge()
            self._producer.flush(seconds)

    def _sorted_out(self, error: Any) -> SendError:
        """Translate the library's error into what it means for the message."""
        name = error.name()
        if name in ("_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PART"):
            self._known = ("", 0.0, [])
        if name in ("MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE", "INVALID_RECORD", "INVALID_TIMESTAMP", "_INVALID_ARG"):
            return SendError(error.str(), own_fault=True)
        unusable = error.fatal() or name in ("_FATAL", "_STATE")
        return SendError(error.str(), rebuild=unusable, patient=not unusable)


def _dotted(name: str) -> str:
    """Write the name of a setting as librdkafka does: ``linger.ms`` for ``linger_ms``."""
    return name if "." in name or name == "log_level" else name.replace("_", ".")
