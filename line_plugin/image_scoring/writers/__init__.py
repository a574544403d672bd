"""The formats that scores are written in, one file each. Each row is written as soon as it is there."""

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
"""The formats, as files are suffixed."""
NESTED = ("json", "jsonl")
"""The formats that can hold an explanation of a row."""


class Writer(Protocol):
    """The interface of a format."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Write a record of the layout."""

    def end(self, summary: Mapping[str, Any]) -> None:
        """Called after the last record."""


def format_of(output: Path | None, given: str | None) -> str:
    """The format that is given, or that the suffix of the output names; ``table`` if there is neither.

    Raises:
        SettingsError: an output whose suffix names no format, or a table that is to be a file.
    """
    named = output.suffix.lower().lstrip(".") if output is not None else ""
    chosen = given or (named if named in FORMATS else "table")
    if output is not None and chosen == "table":
        raise SettingsError(
            f"--output {output} given, which is no format for a file: name it .csv, .json, .jsonl or .parquet, or give "
            "--format"
        )
    return chosen


def make_writer(name: str, file: IO[bytes], layout: Layout, about: Mapping[str, Any]) -> Writer:
    """A writer of one format.

    Args:
        name: of :data:`FORMATS`.
        file: binary; what is written to it is UTF-8 or Parquet.
        layout: the columns.
        about: the artifact and the level, for formats that have a place for it.

    Raises:
        SettingsError: Parquet without pyarrow.
    """
    made: Writer = importlib.import_module(f"{__name__}.{name}_rows").make(file, layout, about)
    return made


@contextmanager
def open_output(path: Path) -> Iterator[IO[bytes]]:
    """Open the file to write to. It gets its name only when it is complete.

    Raises:
        DataError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_whole(path) as file:
            yield file
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
