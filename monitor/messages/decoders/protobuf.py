"""Decodes the Protocol Buffers message of ``embedding.proto``, with the vector as one ``bytes`` field."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from monitor.errors import RecordError
from monitor.messages.decoders import need
from monitor.messages.fields import check_model, payload
from monitor.messages.record import Payload
from monitor.messages.wanted import Wanted

CONTENT_TYPES = ("application/protobuf", "application/x-protobuf")
FORMAT = "protobuf"
FIELDS = ("id", "time", "model", "dtype", "dim", "embedding")


def decode(value: bytes, _headers: Mapping[str, bytes], wanted: Wanted) -> list[Payload]:
    """Decode one vector. An empty field counts as absent, as in proto3."""
    kind = message_class()
    from google.protobuf.message import DecodeError

    message = kind()
    try:
        message.ParseFromString(value)
    except DecodeError as error:
        raise RecordError("undecodable", f"not an Embedding message: {error}") from None
    check_model({"model": message.model}, "model", wanted)
    if not message.embedding:
        raise RecordError("undecodable", "the message's field 'embedding' is empty")
    found = {name: getattr(message, name) for name in FIELDS if getattr(message, name)}
    return [payload(found, message.embedding, None, wanted)]


@cache
def message_class() -> Any:
    """Build the message class of ``embedding.proto`` from its description, so there is no generated code to keep."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        raise need("protobuf", "protobuf") from None
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {"dim": field.TYPE_UINT32, "embedding": field.TYPE_BYTES}
    file = descriptor_pb2.FileDescriptorProto(name="embedding.proto", package="ood_monitor", syntax="proto3")
    message = file.message_type.add(name="Embedding")
    for number, name in enumerate(FIELDS, start=1):
        kind = kinds.get(name, field.TYPE_STRING)
        message.field.add(name=name, number=number, type=kind, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ood_monitor.Embedding"))
