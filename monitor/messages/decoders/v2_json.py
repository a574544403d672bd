"""Decodes JSON responses of the Open Inference Protocol V2 (KServe, Triton, Seldon, MLServer).

The embeddings are the output tensor that ``messages.output`` names, of shape ``[batch, D]`` or ``[D]``. Triton's
extension for binary data is read too: the header ``inference-header-content-length`` says how many bytes are JSON, and
after them come the tensors that have ``binary_data_size`` among their parameters, in the order of ``outputs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.errors import RecordError
from monitor.messages import documents, tensors
from monitor.messages.documents import Document
from monitor.messages.fields import check_model
from monitor.messages.record import Payload
from monitor.messages.wanted import Wanted

CONTENT_TYPES = ("application/vnd.inference.v2+json",)
FORMAT = "v2-json"
JSON_LENGTH = "inference-header-content-length"
"""The header with the length of the JSON in front of the binary data."""


def decode(value: bytes | Document, headers: Mapping[str, bytes], wanted: Wanted) -> list[Payload]:
    """Decode one payload per row of the tensor."""
    expected = "'outputs', as a response of the Open Inference Protocol V2 has"
    if isinstance(value, dict):
        return read_response(value, b"", wanted)
    length = _json_length(headers, len(value))
    return read_response(documents.load(value[:length], wanted.limits, expected), value[length:], wanted)


def read_response(response: Document, binary: bytes, wanted: Wanted) -> list[Payload]:
    """Read the rows of a parsed response and the binary data after it.

    Raises:
        RecordError: ``missing-output``, ``wrong-shape``, ``wrong-dtype``, ``undecodable``, ``out-of-range``, or one of
            the limits.
    """
    for name in ("id", "model_name"):
        if not isinstance(response.get(name, ""), str | None):
            raise RecordError("undecodable", f"{name} is {type(response[name]).__name__}, expected text")
    check_model(response, "model_name", wanted)
    outputs = response.get("outputs")
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise RecordError("undecodable", "JSON without 'outputs' as a list of tensors, as a V2 response has")
    chosen = tensors.find_output((output.get("name") for output in outputs), wanted)
    output = outputs[chosen]
    dtype, size = tensors.find_datatype(output.get("datatype"), wanted)
    rows, dim = tensors.read_shape(output.get("shape"), wanted)
    if "data" in output:
        flat = documents.pack_numbers(_flat(output["data"], rows, dim, wanted), f"output {wanted.output!r}")
        return tensors.split_rows(flat, "float32", rows, dim, response, wanted)
    raw = _binary(outputs, chosen, binary)
    flat, dtype = tensors.read_raw(raw, dtype, size, rows, dim, wanted)
    return tensors.split_rows(flat, dtype, rows, dim, response, wanted)


def _flat(data: Any, rows: int, dim: int, wanted: Wanted) -> list[Any]:
    """Return the elements of a tensor, whose data may be flat or a list of rows."""
    if not isinstance(data, list):
        raise RecordError(
            "undecodable", f"'data' of output {wanted.output!r} is {type(data).__name__}, expected a list"
        )
    nested = bool(data) and isinstance(data[0], list)
    if nested and (len(data) != rows or not all(isinstance(row, list) and len(row) == dim for row in data)):
        raise RecordError(
            "wrong-shape", f"'data' of output {wanted.output!r} is not {rows} lists of {dim}, as its shape says"
        )
    numbers = [number for row in data for number in row] if nested else list(data)
    tensors.check_count(len(numbers), rows, dim, wanted)
    return numbers


def _binary(outputs: list[Document], chosen: int, binary: bytes) -> bytes:
    """Return the bytes of one output in the binary data after the JSON."""
    at = 0
    for n, output in enumerate(outputs[: chosen + 1]):
        size = _binary_size(output)
        if n == chosen:
            if size is None:
                raise RecordError("undecodable", "the output has neither 'data' nor the parameter 'binary_data_size'")
            if at + size > len(binary):
                raise RecordError(
                    "undecodable", f"the output's binary data ends at byte {at + size}, {len(binary)} follow the JSON"
                )
            return binary[at : at + size]
        at += size or 0
    raise AssertionError("the chosen output is one of the outputs")


def _binary_size(output: Document) -> int | None:
    parameters = output.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or size < 0):
        raise RecordError("undecodable", f"binary_data_size is {str(size)[:40]!r}, expected a whole number of bytes")
    return size


def _json_length(headers: Mapping[str, bytes], size: int) -> int:
    given = headers.get(JSON_LENGTH)
    if given is None:
        return size
    if not (given.isdigit() and len(given) <= 9 and int(given) <= size):
        raise RecordError(
            "bad-header", f"header {JSON_LENGTH} is {given[:40]!r}, expected how many of the {size} bytes are JSON"
        )
    return int(given)
