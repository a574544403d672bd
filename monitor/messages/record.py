"""One Kafka record, the vectors found in it, and the embeddings that are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

UNREADABLE = (("\0", b""),)
"""Stands for headers whose names are not UTF-8. A name with a zero in it is taken for such a one."""


@dataclass(frozen=True, order=True)
class Partition:
    """One partition of one topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"

    def fields(self) -> dict[str, str | int]:
        """What a log line about this partition has beside its text."""
        return {"topic": self.topic, "partition": self.number}

    @classmethod
    def parse(cls, name: str) -> Partition:
        """From ``topic/number``."""
        topic, number = name.rsplit("/", 1)
        return cls(topic, int(number))


class Record(NamedTuple):
    """One Kafka record, whatever client read it. Times are milliseconds since the epoch."""

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
        id: request id, for people who look at an alert.
        stream: what it is counted under.
        time_ms: event time.
        vector: D little-endian float32, as bytes.
    """

    id: str
    stream: str
    time_ms: int
    vector: bytes


@dataclass(frozen=True, slots=True)
class Payload:
    """What a decoder found for one vector; ``None`` if the headers say it and the value does not."""

    vector: bytes
    dtype: str | None = None
    dim: int | None = None
    id: str | None = None
    time: str | int | None = None
    model: str | None = None
    stream: str | None = None


def place(record: Record) -> str:
    """The name of a record that brings none: ``topic:partition:offset``."""
    return f"{record.topic}:{record.partition}:{record.offset}"
