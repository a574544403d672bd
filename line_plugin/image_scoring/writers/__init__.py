"""The formats in which scores are written, one file each. Each row is written as soon as it is scored."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from line_plugin.errors import DataError, SettingsError
from line_plugin.files import open_whole
from line_plugin.image_scoring.rows import Layout

FORMATS = ("csv", "json", "jsonl", "parquet")
"""The formats by the suffix of the file."""
NESTED = ("json", "jsonl")
"""The formats that can hold an explanation of a row."""


class Writer(Protocol):
    """The interface of a format."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Write a record of the layout."""

    def end(self, summary: Mapping[str, Any]) -> None:
        """Called after the last record."""


def format_of(output: Path | None, given: str | None) -> str:
    """The given format, or the one of the output's suffix; ``table`` without both.

    Raises:
        SettingsError: the suffix of the output belongs to no format, or a table is to be written to a file.
    """
    named = output.suffix.lower().lstrip(".") if output is not None else ""
    chosen = given or (named if named in FORMATS else "table")
    if output is not None and chosen == "table":
        raise SettingsError(
            f"--output {output} given, which is not a format for a file: name it .csv, .json, .jsonl or .parquet, or "
            "give --format"
        )
    return chosen


def make_writer(name: str, file: IO[bytes], layout: Layout, about: Mapping[str, Any]) -> Writer:
    """A writer of one format.

    Args:
        name: one of :data:`FORMATS`.
        file: a binary file; UTF-8 or Parquet is written to it.
        layout: the columns.
        about: the artifact and the level, for formats that can store them.

    Raises:
        SettingsError: pyarrow, which Parquet needs, is not installed.
    """
    made: Writer = importlib.import_module(f"{__name__}.{name}_rows").make(file, layout, about)
    return made


@contextmanager
def open_output(path: Path) -> Iterator[IO[bytes]]:
    """Open the file to write to. It gets its name only when it is complete.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_whole(path) as file:
            yield file
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
