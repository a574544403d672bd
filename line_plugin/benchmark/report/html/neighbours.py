"""Finds the training images most similar to an image, by cosine similarity of penultimate features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from line_plugin.benchmark.report.run_folder import Run

_ROWS = 4096  # training rows compared at once; ImageNet's features are 10 GB and stay on disk

Key = tuple[str, int]
"""The name of a set, and the position of an image in it."""


def features_of(run: Run, name: str, cache: Path) -> NDArray[np.float32] | None:
    """The cached features (N, D) of a set of the run, read from disk as needed; None if they are gone."""
    (found,) = (s for s in run.record.sets if s.name == name)
    if not found.key.isalnum():  # a key must be a hash, so that it cannot name a path outside the cache
        return None
    try:
        rows = np.load(cache / "features" / found.key / "features.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return rows if rows.ndim == 2 and len(rows) == found.images else None


def nearest(run: Run, wanted: list[Key], cache: Path, count: int = 3) -> dict[Key, list[tuple[int, float]]]:
    """Finds, for each image, the indices of its nearest training images and their cosine similarity, nearest first.

    Args:
        run: the run of the features.
        wanted: images, by set and position.
        cache: the folder of the feature cache.
        count: how many neighbours of each image.

    Returns:
        Empty if the features of the training set are missing; images of sets whose features are missing are left out.
    """
    bank = features_of(run, "train", cache)
    sets = {name: features_of(run, name, cache) for name in {name for name, _ in wanted}}
    known = [(n, i) for n, i in wanted if sets[n] is not None]
    if bank is None or not known or count < 1:
        return {}
    rows = np.stack([np.asarray(of[i]) for n, i in known if (of := sets[n]) is not None]).astype(np.float32)
    queries = _unit(rows)
    count = min(count, len(bank))
    best = np.full((len(known), count), -np.inf, dtype=np.float32)
    places = np.zeros((len(known), count), dtype=np.int64)
    for start in range(0, len(bank), _ROWS):
        part = queries @ _unit(np.asarray(bank[start : start + _ROWS], dtype=np.float32)).T
        both = np.concatenate([best, part], axis=1)
        index = np.concatenate([places, np.broadcast_to(start + np.arange(part.shape[1]), part.shape)], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :count]
        best, places = np.take_along_axis(both, order, 1), np.take_along_axis(index, order, 1)
    return {k: list(zip(p.tolist(), s.tolist(), strict=True)) for k, p, s in zip(known, places, best, strict=True)}


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled
