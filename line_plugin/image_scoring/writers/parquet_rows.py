"""Parquet through pyarrow, with 4,096 rows in each row group."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from line_plugin.errors import SettingsError
from line_plugin.image_scoring.rows import Layout

_ROWS = 4096


class ParquetWriter:
    """Writes rows in groups. Confidences are float32, as they were computed."""

    def __init__(self, file: IO[bytes], layout: Layout, about: Mapping[str, Any]) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise SettingsError(
                "Parquet needs pyarrow, which is not installed: pip install 'openood-line[parquet]', or take csv or "
                "jsonl"
            ) from error
        kinds = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "truth": pa.bool_()}
        self._pa, self._rows = pa, list[Mapping[str, Any]]()
        self._schema = pa.schema(
            [(c.name, pa.float32() if c.name == "confidence" else kinds[c.kind]) for c in layout.columns],
            metadata={"openood-line": json.dumps(about)},
        )
        self._writer = pq.ParquetWriter(file, self._schema)

    def write(self, record: Mapping[str, Any]) -> None:
        """See :class:`line_plugin.image_scoring.writers.Writer`."""
        self._rows.append(record)
        if len(self._rows) == _ROWS:
            self._flush()

    def end(self, summary: Mapping[str, Any]) -> None:
        """See :class:`line_plugin.image_scoring.writers.Writer`."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()


def make(file: IO[bytes], layout: Layout, about: Mapping[str, Any]) -> ParquetWriter:
    """Makes the writer. ``about`` is stored in the metadata of the schema."""
    return ParquetWriter(file, layout, about)
