"""The headers of a record as the contract reads them."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.errors import RecordError
from monitor.messages.names import header_name, text
from monitor.messages.record import Record

READ = frozenset({"content-type", "id", "time", "model", "dtype", "dim", "inference-header-content-length"})
"""The headers that the contract reads. Only their lengths are limited."""


def named(record: Record) -> dict[str, bytes]:
    """Return a record's headers by name. If a header comes twice, the last one counts."""
    return {header_name(k): v for k, v in record.headers if v is not None}


def unreadable(headers: Mapping[str, bytes]) -> bool:
    """Whether the name of a header is not UTF-8."""
    return any("\0" in name for name in headers)


def whole_number(headers: Mapping[str, bytes], name: str) -> int | None:
    """Read a header as a whole number; ``None`` if there is none of that name.

    Raises:
        RecordError: ``bad-header``.
    """
    value = text(headers, name)
    if value is None:
        return None
    digits = value.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise RecordError("bad-header", f"header {name} is {value[:40]!r}, expected a whole number")
    return int(digits)
