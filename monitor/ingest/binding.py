"""Turns events into Kafka records, by the CloudEvents Kafka binding in binary mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.ingest.event import Event
from monitor.publishing.messages import Message, encode_key, encode_text

OVERHEAD = 200
"""About how much memory a message costs besides its bytes."""


@dataclass(frozen=True)
class KeyFrom:
    """The source of a record's key, which names its stream: the first of these that an event has.

    Attributes:
        attributes: CloudEvents attributes, such as ``inferenceservicename``.
        headers: HTTP headers in lower case.
    """

    attributes: Sequence[str] = ("partitionkey",)
    headers: Sequence[str] = ()

    def key(self, event: Event, headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
        """Return the key of an event with these headers; ``None`` if the monitor is to choose the stream."""
        for name in self.attributes:
            if event.attributes.get(name):
                return encode_key(event.attributes[name])
        for name in self.headers:
            for raw, value in headers:
                if value and raw.decode("latin-1").lower() == name:
                    return encode_key(value.decode("utf-8", "replace"))
        return None


def to_message(event: Event, key: bytes | None, now_ms: int) -> Message:
    """Make the record of an event.

    Args:
        event: a checked event.
        key: names the stream.
        now_ms: when it came, which becomes the record's timestamp.
    """
    headers = [
        ("content-type", encode_text(event.content_type)),
        *((f"ce_{name}", encode_text(value)) for name, value in event.attributes.items()),
        *((name, encode_text(value)) for name, value in event.beside.items()),
    ]
    beside = OVERHEAD + len(key or b"") + sum(len(name) + len(value) for name, value in headers)
    return Message(key, event.data, headers, now_ms, beside=beside)
