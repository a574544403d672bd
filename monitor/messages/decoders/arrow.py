"""Decodes uncompressed Arrow IPC streams, with many embeddings per record.

Column ``embedding`` is a fixed-size list of float32 or float16. Column ``id`` (text or whole numbers) and column
``time`` (RFC 3339 text, milliseconds since the epoch, or timestamps) are optional, as is one that names the stream of
each row; other flat columns are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.errors import RecordError
from monitor.messages import arrow_stream
from monitor.messages.decoders import need
from monitor.messages.record import Payload
from monitor.messages.wanted import Wanted

CONTENT_TYPES = ("application/vnd.apache.arrow.stream",)
FORMAT = "arrow"
_DTYPES = {"float": "float32", "halffloat": "float16"}
_READ = ("embedding", "id", "time")


def decode(value: bytes, _headers: Mapping[str, bytes], wanted: Wanted) -> list[Payload]:
    """Decode one payload per row. Each batch is validated as a whole before it is read."""
    try:
        import pyarrow as pa
    except ImportError:
        raise need("pyarrow", "pyarrow") from None
    arrow_stream.check(value, wanted.limits)
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(value))
        columns = _columns(schema, pa.types, wanted.stream_field)
        options = pa.ipc.IpcReadOptions(
            ensure_native_endian=False, use_threads=False, included_fields=sorted(columns.values())
        )
        found: list[Payload] = []
        with pa.ipc.open_stream(pa.py_buffer(value), options=options) as stream:
            for batch in stream:
                batch.validate(full=True)
                found += _rows(batch, columns, wanted.stream_field, pa)
    except (pa.ArrowException, OSError) as error:
        raise RecordError("undecodable", f"not an Arrow IPC stream: {error}") from None
    return found


def _columns(schema: Any, types: Any, stream: str) -> dict[str, int]:
    """Find the columns to read. Each must be there once with a known type; all other columns must be flat."""
    found: dict[str, int] = {}
    for n, column in enumerate(schema):
        if column.name in found:
            raise RecordError("undecodable", f"column {column.name!r} stands twice in the Arrow stream")
        if column.name in _READ or (stream and column.name == stream):
            found[column.name] = n
        elif types.is_nested(column.type) or types.is_dictionary(column.type):
            raise RecordError("undecodable", f"column {column.name[:40]!r} is {column.type}, expected a flat one")
    if "embedding" not in found:
        names = ", ".join(name[:40] for name in schema.names[:10])
        raise RecordError("undecodable", f"no column 'embedding' among {names or 'none'}")
    vector = schema.field(found["embedding"]).type
    if not types.is_fixed_size_list(vector) or str(vector.value_type) not in _DTYPES:
        raise RecordError(
            "undecodable", f"column 'embedding' is {vector}, expected a fixed-size list of float32 or float16"
        )
    known_kinds = {stream: types.is_integer} if stream else {}
    known_kinds |= {"id": types.is_integer, "time": lambda t: types.is_integer(t) or types.is_timestamp(t)}
    for name, known in known_kinds.items():
        kind = schema.field(found[name]).type if name in found else None
        if kind is not None and not (known(kind) or types.is_string(kind) or types.is_large_string(kind)):
            raise RecordError("undecodable", f"column {name!r} is {kind}, expected text or whole numbers")
    return found


def _rows(batch: Any, columns: Mapping[str, int], stream: str, pa: Any) -> list[Payload]:
    by_name = dict(zip(sorted(columns, key=columns.__getitem__), batch.columns, strict=True))
    vectors = by_name["embedding"]
    if vectors.null_count or vectors.flatten().null_count:
        raise RecordError("undecodable", "column 'embedding' holds nulls")
    dim, dtype = vectors.type.list_size, _DTYPES[str(vectors.type.value_type)]
    if not dim:
        raise RecordError("wrong-width", "column 'embedding' holds lists of no elements")
    flat = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    ids = _names(by_name.get("id"), len(batch))
    times = _times(by_name.get("time"), len(batch), pa)
    streams = _names(by_name.get(stream) if stream else None, len(batch))
    return [Payload(row.tobytes(), dtype, dim, ids[n], times[n], stream=streams[n]) for n, row in enumerate(flat)]


def _names(column: Any, rows: int) -> list[str | None]:
    if column is None:
        return [None] * rows
    return [None if v is None else str(v) for v in column.to_pylist()]


def _times(column: Any, rows: int, pa: Any) -> list[Any]:
    """Read times as milliseconds or text. Timestamps are converted here, because their time zone may be any text."""
    if column is None:
        return [None] * rows
    if not pa.types.is_timestamp(column.type):
        return list(column.to_pylist())
    unit = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[column.type.unit]
    return [None if v is None else v * unit // 10**6 for v in column.view(pa.int64()).to_pylist()]
