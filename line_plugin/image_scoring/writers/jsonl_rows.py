"""JSON lines: one object per image, with null for a missing value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from line_plugin.image_scoring.rows import Layout


class JsonLinesWriter:
    """Writes one object on each line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, record: Mapping[str, Any]) -> None:
        """See :class:`line_plugin.image_scoring.writers.Writer`."""
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")

    def end(self, summary: Mapping[str, Any]) -> None:
        """See :class:`line_plugin.image_scoring.writers.Writer`."""


def make(file: IO[bytes], layout: Layout, about: Mapping[str, Any]) -> JsonLinesWriter:
    """Makes the writer. Every line is an image, so ``about`` is not stored."""
    return JsonLinesWriter(file)
