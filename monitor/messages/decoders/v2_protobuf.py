"""Decodes ``ModelInferResponse``, the Protocol Buffers response of the Open Inference Protocol V2 (Triton, KServe).

Seldon Core 2 writes it to the topics of its pipelines. ``inference_v2.proto`` beside ``embedding.proto`` is the part of
the public definition that is read here. Everything else in a response is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from monitor.errors import RecordError
from monitor.messages import dtypes, tensors, wire
from monitor.messages.decoders import need
from monitor.messages.fields import check_model
from monitor.messages.record import Payload
from monitor.messages.wanted import Wanted

CONTENT_TYPES = ("application/vnd.inference.v2+protobuf",)
FORMAT = "v2-protobuf"
PACKAGE = "ood_monitor.v2"
PARTS = 1024
"""How many outputs, raw contents and parameters a response may have together."""


def decode(value: bytes, _headers: Mapping[str, bytes], wanted: Wanted) -> list[Payload]:
    """Decode one payload per row of the tensor."""
    kind = message_class()
    from google.protobuf.message import DecodeError

    wire.check(value, PARTS)
    message = kind()
    try:
        message.ParseFromString(value)
    except DecodeError as error:
        raise RecordError("undecodable", f"not a ModelInferResponse message: {error}") from None
    response = {
        "id": message.id,
        "model_name": message.model_name,
        "model_version": message.model_version,
        "parameters": {given.key: _parameter(given.value) for given in message.parameters},
    }
    check_model(response, "model_name", wanted)
    chosen = tensors.find_output((output.name for output in message.outputs), wanted)
    output = message.outputs[chosen]
    dtype, size = tensors.find_datatype(output.datatype, wanted)
    rows, dim = tensors.read_shape(output.shape, wanted)
    if message.raw_output_contents:
        flat, dtype = tensors.read_raw(_raw(message, chosen), dtype, size, rows, dim, wanted)
    else:
        flat, dtype = _contents(output, dtype, rows, dim, wanted), "float32"
    return tensors.split_rows(flat, dtype, rows, dim, response, wanted)


def _raw(message: Any, chosen: int) -> bytes:
    there = len(message.raw_output_contents)
    if there != len(message.outputs):
        raise RecordError(
            "undecodable", f"{there} raw_output_contents for {len(message.outputs)} outputs, expected one for each"
        )
    return bytes(message.raw_output_contents[chosen])


def _contents(output: Any, dtype: str, rows: int, dim: int, wanted: Wanted) -> bytes:
    """Return the typed contents. The protocol has none for half precision."""
    if dtype not in ("float32", "float64"):
        raise RecordError(
            "undecodable", f"output {wanted.output!r} is {dtype} without raw_output_contents, which alone can hold it"
        )
    numbers = output.contents.fp32_contents if dtype == "float32" else output.contents.fp64_contents
    tensors.check_count(len(numbers), rows, dim, wanted)
    row = np.fromiter(numbers, np.float64, len(numbers))
    return dtypes.narrow(row, f"output {wanted.output!r}")


def _parameter(given: Any) -> Any:
    chosen = given.WhichOneof("parameter_choice")
    return getattr(given, chosen) if chosen else None


MESSAGES: dict[str, list[tuple[int, str, str]]] = {
    "InferParameter": [(1, "bool_param", "BOOL"), (2, "int64_param", "INT64"), (3, "string_param", "STRING")],
    "InferTensorContents": [(6, "fp32_contents", "FLOAT*"), (7, "fp64_contents", "DOUBLE*")],
    "InferOutputTensor": [
        (1, "name", "STRING"),
        (2, "datatype", "STRING"),
        (3, "shape", "INT64*"),
        (5, "contents", "InferTensorContents"),
    ],
    "ParametersEntry": [(1, "key", "STRING"), (2, "value", "InferParameter")],
    "ModelInferResponse": [
        (1, "model_name", "STRING"),
        (2, "model_version", "STRING"),
        (3, "id", "STRING"),
        (4, "parameters", "ParametersEntry*"),
        (5, "outputs", "InferOutputTensor*"),
        (6, "raw_output_contents", "BYTES*"),
    ],
}
"""The fields of ``inference_v2.proto``: number, name and type, with a star after the type if it is repeated."""


@cache
def message_class() -> Any:
    """Build the message class of ``inference_v2.proto`` from :data:`MESSAGES`, without generated code."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        raise need("protobuf", "protobuf") from None
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="inference_v2.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, label, kind in fields:
            one = kind.removesuffix("*")
            added = message.field.add(name=label, number=number)
            added.label = field.LABEL_OPTIONAL if one == kind else field.LABEL_REPEATED
            if one in MESSAGES:
                added.type, added.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{one}"
            else:
                added.type = getattr(field, f"TYPE_{one}")
    parameter = file.message_type[0]
    parameter.oneof_decl.add(name="parameter_choice")
    for choice in parameter.field:
        choice.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.ModelInferResponse"))
