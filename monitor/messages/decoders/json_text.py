"""JSON: an object with ``embedding`` as a list of numbers, or ``embedding_base64`` as base64 of the raw bytes."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from monitor.errors import RecordError
from monitor.messages import json_limits
from monitor.messages.fields import payload
from monitor.messages.limits import Limits
from monitor.messages.record import Payload

CONTENT_TYPES = ("application/json", "application/cloudevents+json")
LARGEST = float(np.finfo(np.float32).max)


def decode(value: bytes, _headers: Mapping[str, bytes], limits: Limits) -> list[Payload]:
    """One vector. A CloudEvents envelope is read through its ``data``."""
    json_limits.check(value, limits)
    try:
        document = json.loads(value.decode("utf-8-sig"))
    except ValueError as error:
        raise RecordError("undecodable", f"not JSON in UTF-8: {error}") from None
    except RecursionError:
        raise RecordError("too-complex", "JSON nests too deep for its parser: lower messages.max_depth") from None
    if not isinstance(document, dict):
        raise RecordError("undecodable", f"JSON {type(document).__name__}, expected an object with 'embedding'")
    if isinstance(document.get("data"), dict):
        document = {**document, **document["data"]}
    return [payload(document, *_vector(document, limits))]


def _vector(document: Mapping[str, Any], limits: Limits) -> tuple[bytes, str | None]:
    if "embedding_base64" in document:
        return _from_base64(document["embedding_base64"], limits), None
    numbers = document.get("embedding")
    if not isinstance(numbers, list):
        raise RecordError("undecodable", "JSON without 'embedding' (a list) or 'embedding_base64'")
    strange = set(map(type, numbers)) - {int, float}
    if strange:
        names = ", ".join(sorted(kind.__name__ for kind in strange))
        raise RecordError("undecodable", f"'embedding' is not a list of numbers: it holds {names}")
    try:
        row = np.array(numbers, dtype=np.float64)
    except OverflowError:
        raise RecordError("out-of-range", "'embedding' holds a whole number beyond what a double holds") from None
    if ((np.abs(row) > LARGEST) & np.isfinite(row)).any():
        raise RecordError("out-of-range", "'embedding' holds a number beyond what float32 holds")
    return row.astype("<f4").tobytes(), "float32"


def _from_base64(text: Any, limits: Limits) -> bytes:
    if not isinstance(text, str):
        raise RecordError("undecodable", f"embedding_base64 is {type(text).__name__}, expected text")
    if len(text) > limits.decoded_bytes // 3 * 4 + 4:
        raise RecordError("too-large", f"base64 of {len(text)} characters, expected under {limits.decoded_bytes} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordError("undecodable", f"embedding_base64 is not base64: {error}") from None
