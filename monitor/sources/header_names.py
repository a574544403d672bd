"""Makes kafka-python read records whose header names are not UTF-8.

Any sender can write such a name. kafka-python takes the record for a corrupt one and raises on each poll, so no worker
would ever pass it. Here such a record is read again with zeros in place of these names, and the contract rejects it.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def tolerate_any_header_name() -> None:
    """Change kafka-python so that it reads such records. Calling this again changes nothing."""
    from kafka.record.default_records import DefaultRecordBatch

    strictly = DefaultRecordBatch._read_msg

    def read(batch: Any) -> Any:
        at = batch._pos
        try:
            return strictly(batch)
        except UnicodeDecodeError:
            batch._pos = at
            batch._buffer = _without_names(batch._buffer, at)
            return strictly(batch)

    DefaultRecordBatch._read_msg = read


def _without_names(buffer: Any, at: int) -> bytearray:
    """Replace each header name of the record at ``at`` that is not UTF-8 by zeros."""
    from kafka.record.util import decode_varint

    changed = buffer if isinstance(buffer, bytearray) else bytearray(buffer)  # one copy a batch at most
    _, at = decode_varint(changed, at)  # length
    for _ in range(3):  # attributes, timestamp, offset
        _, at = decode_varint(changed, at)
    for _ in range(2):  # key, value
        length, at = decode_varint(changed, at)
        at += max(0, length)
    headers, at = decode_varint(changed, at)
    for _ in range(headers):
        length, at = decode_varint(changed, at)
        try:
            changed[at : at + length].decode("utf-8")
        except UnicodeDecodeError:
            changed[at : at + length] = bytes(length)
        at += length
        length, at = decode_varint(changed, at)
        at += max(0, length)
    return changed
