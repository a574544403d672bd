"""JSON: an object with ``embedding`` as a list of numbers, or ``embedding_base64`` as base64 of the raw bytes."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from monitor.errors import RecordError
from monitor.messages.fields import payload
from monitor.messages.record import Payload

CONTENT_TYPES = ("application/json", "application/cloudevents+json")


def decode(value: bytes, _headers: Mapping[str, bytes]) -> list[Payload]:
    """One vector. A CloudEvents envelope is read through its ``data``."""
    try:
        document = json.loads(value)
    except ValueError as error:
        raise RecordError("undecodable", f"no JSON: {error}") from None
    if not isinstance(document, dict):
        raise RecordError("undecodable", f"JSON {type(document).__name__}, expected an object with 'embedding'")
    if isinstance(document.get("data"), dict):
        document = {**document, **document["data"]}
    return [payload(document, *_vector(document))]


def _vector(document: Mapping[str, Any]) -> tuple[bytes, str | None]:
    if "embedding_base64" in document:
        try:
            return base64.b64decode(document["embedding_base64"], validate=True), None
        except (binascii.Error, TypeError, ValueError) as error:
            raise RecordError("undecodable", f"embedding_base64 is no base64: {error}") from None
    if not isinstance(document.get("embedding"), list):
        raise RecordError("undecodable", "JSON without 'embedding' (a list) or 'embedding_base64'")
    try:
        return np.asarray(document["embedding"], dtype="<f4").reshape(-1).tobytes(), "float32"
    except (TypeError, ValueError) as error:
        raise RecordError("undecodable", f"'embedding' is no list of numbers: {error}") from None
