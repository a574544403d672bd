"""Builds dead letters: a record with the reason why it was rejected, or only its place if it cannot be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from monitor.messages.record import Record
from monitor.messages.text import printable

Rejection = tuple[Record, str, str]
"""``(record, reason, detail)``."""

OVERHEAD = 100
"""How many bytes Kafka adds to a record at most, besides ten for each header."""


class Letter(NamedTuple):
    """The dead letter of one record. A ``stub`` holds nothing of the record itself."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    stub: bool


def letter_of(rejection: Rejection, max_bytes: int) -> Letter:
    """Build the letter: the record with reason and place.

    A large value is cut. If key or headers do not fit, it is a stub.

    Args:
        rejection: the record, its reason and the detail.
        max_bytes: limit on key, value and headers together.
    """
    record, reason, detail = rejection
    headers = headers_of(record, reason, detail, cut=False)
    if not _can_be_sent(record, headers):
        return stub_of(rejection)
    room = max_bytes - len(record.key or b"") - _size(headers)
    value = record.value
    if value is not None and len(value) > room:
        headers = headers_of(record, reason, detail, cut=True)
        room = max_bytes - len(record.key or b"") - _size(headers)
        value = value[: max(0, room)]
    if room < 0:
        return stub_of(rejection)
    if record.key is None and value is None:
        value = b""  # Kafka's clients refuse a record without either
    return Letter(record.key, value, headers, stub=False)


def stub_of(rejection: Rejection) -> Letter:
    """Build a stub from the place and the reason. The place is also the key, so that a compacted topic accepts it."""
    record, reason, detail = rejection
    headers = [(k, v) for k, v in _added(record, reason, detail).items() if k != "dead-letter-error"]
    headers += [("dead-letter-stub", b"the record itself could not be sent: read it at its source")]
    return Letter(_place(record).encode("utf-8", "backslashreplace"), b"", headers, stub=True)


def headers_of(record: Record, reason: str, detail: str, *, cut: bool) -> list[tuple[str, bytes]]:
    """Return the record's own headers with the reason and the place added."""
    added = _added(record, reason, detail)
    if cut:
        added["dead-letter-cut"] = b"value of %d bytes was cut" % len(record.value or b"")
    return [*((k, v) for k, v in record.headers if k not in added), *added.items()]


def _added(record: Record, reason: str, detail: str) -> dict[str, bytes]:
    added = {
        "dead-letter-reason": reason,
        "dead-letter-error": printable(detail, 1000),
        "dead-letter-topic": record.topic,
        "dead-letter-partition": str(record.partition),
        "dead-letter-offset": str(record.offset),
        "dead-letter-timestamp": printable(str(record.timestamp_ms), 40),
    }
    return {name: text.encode("utf-8", "backslashreplace") for name, text in added.items()}


def _can_be_sent(record: Record, headers: Sequence[tuple[Any, Any]]) -> bool:
    """Whether Kafka's format can hold these headers."""
    try:
        fine = all(isinstance(v, bytes) and k.encode("utf-8") is not None for k, v in headers)
    except (AttributeError, UnicodeEncodeError):
        return False
    return fine and isinstance(record.key, bytes | None) and isinstance(record.value, bytes | None)


def _size(headers: Sequence[tuple[str, bytes]]) -> int:
    return OVERHEAD + sum(len(k.encode("utf-8")) + len(v) + 10 for k, v in headers)


def _place(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
