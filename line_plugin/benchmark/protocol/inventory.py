"""Compares a benchmark's data on disk with what was published.

A run ends at the first missing image. This checks everything first, and continues after each finding.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from line_plugin.benchmark.protocol import image_list
from line_plugin.benchmark.protocol.spec import Benchmark, ImageSet
from line_plugin.errors import DataError


@dataclass
class SetState:
    """One data set.

    Attributes:
        role: ``train``, ``val``, ``test``, ``csid``, ``ood val``, ``near`` or ``far``.
        needed: whether every run needs it; the others are for FS-OOD and for choosing hyper-parameters.
        place: its list, or its folder.
        images: how many images the list names or the folder holds; None if the list or folder does not exist.
        present: how many of them exist and are not empty.
        sha256: the SHA-256 of the list's bytes; empty for a folder.
        pixels_sha256: the SHA-256 over the SHA-256 of each image's bytes in order; empty unless all were read.
        problems: why a run would fail, in sentences without a subject.
        notes: differences from what was published, and oddities.
    """

    name: str
    role: str
    needed: bool
    place: Path
    spec: ImageSet
    images: int | None = None
    present: int = 0
    sha256: str = ""
    pixels_sha256: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def absent(self) -> bool:
        """Whether nothing of it exists: its list or folder is missing, or all of its images."""
        return self.present == 0


Progress = Callable[[int, int | None], None]


def inspect(
    benchmark: Benchmark, root: Path, *, csid: bool = False, ood_val: bool = False, progress: Progress | None = None
) -> list[SetState]:
    """Check every set of a benchmark, in the order of its file. Only the sizes of images are read.

    Args:
        root: the data root.
        csid, ood_val: whether the run needs the covariate-shifted ID sets (FS-OOD), the OOD validation set (a search).
        progress: called with the number of images that were checked.
    """
    needed = {"csid": csid, "ood val": ood_val}
    states = [
        SetState(name, role, needed.get(role, True), _place(spec, root), spec) for name, role, spec in _sets(benchmark)
    ]
    looker = _Looker(benchmark, root, progress)
    # The training set comes last, and its names are not remembered: it may have a million images.
    for state in sorted(states, key=lambda s: s.role == "train"):
        looker.look(state)
    return states


def files_of(state: SetState, root: Path) -> Iterator[Path]:
    """Yield the images of a set in order.

    Raises:
        DataError, OSError: the list or folder cannot be read.
    """
    if state.spec.folder is not None:
        yield from image_list.walk(state.place).files
    else:
        yield from (file for file, _ in image_list.entries(state.place, root / state.spec.images))


def _sets(benchmark: Benchmark) -> Iterator[tuple[str, str, ImageSet]]:
    for split in ("train", "val", "test"):
        yield split, split, getattr(benchmark.id, split)
    for name, images in benchmark.csid.items():
        yield name, "csid", images
    if benchmark.ood.val is not None:
        yield "ood val", "ood val", benchmark.ood.val
    for group, name, images in benchmark.ood_sets():
        yield name, group, images


def _place(images: ImageSet, root: Path) -> Path:
    return root / (images.folder if images.folder is not None else str(images.list_file))


class _Looker:
    """Checks one set after the other, and remembers which set named an image."""

    def __init__(self, benchmark: Benchmark, root: Path, progress: Progress | None) -> None:
        self._classes, self._root, self._progress = benchmark.num_classes, root, progress
        self._owner: dict[int, str] = {}  # stored as hashes, which take 100 bytes for each image instead of its path
        self._looked = 0

    def look(self, state: SetState) -> None:
        try:
            found = self._folder(state) if state.spec.folder is not None else self._list(state)
            self._count(state, found)
        except DataError as error:
            state.images = state.images or 0
            state.problems.append(f"cannot be used: {error}")
        except OSError as error:
            kind = "folder" if state.spec.folder is not None else "list"
            why = "" if isinstance(error, FileNotFoundError) else f" or cannot be read ({error.strerror or error})"
            state.problems.append(f"its {kind} is not at {state.place}{why}")
        published = state.spec.count
        if published is not None and state.images and state.images != published:
            state.notes.append(f"has {state.images:,} images, published with {published:,}")

    def _list(self, state: SetState) -> Iterator[tuple[Path, int]]:
        raw, unix = _digests(state.place)
        state.sha256, published = raw, state.spec.sha256
        if published is not None and raw != published:
            state.notes.append(
                "its list is the published one, with Windows line ends"
                if unix == published
                else f"its list is not the published one (SHA-256 {raw[:12]}, published {published[:12]})"
            )
        return image_list.entries(state.place, self._root / state.spec.images)

    def _folder(self, state: SetState) -> Iterable[tuple[Path, int]]:
        with os.scandir(state.place):  # raises if it does not exist or may not be read
            walked = image_list.walk(state.place)
        if walked.closed:
            state.problems.append(_count_first(len(walked.closed), "folder", "cannot be read", walked.closed[0]))
        if walked.links:
            state.notes.append(_count_first(len(walked.links), "link to a folder", "not followed", walked.links[0]))
        names = [file.relative_to(state.place).parts[0] for file in walked.files]
        classes = {name: index for index, name in enumerate(sorted(set(names)))}
        return [(file, classes[name]) for file, name in zip(walked.files, names, strict=True)]

    def _count(self, state: SetState, found: Iterable[tuple[Path, int]]) -> None:
        state.images = 0
        gone, twice, shared = _First(), _First(), dict[str, _First]()
        labels: set[int] = set()
        own: set[int] = set()
        for file, label in found:
            state.images += 1
            labels.add(label)
            if image_list.absent([file]):
                gone.add(file)
            else:
                state.present += 1
            key = hash(os.path.normpath(file))
            if key in own:
                twice.add(file)
            elif (owner := self._owner.get(key)) is not None:
                shared.setdefault(owner, _First()).add(file)
            own.add(key)
            self._looked += 1
            if self._progress and self._looked % 1000 == 0:
                self._progress(self._looked, None)
        if state.role != "train":
            self._owner.update(dict.fromkeys(own, state.name))
        self._judge(state, gone, labels)
        if twice.count:
            state.notes.append(_count_first(twice.count, "image", "named more than once", twice.first))
        for owner, first in shared.items():
            state.notes.append(_count_first(first.count, "image", f"also in {owner}", first.first))

    def _judge(self, state: SetState, gone: _First, labels: set[int]) -> None:
        if not state.images:
            state.problems.append("holds no image")
            return
        if gone.count:
            state.problems.append(
                f"is missing {gone.count:,} of its {state.images:,} images: {gone.first} does not exist or is empty"
            )
        if state.role not in ("train", "val", "test", "csid"):
            return
        highest = max(labels)
        if highest >= self._classes or highest < 0:
            state.problems.append(f"has label {highest}, expected 0 to {self._classes - 1}")
        elif state.role == "train" and (lacking := sorted(set(range(self._classes)) - labels)):
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            state.problems.append(f"has no image of class {lacking[0]}{more}, and LINe needs some of each class")


class _First:
    """Counts findings and remembers the first."""

    def __init__(self) -> None:
        self.count, self.first = 0, Path()

    def add(self, file: Path) -> None:
        if not self.count:
            self.first = file
        self.count += 1


def _count_first(count: int, what: str, how: str, first: object) -> str:
    """``2 images named more than once, the first is a.png``."""
    if count == 1:
        return f"1 {what} {how}: {first}"
    plural = what.replace("link", "links", 1) if what.startswith("link") else f"{what}s"
    return f"{count:,} {plural} {how}, the first is {first}"


def _digests(path: Path) -> tuple[str, str]:
    """SHA-256 of the bytes of a list, and of the same with Unix line ends."""
    raw, unix = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        for line in file:
            raw.update(line)
            unix.update(line.replace(b"\r\n", b"\n"))
    return raw.hexdigest(), unix.hexdigest()
