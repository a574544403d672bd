"""What is sent of a record that cannot be scored: the record with its reason, or its place alone if that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from monitor.messages.record import Record
from monitor.messages.text import printable

Rejection = tuple[Record, str, str]
"""``(record, reason, detail)``."""

OVERHEAD = 100
"""Bytes that Kafka adds to a record, and ten to each of its headers, at most."""


class Letter(NamedTuple):
    """What is sent for one rejected record; ``stub`` if nothing of the record itself is in it."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    stub: bool


def letter_of(rejection: Rejection, max_bytes: int) -> Letter:
    """The record with its reason and place; a value that is too large is cut. A stub if its key or headers do not fit.

    Args:
        rejection: the record, its reason and the detail.
        max_bytes: of key, value and headers together.
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
    """The place and the reason alone; the place is the key too, so that a compacted topic takes it."""
    record, reason, detail = rejection
    headers = [(k, v) for k, v in _added(record, reason, detail).items() if k != "dead-letter-error"]
    headers += [("dead-letter-stub", b"the record itself could not be sent: read it at its source")]
    return Letter(_place(record).encode("utf-8", "backslashreplace"), b"", headers, stub=True)


def headers_of(record: Record, reason: str, detail: str, *, cut: bool) -> list[tuple[str, bytes]]:
    """The record's own headers, and why and where it comes from."""
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
    """Whether Kafka has a way to write these down."""
    try:
        fine = all(isinstance(v, bytes) and k.encode("utf-8") is not None for k, v in headers)
    except (AttributeError, UnicodeEncodeError):
        return False
    return fine and isinstance(record.key, bytes | None) and isinstance(record.value, bytes | None)


def _size(headers: Sequence[tuple[str, bytes]]) -> int:
    return OVERHEAD + sum(len(k.encode("utf-8")) + len(v) + 10 for k, v in headers)


def _place(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
