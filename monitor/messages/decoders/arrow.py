"""Arrow IPC stream: many embeddings a record.

Column ``embedding`` is a fixed-size list of float32 or float16; columns ``id`` and ``time`` are optional.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.errors import RecordError
from monitor.messages.decoders import need
from monitor.messages.record import Payload

CONTENT_TYPES = ("application/vnd.apache.arrow.stream",)
_DTYPES = {"float": "float32", "halffloat": "float16"}


def decode(value: bytes, _headers: Mapping[str, bytes]) -> list[Payload]:
    """One payload a row."""
    try:
        import pyarrow as pa
    except ImportError:
        raise need("pyarrow", "pyarrow") from None
    try:
        table = pa.ipc.open_stream(value).read_all()
    except (pa.ArrowException, OSError) as error:
        raise RecordError("undecodable", f"no Arrow IPC stream: {error}") from None
    if "embedding" not in table.column_names:
        raise RecordError("undecodable", f"no column 'embedding' among {', '.join(table.column_names) or 'none'}")
    column = table.column("embedding").combine_chunks()
    if not pa.types.is_fixed_size_list(column.type):
        raise RecordError("undecodable", f"column 'embedding' is {column.type}, expected a fixed-size list of floats")
    if column.null_count or column.flatten().null_count:
        raise RecordError("undecodable", "column 'embedding' holds nulls")
    ids, times = _texts(table, "id"), _texts(table, "time")
    dtype = _DTYPES.get(str(column.type.value_type), str(column.type.value_type))
    dim = column.type.list_size
    rows = _rows(column, dim)
    return [Payload(row, dtype, dim, ids[n], times[n]) for n, row in enumerate(rows)]


def _rows(column: Any, dim: int) -> list[bytes]:
    flat = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return [row.tobytes() for row in flat]


def _texts(table: Any, name: str) -> list[Any]:
    if name not in table.column_names:
        return [None] * table.num_rows
    return [None if v is None else v if isinstance(v, int) else str(v) for v in table.column(name).to_pylist()]
