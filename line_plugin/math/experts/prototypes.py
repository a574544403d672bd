"""The prototype expert: the distance from a feature's direction to the nearest typical direction of its class.

Deep nearest neighbours (Sun et al., ICML 2022) measure the distance of ``a / |a|`` to the k-th nearest of all training
features. Here a few spherical k-means centres of each class (Dhillon and Modha 2001) replace those features, so that
the state does not grow with the training set. Only the centres of the predicted class are used:

    P(a) = -min_i |a / |a| - q_{c,i}|,    c the predicted class.

Using the centres of every class would cost K times as much. ``benchmarks.panel`` compares this with KNN itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from line_plugin.errors import EmptyClassError, SettingsError
from line_plugin.math.scoring import Array

if TYPE_CHECKING:
    from torch import Tensor

SHORTEST = 1e-12
"""Shorter lengths are set to this."""
ITERATIONS = 20


def find_prototypes(features: Tensor, labels: Tensor, num_classes: int, count: int) -> Tensor:
    """Runs spherical k-means in each class separately, starting from its first ``count`` rows.

    Args:
        features: (N, D) floating; the rows of a class in random order, as
            :class:`~line_plugin.math.class_sample.ClassSample` holds them.
        labels: (N,) integer classes, none negative.
        num_classes: K. count: prototypes of each class; a class with fewer rows has some of them twice.

    Returns:
        (K, count, D) float64 on the CPU, each of length 1.

    Raises:
        SettingsError: ``count`` is below 1. EmptyClassError: a class has no row.
    """
    import torch
    from torch.nn import functional

    if count < 1:
        raise SettingsError(f"prototypes={count} given, expected at least 1 a class")
    features, labels, found = features.detach().cpu(), labels.cpu(), []
    for c in range(num_classes):
        rows = functional.normalize(features[labels == c].double(), dim=1)
        if not len(rows):
            raise EmptyClassError(f"no training image of class {c}: add images or drop the class from the head")
        found.append(_cluster(rows, rows[torch.arange(count) % len(rows)]))
    return torch.stack(found)


def _cluster(rows: Tensor, centres: Tensor) -> Tensor:
    """Runs Lloyd's steps on rows (n, D) of length 1; a centre that is nearest to no row does not move."""
    import torch
    from torch.nn import functional

    before = torch.full((len(rows),), -1)
    for _ in range(ITERATIONS):
        nearest = (rows @ centres.T).argmax(dim=1)
        if torch.equal(before, nearest):
            break
        before = nearest
        sums = torch.zeros_like(centres).index_add_(0, nearest, rows)
        centres = torch.where((sums != 0).any(dim=1, keepdim=True), functional.normalize(sums, dim=1), centres)
    return centres


def score_prototypes(features: Array, classes: Array, prototypes: Array) -> Array:
    """Confidence (N,) in [-2, 0] of features (N, D), not clipped; high = ID. A row of zeros gets ``-sqrt(2)``.

    Args:
        classes: (N,) int64, predicted.
        prototypes: (K, P, D), each of length 1; tensors or arrays, like the others.
    """
    unit = features / ((features * features).sum(1) ** 0.5).clip(min=SHORTEST)[:, None]
    cosines = (prototypes[classes] @ unit[:, :, None])[:, :, 0]
    cosine = cosines.max(axis=1) if isinstance(cosines, np.ndarray) else cosines.amax(dim=1)
    distance: Array = (2 - 2 * cosine).clip(min=0) ** 0.5
    return -distance
