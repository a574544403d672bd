"""Decodes images as OpenOOD does: Pillow, torchvision's transforms, and batches that never mix two sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageFile, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from line_plugin.benchmark.protocol.spec import Preprocessing
from line_plugin.errors import ImageError


def transform(settings: Preprocessing) -> Callable[[Image.Image], Tensor]:
    """The transform of OpenOOD's ``TestStandardPreProcessor``, and of torchvision's weights: (3, H, W) float32."""
    from torchvision import transforms as tv

    steps: list[Callable[..., object]] = []
    if settings.resize:
        steps.append(tv.Resize(settings.resize, interpolation=tv.InterpolationMode(settings.interpolation)))
    if settings.crop:
        steps.append(tv.CenterCrop(settings.crop))
    steps += [tv.ToTensor(), tv.Normalize(list(settings.mean), list(settings.std))]
    composed: Callable[[Image.Image], Tensor] = tv.Compose(steps)
    return composed


@dataclass(frozen=True)
class Job:
    """The files of one set to decode, with their preprocessing."""

    files: tuple[Path, ...]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Batch:
    """Files that go through the network together.

    Attributes:
        owner: index of the job that they belong to. A batch holds images of one job only, so a set's features do not
            depend on the other sets of the run.
        files, preprocessing: of that job.
    """

    owner: int
    files: tuple[Path, ...]
    preprocessing: Preprocessing


def plan(jobs: Sequence[Job], batch_size: int) -> list[Batch]:
    """Plans batches that hold every image of every job once, in order, at most ``batch_size`` in each."""
    return [
        Batch(i, job.files[low : low + batch_size], job.preprocessing)
        for i, job in enumerate(jobs)
        for low in range(0, len(job.files), batch_size)
    ]


class _Images(Dataset[Tensor | str]):
    """All images of all batches in a row.

    A broken image gives its message as a result, since an exception from a worker process would arrive as a traceback.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.files = [f for batch in batches for f in batch.files]
        self.which = [batch.owner for batch in batches for _ in batch.files]
        first = {batch.owner: batch.preprocessing for batch in reversed(batches)}
        self.transforms = {owner: transform(preprocessing) for owner, preprocessing in first.items()}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor | str:
        path = self.files[index]
        found = decode(path, self.transforms[self.which[index]])
        if not isinstance(found, Unreadable):
            return found
        if found.missing:
            return f"image {path} does not exist, although the list names it"
        return f"image {path} cannot be decoded ({found.reason}): replace it or take it off the list"


@dataclass(frozen=True)
class Unreadable:
    """The reason why an image could not be decoded."""

    reason: str
    missing: bool = False


def decode(path: Path, prepare: Callable[[Image.Image], Tensor]) -> Tensor | Unreadable:
    """Decode one image as RGB and prepare it. If it is missing or broken, return the reason.

    Args:
        prepare: what :func:`transform` makes.
    """
    try:
        with whole_images_only(), Image.open(path) as image:
            return prepare(image.convert("RGB"))
    except FileNotFoundError:
        return Unreadable("there is no such file", missing=True)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return Unreadable(str(error))


@contextmanager
def whole_images_only() -> Iterator[None]:
    """Treat truncated images as errors within this context.

    Importing OpenOOD makes Pillow pad them silently in the whole process.
    """
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _collate(items: list[Tensor | str]) -> Tensor | str:
    for item in items:
        if isinstance(item, str):
            return item
    tensors = [t for t in items if isinstance(t, Tensor)]
    if len({t.shape for t in tensors}) > 1:
        return "the images of one set differ in size: give the set a `crop`"
    return torch.stack(tensors)


def batches(
    jobs: Sequence[Job], batch_size: int, num_workers: int, *, pin_memory: bool = False
) -> Iterator[tuple[int, Tensor]]:
    """Decode every image of every job once, in order: :func:`read` of their :func:`plan`."""
    return read(plan(jobs, batch_size), num_workers, pin_memory=pin_memory)


def read(batches: Sequence[Batch], num_workers: int, *, pin_memory: bool = False) -> Iterator[tuple[int, Tensor]]:
    """Decode batch after batch, in order.

    Args:
        batches: what to decode.
        num_workers: decoding processes; 0 decodes in this one.
        pin_memory: put batches into memory that CUDA copies from while it computes.

    Yields:
        ``(owner, images (B, 3, H, W) float32)``.

    Raises:
        ImageError: an image is missing or broken.
    """
    rows, start = [], 0
    for batch in batches:
        rows.append(list(range(start, start + len(batch.files))))
        start += len(batch.files)
    loader = DataLoader(
        _Images(batches),
        batch_sampler=rows,
        num_workers=min(num_workers, len(rows)),
        collate_fn=_collate,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # does not change torch's global random state
    )
    for batch, images in zip(batches, loader, strict=True):
        if isinstance(images, str):
            raise ImageError(images)
        yield batch.owner, images
