"""Reads OpenOOD's image lists and folders of images: which files, in which order, with which labels."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from line_plugin.benchmark.protocol.spec import Benchmark, ImageSet
from line_plugin.errors import DataError, MissingDataError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif"})
"""The file suffixes of images in a folder."""


@dataclass(frozen=True)
class ImageList:
    """The files of one data set in order, and their labels (N,) int64; -1 means OOD or unknown."""

    name: str
    files: tuple[Path, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.files)


def read(name: str, images: ImageSet, root: Path, num_classes: int | None) -> ImageList:
    """Read one set.

    Args:
        name: for messages.
        images: the set.
        root: the data root.
        num_classes: K for an ID set, whose labels must lie in [0, K); None for an OOD set, labelled -1 throughout.

    Raises:
        MissingDataError: the list, the folder or any of its images does not exist. Checking every name takes seconds;
            the same error in the middle of a run would cost hours. DataError: the list is malformed.
    """
    if images.folder is not None:
        return _folder(name, images, root / images.folder, num_classes)
    if images.list_file is None:  # ruled out by the benchmark's validation
        raise DataError(f"data set {name!r} names neither a list nor a folder")
    path = root / images.list_file
    base = root / images.images
    try:
        found = list(entries(path, base))
    except OSError as error:
        raise MissingDataError(_missing(name, path, images)) from error
    files, labels = [file for file, _ in found], [label for _, label in found]
    if not files:
        raise DataError(f"{path} is empty: data set {name!r} needs at least one image")
    lacking = absent(files)
    if len(lacking) == len(files):
        raise MissingDataError(_missing(name, files[0], images))
    if lacking:
        source = f"; get it from {images.source}" if images.source else ""
        raise MissingDataError(
            f"data set {name!r} is missing {len(lacking):,} of the {len(files):,} images in {path}: {lacking[0]} does "
            f"not exist or is empty{source}"
        )
    return _checked(name, path, files, np.array(labels, dtype=np.int64), num_classes)


def absent(files: Sequence[Path]) -> list[Path]:
    """Finds images that are missing, not a file, or empty.

    It takes a few microseconds for each, and does not read them.
    """
    return [file for file in files if not _has_bytes(file)]


def _has_bytes(file: Path) -> bool:
    try:
        found = file.stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def entries(path: Path, base: Path) -> Iterator[tuple[Path, int]]:
    """Yields the images and labels of a list line by line, with one line in memory.

    Args:
        path: the list, lines ``relative/path label``.
        base: folder that its paths start from.

    Raises:
        DataError: a line is malformed, or the text is not UTF-8. OSError: the list cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, text in enumerate(lines, 1):
                line = text.rstrip("\r\n")
                if not line.strip():
                    continue
                file, _, label = line.rpartition(" ")
                try:
                    known = int(label)
                except ValueError:
                    raise DataError(f"{path}, line {number}: {line!r} is not 'relative/path label'") from None
                if not file or file.startswith("/"):
                    raise DataError(f"{path}, line {number}: {line!r} needs a path below {base}")
                yield base / file, known
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a list of images: it is not UTF-8 text ({error.reason})") from error


@dataclass(frozen=True)
class Walked:
    """The content of a folder.

    Attributes:
        files: the images, sorted.
        links: links to folders. They are not followed, since one that leads back up would never end.
        closed: folders that cannot be read, with the reason.
    """

    files: tuple[Path, ...]
    links: tuple[Path, ...]
    closed: tuple[str, ...]


def walk(folder: Path) -> Walked:
    """Find every image below a folder, by its suffix."""
    files: list[Path] = []
    links: list[Path] = []
    closed: list[str] = []

    def refuse(error: OSError) -> None:
        closed.append(f"the folder {error.filename} cannot be read ({error.strerror or error})")

    for above, folders, names in os.walk(folder, onerror=refuse):
        here = Path(above)
        links += [here / n for n in folders if (here / n).is_symlink()]
        files += [p for n in names if (p := here / n).suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    return Walked(tuple(sorted(files)), tuple(sorted(links)), tuple(sorted(closed)))


def _folder(name: str, images: ImageSet, folder: Path, num_classes: int | None) -> ImageList:
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises if the folder above may not be entered
        raise MissingDataError(_missing(name, folder, images))
    walked = walk(folder)
    if walked.closed:
        raise DataError(f"data set {name!r} cannot be read as a whole: {walked.closed[0]}; give yourself the right to")
    files = list(walked.files)
    if not files:
        behind = f", and {walked.links[0]} is a link to a folder, which is not followed" if walked.links else ""
        raise DataError(f"{folder} holds no image{behind}: data set {name!r} needs at least one")
    if num_classes is None:
        return ImageList(name, tuple(files), np.full(len(files), -1, dtype=np.int64))
    classes = {c: i for i, c in enumerate(sorted({p.relative_to(folder).parts[0] for p in files}))}
    labels = np.array([classes[p.relative_to(folder).parts[0]] for p in files], dtype=np.int64)
    return _checked(name, folder, files, labels, num_classes)


def _checked(name: str, path: Path, files: list[Path], labels: NDArray[np.int64], num_classes: int | None) -> ImageList:
    if num_classes is None:
        labels = np.full_like(labels, -1)  # OpenOOD sets the same labels
    elif labels.max() >= num_classes or labels.max() < 0:
        raise DataError(
            f"{path} has label {labels.max()}, but {name!r} is an ID set of {num_classes} classes "
            f"(0 to {num_classes - 1}): check the list against num_classes"
        )
    return ImageList(name, tuple(files), labels)


def _missing(name: str, path: Path, images: ImageSet) -> str:
    return f"data set {name!r} is not at {path}" + (f"; get it from {images.source}" if images.source else "")


@dataclass(frozen=True)
class Sets:
    """The requested sets of a benchmark that exist. ``missing`` names those that were left out."""

    train: ImageList
    val: ImageList
    test: ImageList
    csid: dict[str, ImageList]
    ood_val: ImageList | None
    near: dict[str, ImageList]
    far: dict[str, ImageList]
    missing: tuple[str, ...] = ()


def read_all(benchmark: Benchmark, root: Path, *, csid: bool, ood_val: bool, skip_missing: bool) -> Sets:
    """Read the sets of a benchmark.

    Args:
        benchmark: what to read.
        root: the data root.
        csid: whether to read the covariate-shifted ID sets (FS-OOD).
        ood_val: whether to read the OOD validation set (for choosing hyper-parameters).
        skip_missing: leave missing test sets out instead of refusing; ID splits are always needed.

    Raises:
        MissingDataError: names every missing set and where to get it, not only the first. DataError: names every
            malformed list. Such a set exists, so it is not skipped.
    """
    k = benchmark.num_classes
    absent: list[str] = []
    broken: list[str] = []

    def get(name: str, images: ImageSet, classes: int | None) -> ImageList | None:
        try:
            return read(name, images, root, classes)
        except MissingDataError as error:
            absent.append(str(error))
        except DataError as error:
            broken.append(str(error))
        return None

    splits = {s: get(f"{benchmark.name} {s}", getattr(benchmark.id, s), k) for s in ("train", "val", "test")}
    train, val, test = splits["train"], splits["val"], splits["test"]
    validation = get("OOD val", benchmark.ood.val, None) if ood_val and benchmark.ood.val else None
    needed = list(absent)
    shifted = {n: s for n, i in benchmark.csid.items() if (s := get(n, i, k))} if csid else {}
    near = {n: s for n, i in benchmark.ood.near.items() if (s := get(n, i, None))}
    far = {n: s for n, i in benchmark.ood.far.items() if (s := get(n, i, None))}
    if broken:
        raise DataError("; ".join([*broken, *absent]))
    if train is None or val is None or test is None or needed or (absent and not skip_missing):
        hint = "" if needed else "; --skip-missing evaluates the rest"
        raise MissingDataError("; ".join(absent) + hint)
    if not near and not far:
        raise MissingDataError("no OOD set is there: " + "; ".join(absent))
    return Sets(train, val, test, shifted, validation, near, far, tuple(absent))


def read_splits(benchmark: Benchmark, root: Path, *names: str) -> list[ImageList]:
    """Read some of the ID splits ``train``, ``val`` and ``test``, in the given order.

    Raises:
        MissingDataError: names every missing split. DataError: a split is malformed.
    """
    found: list[ImageList] = []
    wrong: list[DataError] = []
    for name in names:
        try:
            found.append(read(f"{benchmark.name} {name}", getattr(benchmark.id, name), root, benchmark.num_classes))
        except DataError as error:
            wrong.append(error)
    if wrong:
        kind = MissingDataError if all(isinstance(error, MissingDataError) for error in wrong) else DataError
        raise kind("; ".join(map(str, wrong)))
    return found
