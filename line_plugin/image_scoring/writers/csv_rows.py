"""CSV with a header. A cell without a value is empty."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import IO, Any

from line_plugin.image_scoring.rows import Layout


class CsvWriter:
    """Writes RFC 4180 with ``\\n``, UTF-8; ``true`` and ``false`` as in JSON."""

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        self._file, self._names = file, [column.name for column in layout.columns]
        self._line(self._names)

    def write(self, record: Mapping[str, Any]) -> None:
        """See :class:`line_plugin.image_scoring.writers.Writer`."""
        self._line([_text(record[name]) for name in self._names])

    def end(self, summary: Mapping[str, Any]) -> None:
        """See :class:`line_plugin.image_scoring.writers.Writer`."""

    def _line(self, cells: list[str]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        self._file.write(text.getvalue().encode())


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def make(file: IO[bytes], layout: Layout, about: Mapping[str, Any]) -> CsvWriter:
    """Makes the writer. A CSV file cannot store ``about``."""
    return CsvWriter(file, layout)
