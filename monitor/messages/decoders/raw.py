"""Decodes the default format: the value is the vector, and everything else is in the headers."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.messages.record import Payload
from monitor.messages.wanted import Wanted

CONTENT_TYPES = ("application/octet-stream", "application/x-float32")
FORMAT = "raw"


def decode(value: bytes, _headers: Mapping[str, bytes], _wanted: Wanted) -> list[Payload]:
    """Decode one vector without copying it."""
    return [Payload(value)]
