"""Checks the structure of an Arrow IPC stream before Arrow's own library is given a byte of it.

That library trusts lengths: it decompresses to whatever size a buffer claims, and reads at whatever offset it finds. So
this walks through the messages (https://arrow.apache.org/docs/format/Columnar.html), bounds the memory that they ask
for, and refuses data that the wire contract does not allow. These are compressed buffers, dictionaries, extension
types, and bytes in the other order. It reads only the few fields that it needs, each within its message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from monitor.errors import RecordError
from monitor.messages.limits import Limits

CONTINUES = 0xFFFFFFFF
SCHEMA, RECORD_BATCH = 1, 3
KINDS = {0: "no message", 2: "a dictionary", 4: "a tensor", 5: "a sparse tensor"}
COLUMNS = 64
"""How many columns a stream may have."""


def check(value: bytes, limits: Limits) -> None:
    """Refuse a stream that exceeds ``limits`` or that uses what the wire contract does not allow.

    Raises:
        RecordError: ``undecodable``, ``too-complex``, ``too-many-rows`` or ``too-large``.
    """
    batches = rows = 0
    try:
        for n, message in enumerate(_messages(value)):
            kind = message.number("B", 6)
            if kind != (RECORD_BATCH if n else SCHEMA):
                got = KINDS.get(kind, "a schema" if kind == SCHEMA else "a record batch")
                raise _undecodable(f"message {n} is {got}, expected a schema and then record batches")
            if kind == SCHEMA:
                _check_schema(message)
                continue
            batches += 1
            rows += _check_batch(message, limits)
            if batches > limits.arrow_batches:
                raise RecordError("too-complex", f"over {limits.arrow_batches} record batches in one Arrow stream")
            if rows > limits.rows:
                raise RecordError("too-many-rows", f"{rows} embeddings, expected at most {limits.rows}")
    except struct.error:
        raise _undecodable("not an Arrow IPC stream: a message points outside itself") from None


class _Table:
    """A FlatBuffers table within one message."""

    def __init__(self, data: bytes, at: int, body: int = 0) -> None:
        self.data, self.at, self.body = data, at, body
        self._fields = at - self.read("<i", at)

    def read(self, form: str, at: int) -> int:
        """Read one number within the message."""
        if at < 0:
            raise struct.error
        (found,) = struct.unpack_from(form, self.data, at)
        return int(found)

    def field(self, slot: int) -> int:
        """Find the position of a field of the table; 0 if it is absent."""
        if slot + 2 > self.read("<H", self._fields):
            return 0
        offset = self.read("<H", self._fields + slot)
        return self.at + offset if offset else 0

    def number(self, form: str, slot: int) -> int:
        """Read a number of the table; 0 if it is absent."""
        at = self.field(slot)
        return self.read(f"<{form}", at) if at else 0

    def table(self, slot: int) -> _Table | None:
        """Read a table that this one points to."""
        at = self.field(slot)
        return _Table(self.data, at + self.read("<I", at), self.body) if at else None

    def vector(self, slot: int) -> tuple[int, int]:
        """Find the begin of a vector's elements, and how many there are."""
        at = self.field(slot)
        if not at:
            return 0, 0
        at += self.read("<I", at)
        return at + 4, self.read("<I", at)

    def pairs(self, slot: int) -> Iterator[tuple[int, int]]:
        """Read a vector of pairs of 64-bit numbers."""
        at, count = self.vector(slot)
        if at + 16 * count > len(self.data):
            raise struct.error
        for n in range(count):
            yield self.read("<q", at + 16 * n), self.read("<q", at + 16 * n + 8)


def _messages(value: bytes) -> Iterator[_Table]:
    """Walk through the messages. Each comes with the length of its body, which is checked to lie within the value."""
    at, n = 0, 0
    while at < len(value):
        mark, size = struct.unpack_from("<Ii", value, at)
        if mark != CONTINUES:
            raise _undecodable("not an Arrow IPC stream: its first message has no continuation mark")
        if size == 0:
            break
        data = value[at + 8 : at + 8 + size] if size > 0 else b""
        if len(data) != size:
            raise _undecodable(f"not a whole Arrow IPC stream: message {n} ends early")
        root = struct.unpack_from("<I", data, 0)[0]
        message = _Table(data, root)
        message.body = message.number("q", 10)
        at += 8 + size + message.body
        if message.body < 0 or at > len(value):
            raise _undecodable(f"not a whole Arrow IPC stream: the body of message {n} ends early")
        n += 1
        yield message
    if not n:
        raise _undecodable("an Arrow IPC stream without a message")


def _check_schema(message: _Table) -> None:
    schema = message.table(8)
    if schema is None or message.body:
        raise _undecodable("the Arrow schema is empty, or has a body")
    if schema.number("h", 4):
        raise _undecodable("the Arrow stream is big-endian, expected little-endian")
    _, columns = schema.vector(6)
    if columns > COLUMNS:
        raise RecordError("too-complex", f"{columns} Arrow columns, expected at most {COLUMNS}")
    if b"ARROW:extension:name" in message.data:
        raise _undecodable("the Arrow schema has an extension type: send a plain fixed-size list")


def _check_batch(message: _Table, limits: Limits) -> int:
    """Check that the buffers of a record batch lie within its body, and return its rows."""
    batch = message.table(8)
    if batch is None:
        raise _undecodable("an Arrow record batch is empty")
    if batch.field(10):
        raise _undecodable(
            "the Arrow stream has compressed buffers: send it without, Kafka compresses whole batches of records"
        )
    rows = batch.number("q", 4)
    if not 0 <= rows <= limits.rows:
        raise RecordError("too-many-rows", f"{rows} embeddings, expected at most {limits.rows}")
    for length, nulls in batch.pairs(6):
        if not 0 <= length <= limits.decoded_bytes:
            raise RecordError("too-large", f"an Arrow column of {length} elements in one record")
        if not 0 <= nulls <= length:
            raise _undecodable(f"an Arrow column of {length} elements has {nulls} nulls")
    for offset, length in batch.pairs(8):
        if offset < 0 or length < 0 or offset + length > message.body:
            raise _undecodable(f"an Arrow buffer of {length} bytes at {offset} in a body of {message.body} bytes")
    return rows


def _undecodable(detail: str) -> RecordError:
    return RecordError("undecodable", detail)
