"""Decodes MessagePack maps with ``embedding`` as bytes, and ``id``, ``time``, ``model``, ``dtype``, ``dim`` beside it.

Only these six become objects, and the field that names the stream if the settings name one. Everything else in the map
is skipped, so that one byte of a record cannot become a hundred bytes of memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.errors import RecordError
from monitor.messages.decoders import need
from monitor.messages.fields import FIELDS, check_model, payload
from monitor.messages.record import Payload
from monitor.messages.wanted import Wanted

CONTENT_TYPES = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
FORMAT = "msgpack"


def decode(value: bytes, _headers: Mapping[str, bytes], wanted: Wanted) -> list[Payload]:
    """Decode one vector."""
    try:
        import msgpack
    except ImportError:
        raise need("msgpack", "msgpack") from None
    try:
        document = _document(value, msgpack.Unpacker(raw=False, max_buffer_size=len(value)), wanted)
    except (ValueError, msgpack.UnpackException) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError("undecodable", f"not MessagePack: {str(error) or type(error).__name__}") from None
    check_model(document, "model", wanted)
    if not isinstance(document.get("embedding"), bytes):
        raise RecordError("undecodable", "MessagePack without a map that holds 'embedding' as bytes")
    return [payload(document, document["embedding"], None, wanted)]


def _document(value: bytes, unpacker: Any, wanted: Wanted) -> dict[str, Any]:
    """Read the known fields of the map."""
    first = value[0]
    if not (0x80 <= first <= 0x8F or first in (0xDE, 0xDF)):
        raise RecordError("undecodable", "MessagePack without a map that holds 'embedding' as bytes")
    unpacker.feed(value)
    read = {*FIELDS, "embedding", wanted.stream_field or "embedding"}
    document: dict[str, Any] = {}
    for _ in range(unpacker.read_map_header()):
        key = unpacker.unpack() if _is_text(value, unpacker.tell()) else unpacker.skip()
        if key not in read:
            unpacker.skip()
        elif _is_container(value, unpacker.tell()):
            raise RecordError(
                "undecodable", f"{key} is a list, a map or an extension, expected bytes, text or a number"
            )
        else:
            document[key] = unpacker.unpack()
    if unpacker.tell() != len(value):
        raise RecordError("undecodable", f"{len(value) - unpacker.tell()} bytes follow the MessagePack map")
    return document


def _is_text(value: bytes, at: int) -> bool:
    return at < len(value) and (0xA0 <= value[at] <= 0xBF or 0xD9 <= value[at] <= 0xDB)


def _is_container(value: bytes, at: int) -> bool:
    if at >= len(value):
        return False
    kind = value[at]
    return 0x80 <= kind <= 0x9F or 0xC7 <= kind <= 0xC9 or 0xD4 <= kind <= 0xD8 or 0xDC <= kind <= 0xDF
