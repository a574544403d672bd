"""The types of a Kafka record, the vectors in it, and the embeddings that are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

UNREADABLE = (("\0", b""),)
"""Stands for header names that are not UTF-8. A name with a zero byte counts as one, too."""


@dataclass(frozen=True, order=True)
class Partition:
    """One partition of one topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"

    def fields(self) -> dict[str, str | int]:
        """The fields of a log line about this partition."""
        return {"topic": self.topic, "partition": self.number}

    @classmethod
    def parse(cls, name: str) -> Partition:
        """Read a partition from ``topic/number``."""
        topic, number = name.rsplit("/", 1)
        return cls(topic, int(number))


class Record(NamedTuple):
    """One Kafka record, the same for all clients. Times are milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Embedding:
    """One vector to score.

    Attributes:
        id: the request id, shown to people in alerts.
        stream: the stream that it is counted under.
        time_ms: the event time.
        vector: D little-endian float32, as bytes.
    """

    id: str
    stream: str
    time_ms: int
    vector: bytes


@dataclass(frozen=True, slots=True)
class Payload:
    """A decoder's result for one vector. A field is ``None`` if the value does not hold it."""

    vector: bytes
    dtype: str | None = None
    dim: int | None = None
    id: str | None = None
    time: str | int | None = None
    model: str | None = None
    stream: str | None = None


def place(record: Record) -> str:
    """Name a record that has no id: ``topic:partition:offset``."""
    return f"{record.topic}:{record.partition}:{record.offset}"
