"""Writes files as a whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_whole(target: Path, blob: bytes) -> None:
    """Writes ``blob`` beside ``target`` and renames it, so that a reader never gets half a file."""
    with open_whole(target) as file:
        file.write(blob)


@contextmanager
def open_whole(target: Path) -> Iterator[IO[bytes]]:
    """Opens a binary file beside ``target`` that gets its name when the block ends.

    An error in the block removes it.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
