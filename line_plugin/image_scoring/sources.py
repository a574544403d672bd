"""Finds the images to score, in a fixed order and one at a time, so that few are held in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

from line_plugin.benchmark.protocol import image_list
from line_plugin.errors import DataError, MissingDataError


@dataclass(frozen=True)
class Item:
    """One image to score.

    Attributes:
        path: of the file.
        label: from an image list; None if there is none.
        reason: why a folder cannot be searched (no permission to enter it); "" for an image.
    """

    path: Path
    label: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Source:
    """One folder, one list, or the images that were named singly. Batches never mix two sources.

    Attributes:
        kind: ``images``, ``folder`` or ``list``.
        paths: one folder or list, or the images.
        base: folder that the paths of a list start from.
    """

    kind: str
    paths: tuple[Path, ...]
    base: Path = Path()

    def items(self) -> Iterator[Item]:
        """Its images in order.

        Raises:
            DataError: a list cannot be read, or one of its lines is malformed.
        """
        if self.kind == "folder":
            yield from _walk(self.paths[0])
        elif self.kind == "list":
            try:
                yield from (Item(*entry) for entry in image_list.entries(self.paths[0], self.base))
            except OSError as error:
                raise DataError(f"cannot read the list {self.paths[0]}: {error.strerror or error}") from error
        else:
            yield from map(Item, self.paths)


def find_sources(inputs: Sequence[Path], base: Path | None = None) -> list[Source]:
    """Finds out what each input is: a folder, an image by its suffix, or a list of images.

    Args:
        inputs: the paths as they were named.
        base: folder that the paths of lists start from; by default the folder of each list.

    Raises:
        MissingDataError: an input does not exist.
    """
    found: list[Source] = []
    for kind, paths in groupby(inputs, _kind_of):
        if kind == "images":
            found.append(Source(kind, tuple(paths)))
        else:
            found += [Source(kind, (path,), base if base is not None else path.parent) for path in paths]
    return found


def _kind_of(path: Path) -> str:
    if path.is_dir():
        return "folder"
    if path.suffix.lower() in image_list.IMAGE_SUFFIXES:
        return "images"  # a missing image gets a row with the reason, as in a list
    if not path.exists():
        raise MissingDataError(f"{path} is not there: give an image, a folder of images, or a list 'path label' a line")
    return "list"


def _walk(folder: Path) -> Iterator[Item]:
    """The images below a folder, in the order of ``sorted(folder.rglob("*"))``; links to folders are not followed."""
    try:
        with os.scandir(folder) as found:
            inside = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    except OSError as error:
        yield Item(folder, reason=f"the folder cannot be read: {error.strerror or error}")
        return
    for name, is_folder in inside:
        path = folder / name
        if is_folder:
            yield from _walk(path)
        elif path.suffix.lower() in image_list.IMAGE_SUFFIXES and not path.is_dir():
            yield Item(path)


def batches(sources: Iterable[Source], size: int) -> Iterator[list[Item]]:
    """Yields items in batches of ``size``, never from two sources, so that scores do not depend on other sources."""
    for source in sources:
        items = source.items()
        while batch := list(islice(items, size)):
            yield batch
