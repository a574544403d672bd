"""Reads every image of a benchmark: checks that it decodes, takes its digest, and notes those that no list names."""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from PIL import Image

from line_plugin.benchmark.protocol.image_list import IMAGE_SUFFIXES
from line_plugin.benchmark.protocol.images import whole_images_only
from line_plugin.benchmark.protocol.inventory import SetState, files_of
from line_plugin.errors import DataError

_CHUNK = 32  # images of each task
Progress = Callable[[int, int | None], None]


def verify(states: Sequence[SetState], root: Path, workers: int, progress: Progress | None = None) -> None:
    """Decodes every image in threads (Pillow decodes outside Python's lock), and notes what is wrong.

    Only a few images for each thread are in memory, for any size of the set.

    Args:
        states: from :func:`.inventory.inspect`; problems, notes and ``pixels_sha256`` are added to them.
        root: the data root.
        workers: threads.
        progress: called with (images done, images in all).
    """
    total = sum(state.present for state in states)
    done = 0
    with whole_images_only(), ThreadPoolExecutor(workers) as pool:
        for state in states:
            done = _verify_one(state, root, pool, workers, lambda n: progress(n, total) if progress else None, done)
    _note_unlisted(states, root)


def _verify_one(
    state: SetState, root: Path, pool: ThreadPoolExecutor, workers: int, report: Callable[[int], None], done: int
) -> int:
    digest, broken, first, read = hashlib.sha256(), 0, "", 0
    try:
        for path, found in _in_order(pool, files_of(state, root), 4 * workers):
            if found is None:  # it does not exist; the inventory reports that
                continue
            content, reason = found
            digest.update(content)
            read += 1
            if reason:
                broken += 1
                first = first or f"{path} ({reason})"
            done += 1
            report(done)
    except (DataError, OSError):  # the list cannot be read; the inventory reports that
        return done
    if broken:
        more = "1 image cannot be decoded:" if broken == 1 else f"{broken:,} images cannot be decoded, the first is"
        state.problems.append(f"{more} {first}")
    if read and read == state.images:
        state.pixels_sha256 = digest.hexdigest()
    return done


_Read = tuple[bytes, str] | None


def _in_order(pool: ThreadPoolExecutor, files: Iterator[Path], window: int) -> Iterator[tuple[Path, _Read]]:
    """Yield the result for each file in order, with at most ``window`` tasks at once."""
    waiting: deque[tuple[list[Path], Future[list[_Read]]]] = deque()
    while True:
        while len(waiting) < window and (chunk := list(islice(files, _CHUNK))):
            waiting.append((chunk, pool.submit(_read_all, chunk)))
        if not waiting:
            return
        paths, future = waiting.popleft()
        yield from zip(paths, future.result(), strict=True)


def _read_all(paths: Iterable[Path]) -> list[_Read]:
    return [_read(path) for path in paths]


def _read(path: Path) -> _Read:
    """SHA-256 of a file's bytes, and the reason if it does not decode; None if the file is missing or empty."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return b"", error.strerror or str(error)
    if not content:
        return None
    return hashlib.sha256(content).digest(), _why_not(content)


def _why_not(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return str(error).partition(" <")[0] or type(error).__name__  # Pillow names the buffer in angle brackets
    return ""


def _note_unlisted(states: Sequence[SetState], root: Path) -> None:
    """Notes images in the folder of a list that no list of the benchmark names.

    Lists may leave images out on purpose, as OpenOOD's do. So this is worth a line, but not an error.
    """
    named: dict[str, set[str]] = {}
    owner: dict[str, SetState] = {}
    for state in states:
        if state.spec.folder is not None:
            continue
        try:
            for file in files_of(state, root):
                folder, name = os.path.split(os.path.normpath(file))
                named.setdefault(folder, set()).add(name)
                owner.setdefault(folder, state)
        except (DataError, OSError):
            continue
    extra: dict[str, list[str]] = {}
    for folder, names in named.items():
        extra.setdefault(owner[folder].name, []).extend(_unlisted(folder, names))
    for state in states:
        if found := extra.get(state.name):
            what = "1 further image lies" if len(found) == 1 else f"{len(found):,} further images lie"
            state.notes.append(f"{what} beside its images, and no list of the benchmark names it: {found[0]}")


def _unlisted(folder: str, names: set[str]) -> list[str]:
    try:
        with os.scandir(folder) as found:
            inside = [entry.name for entry in found if entry.is_file()]
    except OSError:
        return []
    return sorted(f"{folder}/{n}" for n in inside if n not in names and Path(n).suffix.lower() in IMAGE_SUFFIXES)
