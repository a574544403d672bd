"""Parses JSON documents, and the lists of numbers in them, within the limits."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import numpy as np

from monitor.errors import RecordError
from monitor.messages import dtypes, json_limits
from monitor.messages.limits import Limits

Document = dict[str, Any]
"""A parsed JSON object."""


def load(value: bytes, limits: Limits, expected: str) -> Document:
    """Parse a JSON object.

    Args:
        value: UTF-8. A byte order mark is skipped.
        limits: how deep it may nest, and how long its numbers may be.
        expected: what the object should hold, for the error message.

    Raises:
        RecordError: ``undecodable`` or ``too-complex``.
    """
    json_limits.check(value, limits)
    try:
        document = json.loads(value.decode("utf-8-sig"))
    except ValueError as error:
        raise RecordError("undecodable", f"not JSON in UTF-8: {error}") from None
    except RecursionError:
        raise RecordError("too-complex", "JSON nests too deep for its parser: lower messages.max_depth") from None
    if not isinstance(document, dict):
        raise RecordError("undecodable", f"JSON {type(document).__name__}, expected an object with {expected}")
    return document


def pack_numbers(numbers: list[Any], name: str) -> bytes:
    """Convert a list of numbers to little-endian float32.

    Raises:
        RecordError: ``undecodable`` if an element is not a number, ``out-of-range`` if one does not fit float32.
    """
    strange = set(map(type, numbers)) - {int, float}
    if strange:
        names = ", ".join(sorted(kind.__name__ for kind in strange))
        raise RecordError("undecodable", f"{name} is not a list of numbers: it holds {names}")
    try:
        row = np.array(numbers, dtype=np.float64)
    except OverflowError:
        raise RecordError("out-of-range", f"{name} holds a whole number beyond what a double holds") from None
    return dtypes.narrow(row, name)


def unpack_base64(text: Any, name: str, limits: Limits) -> bytes:
    """Decode the base64 content of a field.

    Raises:
        RecordError: ``undecodable`` or ``too-large``.
    """
    if not isinstance(text, str):
        raise RecordError("undecodable", f"{name} is {type(text).__name__}, expected text")
    if len(text) > limits.decoded_bytes // 3 * 4 + 4:
        raise RecordError("too-large", f"base64 of {len(text)} characters, expected under {limits.decoded_bytes} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordError("undecodable", f"{name} is not base64: {error}") from None
