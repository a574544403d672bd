"""The bootstrap over images: how much the figures of a table could change with other images.

A draw takes as many ID images as there are, with replacement, and as many of each OOD set as it has. ID is drawn once
for all sets, as it is scored once. All methods are measured on the same draws. The draws come from a seed, so the same
scores give the same intervals on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from line_plugin.errors import FeatureError, SettingsError
from line_plugin.math.metrics import metrics_of_counts

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

COLUMNS = ("fpr95", "auroc", "aupr_in", "aupr_out", "fpr95_id")
"""The columns of a draw, named as in :class:`~line_plugin.math.metrics.Metrics`."""


@dataclass(frozen=True)
class Ranked:
    """Confidences of one ID and OOD pair, sorted once, so that a draw needs no sort.

    Attributes:
        id_place, ood_place: (N,) and (M,) int64, the index of each sample's confidence among the distinct ones.
        values: how many distinct confidences there are.
    """

    id_place: Counts
    ood_place: Counts
    values: int

    @classmethod
    def of(cls, id_confidence: NDArray[np.floating], ood_confidence: NDArray[np.floating]) -> Ranked:
        """Ranks confidences (N,) of ID and (M,) of OOD samples.

        Raises:
            FeatureError: one side is empty, or holds NaN.
        """
        both = np.concatenate([id_confidence, ood_confidence])
        if not len(id_confidence) or not len(ood_confidence) or np.isnan(both).any():
            raise FeatureError(
                f"{len(id_confidence)} ID and {len(ood_confidence)} OOD scores with {int(np.isnan(both).sum())} NaN "
                "given: a bootstrap needs finite scores of both"
            )
        distinct, place = np.unique(both, return_inverse=True)
        place = place.astype(np.int64)
        return cls(place[: len(id_confidence)], place[len(id_confidence) :], len(distinct))

    def measure(self, id_times: Counts, ood_times: Counts) -> Floats:
        """The metrics (5,) of a draw, given how many times it holds each sample."""
        of_id = np.bincount(self.id_place, id_times, self.values)
        of_ood = np.bincount(self.ood_place, ood_times, self.values)
        drawn = (of_id + of_ood) > 0
        found = metrics_of_counts(np.cumsum(of_id[drawn]), np.cumsum(of_ood[drawn]))
        return np.array([getattr(found, name) for name in COLUMNS])


@dataclass(frozen=True)
class Draws:
    """The metrics of all draws.

    Attributes:
        metrics: (R, methods, sets, 5), shares in [0, 1], the last axis as in :data:`COLUMNS`.
        accuracy: (R,) share of the drawn ID images that the network classifies correctly; NaN without labels.
    """

    metrics: Floats
    accuracy: Floats


def draw(
    scores: Mapping[str, Mapping[str, NDArray[np.floating]]],
    right: NDArray[np.bool_],
    *,
    id_set: str = "id",
    replicates: int = 1000,
    seed: int = 0,
) -> Draws:
    """Draws images and measures every method on every OOD set, ``replicates`` times.

    Args:
        scores: ``{method: {set: confidence (N,)}}``, the same sets and images for every method.
        right: (N,) whether each ID image is classified correctly; empty if unknown.
        id_set: the name of the ID set; all other sets are OOD.
        replicates: how many draws, at least 2.
        seed: seed of the draws.

    Raises:
        SettingsError: fewer than 2 draws. FeatureError: a set is empty or holds NaN.
    """
    if replicates < 2:
        raise SettingsError(f"{replicates} bootstrap draws given, expected 2 or more")
    names = [n for n in next(iter(scores.values())) if n != id_set]
    ranked = [[Ranked.of(of[id_set], of[n]) for n in names] for of in scores.values()]
    sizes = {n: len(v) for n, v in next(iter(scores.values())).items()}
    rng = np.random.default_rng(seed)
    metrics = np.empty((replicates, len(ranked), len(names), len(COLUMNS)))
    correct = np.full(replicates, np.nan)
    for r in range(replicates):
        id_times = _times(rng, sizes[id_set])
        if len(right):
            correct[r] = float(id_times[right].sum() / id_times.sum())
        for s, name in enumerate(names):
            ood_times = _times(rng, sizes[name])
            for m, pairs in enumerate(ranked):
                metrics[r, m, s] = pairs[s].measure(id_times, ood_times)
    return Draws(metrics, correct)


def _times(rng: np.random.Generator, n: int) -> Counts:
    """How often each of n samples is drawn when n are drawn with replacement."""
    return np.bincount(rng.integers(n, size=n), minlength=n).astype(np.int64)


def interval(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of draws (R,)."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
