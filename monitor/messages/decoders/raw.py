"""The default: the value is the vector, everything else stands in the headers."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.messages.limits import Limits
from monitor.messages.record import Payload

CONTENT_TYPES = ("application/octet-stream", "application/x-float32")


def decode(value: bytes, _headers: Mapping[str, bytes], _limits: Limits) -> list[Payload]:
    """One vector, not copied."""
    return [Payload(value)]
