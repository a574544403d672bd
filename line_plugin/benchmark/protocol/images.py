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


class _Images(Dataset[Tensor | str]):
    """Every image of every job in a row. A broken image comes back as its message: an exception that crosses a
    worker process arrives as a traceback."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.files = [f for job in jobs for f in job.files]
        self.which = [i for i, job in enumerate(jobs) for _ in job.files]
        self.transforms = [transform(job.preprocessing) for job in jobs]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor | str:
        path = self.files[index]
        found = decode(path, self.transforms[self.which[index]])
        if not isinstance(found, Unreadable):
            return found
        if found.missing:
            return f"image {path} is not there: the list names a file that the folder lacks"
        return f"image {path} cannot be decoded ({found.reason}): replace it or take it off the list"


@dataclass(frozen=True)
class Unreadable:
    """Says why an image could not be decoded."""

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

    Importing OpenOOD tells Pillow, for the whole process, to pad them silently.
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
    """Decode every image of every job once, in order.

    Args:
        jobs: what to decode.
        batch_size: images a batch, at most.
        num_workers: decoding processes; 0 decodes in this one.
        pin_memory: put batches into memory that CUDA copies from while it computes.

    Yields:
        ``(job index, images (B, 3, H, W) float32)``; a batch holds images of one job only, so a set's features do
        not depend on which other sets are evaluated beside it.

    Raises:
        ImageError: an image is missing or broken.
    """
    data = _Images(jobs)
    plan, owners, start = [], [], 0
    for i, job in enumerate(jobs):
        stop = start + len(job.files)
        for low in range(start, stop, batch_size):
            plan.append(list(range(low, min(low + batch_size, stop))))
            owners.append(i)
        start = stop
    loader = DataLoader(
        data,
        batch_sampler=plan,
        num_workers=min(num_workers, len(plan)),
        collate_fn=_collate,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # leaves torch's global random state alone
    )
    for owner, batch in zip(owners, loader, strict=True):
        if isinstance(batch, str):
            raise ImageError(batch)
        yield owner, batch
