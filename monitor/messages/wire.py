"""Counts the outermost fields of a Protocol Buffers message before its library makes an object of each.

Two bytes of a message can become a hundred bytes of memory if they stand for an empty message within it.
"""

from __future__ import annotations

from monitor.errors import RecordError

FIXED = {1: 8, 5: 4}
"""The size in bytes of wire types with a fixed size."""


def check(value: bytes, most: int) -> None:
    """Refuse a message with more than ``most`` outermost fields.

    Raises:
        RecordError: ``too-complex``, or ``undecodable`` if the fields do not fill the value.
    """
    at, fields = 0, 0
    while at < len(value):
        tag, at = _number(value, at)
        kind = tag & 7
        if kind == 0:
            _, at = _number(value, at)
        elif kind == 2:
            length, at = _number(value, at)
            at += length
        elif kind in FIXED:
            at += FIXED[kind]
        else:
            raise RecordError("undecodable", f"not a Protocol Buffers message: wire type {kind} at byte {at}")
        fields += 1
        if fields > most:
            raise RecordError("too-complex", f"over {most} fields in one message, expected outputs of one response")
    if at != len(value):
        raise RecordError("undecodable", "not a whole Protocol Buffers message: its last field ends early")


def _number(value: bytes, at: int) -> tuple[int, int]:
    """Read a variable-length number. Returns it with the position after it."""
    number = 0
    for n in range(10):
        if at + n >= len(value):
            break
        byte = value[at + n]
        number |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            return number, at + n + 1
    raise RecordError("undecodable", f"not a Protocol Buffers message: no number at byte {at}")
