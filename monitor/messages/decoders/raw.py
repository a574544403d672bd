"""The default: the value is the vector, everything else stands in the headers."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.messages.record import Payload
from monitor.messages.wanted import Wanted

CONTENT_TYPES = ("application/octet-stream", "application/x-float32")
FORMAT = "raw"


def decode(value: bytes, _headers: Mapping[str, bytes], _wanted: Wanted) -> list[Payload]:
    """One vector, not copied."""
    return [Payload(value)]
