"""Records that cannot be scored, sent on with their reason. Delivery is at least once; the source offset tells repeats.

The producer is one of its own and not idempotent: one record that is too large poisons an idempotent producer for good.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from monitor.errors import BrokerError, BrokerUnavailableError
from monitor.messages.record import Record


class DeadLetters(Protocol):
    """Where rejected records go."""

    def send(self, rejected: Iterable[tuple[Record, str, str]]) -> None:
        """Send ``(record, reason, detail)`` and return when the broker has them all."""

    def close(self) -> None:
        """Give the connection back."""


def headers_of(record: Record, reason: str, detail: str, *, cut: bool) -> list[tuple[str, bytes]]:
    """The record's own headers, and why and where it comes from."""
    added = {
        "dead-letter-reason": reason,
        "dead-letter-error": detail[:1000],
        "dead-letter-topic": record.topic,
        "dead-letter-partition": str(record.partition),
        "dead-letter-offset": str(record.offset),
        "dead-letter-timestamp": str(record.timestamp_ms),
        **({"dead-letter-cut": f"value of {len(record.value or b'')} bytes was cut"} if cut else {}),
    }
    own = [(k, v) for k, v in record.headers if k not in added]
    return [*own, *((k, v.encode()) for k, v in added.items())]


class KafkaDeadLetters:
    """Dead letters to a topic, through kafka-python.

    Args:
        settings: connection settings of kafka-python.
        topic: where to.
        max_bytes: larger values are cut and marked.
    """

    def __init__(self, settings: dict[str, Any], topic: str, max_bytes: int = 900_000) -> None:
        self._settings, self._topic, self._max_bytes = settings, topic, max_bytes
        self._producer: Any = None

    def send(self, rejected: Iterable[tuple[Record, str, str]]) -> None:
        """Send and wait for every acknowledgement.

        Raises:
            BrokerUnavailableError: trying again may help; BrokerError: it will not.
        """
        from kafka.errors import KafkaError

        try:
            producer = self._connected()
            sent = []
            for record, reason, detail in rejected:
                value, cut = self._capped(record.value)
                headers = headers_of(record, reason, detail, cut=cut)
                sent.append(producer.send(self._topic, value=value, key=record.key, headers=headers))
            producer.flush(timeout=30)
            for future in sent:
                future.get(timeout=30)
        except KafkaError as error:
            self._drop()
            kind = BrokerUnavailableError if error.retriable else BrokerError
            raise kind(f"dead letters cannot be sent to {self._topic}: {error}") from error

    def _capped(self, value: bytes | None) -> tuple[bytes | None, bool]:
        if value is None or len(value) <= self._max_bytes:
            return value, False
        return value[: self._max_bytes], True

    def _connected(self) -> Any:
        if self._producer is None:
            from kafka import KafkaProducer

            self._producer = KafkaProducer(
                **self._settings, enable_idempotence=False, acks="all", linger_ms=5, retries=5
            )
        return self._producer

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
