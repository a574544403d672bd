"""One JSON document: a description of the run, the images, and their counts at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from line_plugin.image_scoring.rows import Layout


class JsonWriter:
    """Writes the document from its beginning to its end, one image on each line."""

    def __init__(self, file: IO[bytes], about: Mapping[str, Any]) -> None:
        self._file, self._separator = file, ""
        self._write(f'{json.dumps(about, allow_nan=False)[:-1]}, "images": [')

    def write(self, record: Mapping[str, Any]) -> None:
        """See :class:`line_plugin.image_scoring.writers.Writer`."""
        self._write(f"{self._separator}\n{json.dumps(record, allow_nan=False)}")
        self._separator = ","

    def end(self, summary: Mapping[str, Any]) -> None:
        """See :class:`line_plugin.image_scoring.writers.Writer`."""
        self._write(f'\n], "summary": {json.dumps(summary, allow_nan=False)}}}\n')

    def _write(self, text: str) -> None:
        self._file.write(text.encode())


def make(file: IO[bytes], layout: Layout, about: Mapping[str, Any]) -> JsonWriter:
    """Makes the writer. ``about`` has at least one key."""
    return JsonWriter(file, about)
