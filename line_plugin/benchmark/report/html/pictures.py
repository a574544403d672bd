"""Makes the page's thumbnails: each image once, at most 96 pixels per side, as many as fit."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path

SIDE = 96
_LOSSLESS = 48  # an image with at most this many pixels per side keeps its size and becomes a PNG
LIMIT = 4_000_000  # the most characters of all thumbnails of a page


class Album:
    """Thumbnails by number, in the order in which they were added.

    Args:
        limit: the most characters of all thumbnails; images that do not fit are counted in :attr:`left_out`.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.pictures: list[str] = []
        self.left_out = 0
        self.unreadable = 0
        self._numbers: dict[Path, int | None] = {}
        self._room = limit

    def add(self, path: Path) -> int | None:
        """Adds an image and returns its thumbnail's number; None if it cannot be read or the page is full."""
        if path not in self._numbers:
            self._numbers[path] = self._embed(path)
        return self._numbers[path]

    def drop(self, characters: int) -> None:
        """Drops the last pictures, those of the methods that rank last, until this many characters are free."""
        freed = 0
        while self.pictures and freed < characters:
            freed += len(self.pictures.pop()) + len('"",')
            self.left_out += 1

    def has(self, number: int | None) -> bool:
        """Whether a thumbnail is still in the album."""
        return number is not None and number < len(self.pictures)

    def _embed(self, path: Path) -> int | None:
        found = thumbnail(path)
        if found is None:
            self.unreadable += 1
            return None
        if len(found) > self._room:
            self.left_out += 1
            return None
        self._room -= len(found)
        self.pictures.append(found)
        return len(self.pictures) - 1


def thumbnail(path: Path) -> str | None:
    """Makes a data URI of an image, at most 96 pixels per side, without metadata; None if it cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.draft("RGB", (2 * SIDE, 2 * SIDE))
                small = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    lossless = max(small.size) <= _LOSSLESS
    small.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    if lossless:
        small.save(out, format="PNG", optimize=True)
    else:
        small.save(out, format="JPEG", quality=82)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"
