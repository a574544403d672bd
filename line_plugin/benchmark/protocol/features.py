"""Penultimate features of whole data sets: computed in one pass over the images, and cached on disk.

The cache key covers the network (weights, structure, code), the head, the preprocessing, the kind of device, the memory
format and the bytes of all images in order. If any of these changes, the key does, so old features are never used
by mistake.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from line_plugin.benchmark.methods.base import FeatureSet
from line_plugin.benchmark.protocol import images
from line_plugin.benchmark.protocol.digests import FileDigests
from line_plugin.benchmark.protocol.image_list import ImageList
from line_plugin.benchmark.protocol.image_passes import ForwardImages
from line_plugin.benchmark.protocol.passes import InProcess, Passes
from line_plugin.benchmark.protocol.spec import Preprocessing
from line_plugin.errors import DataError
from line_plugin.networks.fingerprint import fingerprint
from line_plugin.networks.head import Head, find_head

Progress = Callable[[int, int | None], None]
"""Called with (images done, images in all); the second is None if unknown."""


@dataclass(frozen=True)
class Request:
    """A request for the features of one data set."""

    images: ImageList
    preprocessing: Preprocessing


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/openood-line``, or ``~/.cache/openood-line``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openood-line"


def default_batch_size(device: torch.device) -> int:
    """OpenOOD's 200 on an accelerator, 32 on a CPU.

    glibc gives tensors over 32 MB back to the kernel after every layer, which then has to clear their pages again: at
    200 images of 32 x 32, half of the time of a DenseNet's forward pass.
    """
    return 32 if device.type == "cpu" else 200


class FeatureCache:
    """Features of one network over any number of data sets.

    Args:
        model: the classifier; put in eval mode and moved to ``device``.
        head: module path of its ``Linear``; without it, the network is traced to find it.
        folder: the folder in which features are kept.
        batch_size: images in a forward pass; by default :func:`default_batch_size`.
        num_workers: decoding processes.
        passes: runs the passes of the network; by default in this process.
    """

    def __init__(
        self,
        model: nn.Module,
        folder: Path,
        *,
        device: torch.device,
        head: str | None = None,
        batch_size: int | None = None,
        num_workers: int = 2,
        passes: Passes | None = None,
    ) -> None:
        self.model = model.to(device).eval()
        self.folder = folder
        self.device = device
        self.batch_size = batch_size or default_batch_size(device)
        self.num_workers = num_workers
        self.passes: Passes = passes or InProcess()
        self.model_sha256 = fingerprint(model)
        self._head_path = head
        self._head: Head | None = None
        self._digests = FileDigests(folder)
        self.forwarded = 0  # images decoded; a test checks that each is decoded once

    @property
    def head(self) -> Head:
        """The head. It is known after the first set was requested."""
        if self._head is None:
            raise DataError("no data set was read yet, so the head is not known")
        return self._head

    def get(self, requests: Sequence[Request], progress: Progress | None = None) -> list[FeatureSet]:
        """Returns the features of every requested set. Those that are not in the cache are computed in one pass."""
        if not requests:
            return []
        self.find_head(requests[0])
        keys = [self._key(r) for r in requests]
        wanted = {k: r for k, r in zip(keys, requests, strict=True) if not self._path(k).is_dir()}
        if wanted:
            self._forward(list(wanted), list(wanted.values()), progress)
        return [self._load(k, r) for k, r in zip(keys, requests, strict=True)]

    def missing(self, requests: Sequence[Request]) -> int:
        """How many images are not in the cache."""
        return sum(len(r.images) for r in requests if not self._path(self._key(r)).is_dir())

    def find_head(self, request: Request) -> Head:
        """Finds the head, by tracing the first image of a set if it is not known yet."""
        if self._head is None:
            first = images.Job(request.images.files[:1], request.preprocessing)
            _, batch = next(images.batches([first], 1, 0))
            self._head = find_head(self.model, batch.to(self.device), self._head_path)
        return self._head

    def _key(self, request: Request) -> str:
        about = {
            "model": self.model_sha256,
            "head": self.head.path,
            "preprocessing": request.preprocessing.model_dump(),
            "device": self.device.type,
            "layout": str(self.head.layout),
        }
        digest = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=20)
        for file in self._digests.of(request.images.files):
            digest.update(file)
        return digest.hexdigest()

    def _path(self, key: str) -> Path:
        return self.folder / "features" / key

    def _load(self, key: str, request: Request) -> FeatureSet:
        folder = self._path(key)
        try:
            features = np.load(folder / "features.npy", mmap_mode="c")
            predicted = np.load(folder / "predicted.npy")
        except (OSError, ValueError) as error:
            raise DataError(
                f"cached features {folder} are broken ({error}): delete that folder and run again"
            ) from error
        return FeatureSet(request.images.name, torch.from_numpy(features), predicted, request.images.labels, key)

    def _forward(self, keys: list[str], requests: list[Request], progress: Progress | None) -> None:
        """Fill the cache.

        A set appears under its key only when it is complete, so an interruption leaves nothing behind.
        """
        total, done = sum(len(r.images) for r in requests), 0
        (self.folder / "features").mkdir(parents=True, exist_ok=True)
        self._refuse_full_disk(total)
        plan = images.plan([images.Job(r.images.files, r.preprocessing) for r in requests], self.batch_size)
        work = ForwardImages(self.model, self.head, self.device, self.num_workers)
        writer: _Writer | None = None
        try:
            for found in self.passes.run(work, plan):
                owner = found.owner
                if writer is None:
                    writer = _Writer(self._path(keys[owner]), len(requests[owner].images), self.head.linear.in_features)
                writer.add(found.features, found.predicted)
                done += len(found.predicted)
                self.forwarded += len(found.predicted)
                if writer.full:
                    writer.commit(self._about(requests[owner]))
                    writer = None
                if progress:
                    progress(done, total)
        except BaseException:
            if writer:
                writer.discard()
            raise

    def _refuse_full_disk(self, rows: int) -> None:
        """Refuse to start if the disk is too full: writing to a memory-mapped file would then kill the process."""
        wanted = rows * (self.head.linear.in_features * 4 + 8)
        free = shutil.disk_usage(self.folder).free
        if wanted > free:
            raise DataError(
                f"the features of {rows:,} images take {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in "
                f"{self.folder}: make room there, or name another folder with --cache-dir"
            )

    def _about(self, request: Request) -> dict[str, Any]:
        return {
            "set": request.images.name,
            "images": len(request.images),
            "model_sha256": self.model_sha256,
            "head": self.head.path,
            "torch": torch.__version__,
        }


class _Writer:
    """Writes the rows of one set into a temporary folder, which is renamed when it is complete."""

    def __init__(self, target: Path, rows: int, width: int) -> None:
        self._target = target
        self._folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
        try:
            self._features = np.lib.format.open_memmap(
                self._folder / "features.npy", mode="w+", dtype=np.float32, shape=(rows, width)
            )
        except BaseException:  # no other process knows the folder yet
            self.discard()
            raise
        self._predicted = np.empty(rows, dtype=np.int64)
        self._at = 0

    @property
    def full(self) -> bool:
        return self._at == len(self._predicted)

    def add(self, features: NDArray[np.float32], predicted: NDArray[np.int64]) -> None:
        stop = self._at + len(features)
        self._features[self._at : stop] = features
        self._predicted[self._at : stop] = predicted
        self._at = stop

    def commit(self, about: dict[str, Any]) -> None:
        self._features.flush()
        np.save(self._folder / "predicted.npy", self._predicted)
        (self._folder / "about.json").write_text(json.dumps(about, indent=1, sort_keys=True), encoding="utf-8")
        try:
            self._folder.rename(self._target)
        except OSError:  # another process finished the same set first
            self.discard()

    def discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
