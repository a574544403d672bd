"""Finds and checks the output tensor with the embeddings in a response of the Open Inference Protocol V2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from monitor.errors import RecordError
from monitor.messages import dtypes
from monitor.messages.fields import find_stream
from monitor.messages.record import Payload
from monitor.messages.wanted import Wanted

DATATYPES = {"FP32": ("float32", 4), "FP16": ("float16", 2), "BF16": ("bfloat16", 2), "FP64": ("float64", 8)}
"""The datatypes that an embedding may have, each with its dtype and bytes per element."""


def find_output(names: Iterable[Any], wanted: Wanted) -> int:
    """Find the output that ``messages.output`` names.

    Raises:
        RecordError: ``missing-output``, or ``undecodable`` if two outputs have this name.
    """
    given = list(names)
    found = [n for n, name in enumerate(given) if name == wanted.output]
    if not found:
        shown = ", ".join(repr(name)[:40] for name in given[:10]) or "none"
        raise RecordError("missing-output", f"output {wanted.output!r} (messages.output) is not among {shown}")
    if len(found) > 1:
        raise RecordError("undecodable", f"output {wanted.output!r} stands {len(found)} times in the response")
    return found[0]


def find_datatype(datatype: Any, wanted: Wanted) -> tuple[str, int]:
    """Return the dtype of an output and its bytes per element.

    Raises:
        RecordError: ``wrong-dtype``.
    """
    found = DATATYPES.get(datatype) if isinstance(datatype, str) else None
    if found is None:
        raise RecordError(
            "wrong-dtype",
            f"output {wanted.output!r} has datatype {str(datatype)[:40]!r}, expected one of {', '.join(DATATYPES)}",
        )
    return found


def read_shape(shape: Any, wanted: Wanted) -> tuple[int, int]:
    """Return the number of rows, and of elements per row, of an output of shape ``[batch, D]`` or ``[D]``.

    Raises:
        RecordError: ``wrong-shape``, ``too-many-rows`` or ``too-large``.
    """
    sizes = list(shape[:9]) if isinstance(shape, Sequence) and not isinstance(shape, str | bytes) else None
    if sizes is None or any(type(size) is not int for size in sizes) or len(sizes) not in (1, 2):
        raise _wrong_shape(shape, wanted)
    rows, dim = (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
    if rows < 0 or dim < 1:
        raise _wrong_shape(shape, wanted)
    if rows > wanted.limits.rows:
        raise RecordError("too-many-rows", f"{rows} embeddings, expected at most {wanted.limits.rows}")
    if 4 * rows * dim > wanted.limits.decoded_bytes:
        raise RecordError(
            "too-large", f"shape {_shown(sizes)} of float32, expected at most {wanted.limits.decoded_bytes} bytes"
        )
    return rows, dim


def check_count(elements: int, rows: int, dim: int, wanted: Wanted) -> None:
    """Refuse a tensor that does not have ``rows * dim`` elements.

    Raises:
        RecordError: ``wrong-shape``.
    """
    if elements != rows * dim:
        raise RecordError(
            "wrong-shape",
            f"output {wanted.output!r} has {elements} elements, expected {rows * dim} of shape [{rows}, {dim}]",
        )


def read_raw(raw: bytes, dtype: str, size: int, rows: int, dim: int, wanted: Wanted) -> tuple[bytes, str]:
    """Return the little-endian bytes of a whole tensor and their dtype. Doubles are rounded to float32.

    Raises:
        RecordError: ``wrong-shape`` or ``out-of-range``.
    """
    if len(raw) != size * rows * dim:
        raise RecordError(
            "wrong-shape",
            f"output {wanted.output!r} has {len(raw)} bytes, expected {size * rows * dim}: {dtype} of shape "
            f"[{rows}, {dim}]",
        )
    if dtype == "float64":
        return dtypes.narrow(np.frombuffer(raw, "<f8"), f"output {wanted.output!r}"), "float32"
    return raw, dtype


def split_rows(
    flat: bytes, dtype: str, rows: int, dim: int, response: Mapping[str, Any], wanted: Wanted
) -> list[Payload]:
    """Split a tensor into one payload per row. If there are several rows, their ids end in ``#`` and the row's number.

    Args:
        flat: ``rows * dim`` elements.
        dtype: dtype of the elements.
        rows, dim: the shape.
        response: ``id`` (text), ``model_name`` (text) and ``parameters`` are read.
        wanted: the settings of decoders.
    """
    model, name = response.get("model_name") or None, response.get("id") or None
    stream, width = find_stream(response, wanted), len(flat) // max(1, rows)
    return [
        Payload(
            flat[n * width : (n + 1) * width],
            dtype,
            dim,
            f"{name}#{n}" if name and rows > 1 else name,
            model=model,
            stream=stream,
        )
        for n in range(rows)
    ]


def _wrong_shape(shape: Any, wanted: Wanted) -> RecordError:
    return RecordError(
        "wrong-shape",
        f"output {wanted.output!r} has shape {_shown(shape)}, expected [batch, D] or [D] with D at least 1",
    )


def _shown(shape: Any) -> str:
    if not isinstance(shape, Sequence) or isinstance(shape, str | bytes):
        return type(shape).__name__
    return f"[{', '.join(str(size)[:40] for size in shape[:9])}{', ...' if len(shape) > 9 else ''}]"
