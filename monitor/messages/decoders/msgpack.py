"""MessagePack: a map with ``embedding`` as bytes, and ``id``, ``time``, ``model``, ``dtype``, ``dim`` beside it."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.errors import RecordError
from monitor.messages.decoders import need
from monitor.messages.fields import payload
from monitor.messages.record import Payload

CONTENT_TYPES = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")


def decode(value: bytes, _headers: Mapping[str, bytes]) -> list[Payload]:
    """One vector."""
    try:
        import msgpack
    except ImportError:
        raise need("msgpack", "msgpack") from None
    try:
        document = msgpack.unpackb(value, raw=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise RecordError("undecodable", f"no MessagePack: {error or type(error).__name__}") from None
    if not isinstance(document, dict) or not isinstance(document.get("embedding"), bytes):
        raise RecordError("undecodable", "MessagePack without a map that holds 'embedding' as bytes")
    return [payload(document, document["embedding"], None)]
