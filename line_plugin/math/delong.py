"""DeLong's test: whether the mean AUROCs of two methods differ by more than the choice of images explains.

The test is DeLong, DeLong and Clarke-Pearson's (Biometrics 1988), computed by ranks (Sun and Xu 2014). It is extended
to the unweighted mean over several OOD sets that share the ID images. An ID image's part is the mean of its parts in
the sets. Each OOD set adds its own variance, divided by the number of sets squared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from line_plugin.errors import FeatureError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Parts:
    """How much each image contributes to a mean AUROC.

    Attributes:
        of_id: (N,) share of OOD that lies below each ID image, ties half, averaged over the sets.
        of_ood: for each set (M,) share of ID that lies above each OOD image, ties half.
    """

    of_id: Floats
    of_ood: tuple[Floats, ...]

    @property
    def auroc(self) -> float:
        """The unweighted mean AUROC over the sets, a share in [0, 1]."""
        return float(self.of_id.mean())


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same images.

    Attributes:
        first, second: their names.
        difference: first minus second, a share in [-1, 1].
        low, high: 95 % interval of the difference, not adjusted for the number of comparisons.
        p: two-sided p-value of the hypothesis that there is no difference.
        adjusted: the p-value after Holm's adjustment for all comparisons that were made together.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    adjusted: float


def parts_of(id_confidence: NDArray[np.floating], ood: Sequence[NDArray[np.floating]]) -> Parts:
    """Each image's part, from the confidences (N,) of ID and (M,) of each OOD set; high = ID.

    Raises:
        FeatureError: a side has fewer than 2 samples, which have no variance.
    """
    sizes = [len(id_confidence), *map(len, ood)]
    if not ood or min(sizes) < 2:
        raise FeatureError(f"sets of {sizes} images given (ID first): a comparison needs at least 2 of each")
    of_id = [_share_below(id_confidence, other) for other in ood]
    of_ood = tuple(1 - _share_below(other, id_confidence) for other in ood)
    return Parts(np.mean(of_id, axis=0), of_ood)


def _share_below(values: NDArray[np.floating], others: NDArray[np.floating]) -> Floats:
    """For each value, the share of the others below it; a tie counts half."""
    ordered = np.sort(others)
    below, to = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (below + to) / (2.0 * len(ordered))


def compare_all(parts: Mapping[str, Parts]) -> list[Comparison]:
    """Compares every pair of methods, in the order of the mapping, with Holm's adjustment over these pairs."""
    names = list(parts)
    found = [_compare(a, parts[a], b, parts[b]) for i, a in enumerate(names) for b in names[i + 1 :]]
    adjusted = holm([c.p for c in found])
    return [
        Comparison(c.first, c.second, c.difference, c.low, c.high, c.p, q) for c, q in zip(found, adjusted, strict=True)
    ]


def _compare(first: str, a: Parts, second: str, b: Parts) -> Comparison:
    difference = a.auroc - b.auroc
    variance = _variance_of_mean(a.of_id - b.of_id)
    variance += sum(_variance_of_mean(x - y) for x, y in zip(a.of_ood, b.of_ood, strict=True)) / len(a.of_ood) ** 2
    error = math.sqrt(variance)
    # The variance is 0 if both order all images alike, or if both separate perfectly.
    p = math.erfc(abs(difference) / error / math.sqrt(2)) if error else float(difference == 0)
    return Comparison(first, second, difference, difference - 1.96 * error, difference + 1.96 * error, p, p)


def _variance_of_mean(values: Floats) -> float:
    return float(values.var(ddof=1)) / len(values)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values. Calling every pair below alpha different has a family-wise error rate of alpha."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    out, largest = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[i]))
        out[i] = largest
    return out
