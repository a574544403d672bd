"""Digests of image files, remembered so that a second run does not read the files again."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from line_plugin.errors import ImageError


class FileDigests:
    """Content digests of files, stored by path, size and modification time, so that a second run reads none of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = folder / "files.sqlite"
        with closing(sqlite3.connect(self._db, timeout=60)) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS file (path TEXT PRIMARY KEY, size INT, mtime INT, digest BLOB)")

    def of(self, files: Sequence[Path]) -> list[bytes]:
        """Return the digest of each file's bytes, in order.

        Raises:
            ImageError: a file does not exist.
        """
        out: list[bytes] = []
        fresh: list[tuple[str, int, int, bytes]] = []
        with closing(sqlite3.connect(self._db, timeout=60)) as db:
            for path in files:
                try:
                    stat = path.stat()
                except OSError as error:
                    raise ImageError(f"image {path} does not exist, although the list names it") from error
                absolute = str(path.absolute())
                row = db.execute("SELECT size, mtime, digest FROM file WHERE path = ?", (absolute,)).fetchone()
                if row is None or row[:2] != (stat.st_size, stat.st_mtime_ns):
                    digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
                    fresh.append((absolute, stat.st_size, stat.st_mtime_ns, digest))
                else:
                    digest = row[2]
                out.append(digest)
            with db:
                db.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?)", fresh)
        return out
