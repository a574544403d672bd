"""Counts exactly what each of 1,001 thresholds keeps and flags, one threshold for each 0.1 % of ID images flagged.

A page with every score of 100,000 images and ten methods would be too large. Position k of 1,000 has the threshold
``sorted(ID)[k N // 1000]``, and an image is flagged as OOD if its confidence is below it. Position 50 is the papers'
threshold, the highest one that keeps 95 % of ID. The counts at each position are over all images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 1000
AT_95 = 50
"""The position that keeps 95 % of ID."""


@dataclass(frozen=True)
class Thresholds:
    """A method's thresholds (1,001,), ascending, and how many images of each set have a confidence below each."""

    values: NDArray[np.float64]
    flagged: dict[str, NDArray[np.int64]]


def tabulate(id_scores: NDArray[np.floating], ood_scores: dict[str, NDArray[np.floating]]) -> Thresholds:
    """Count what each threshold flags.

    Args:
        id_scores: confidences (N,) of ID.
        ood_scores: confidences (M,) of each OOD set.
    """
    ordered = np.sort(id_scores)
    places = np.arange(STEPS + 1) * len(ordered) // STEPS
    values = ordered[np.minimum(places, len(ordered) - 1)]
    # At the last position everything is flagged, even OOD images with more confidence than any ID image.
    above = max(float(v.max()) for v in (ordered, *ood_scores.values()))
    values = values.astype(np.float32)
    values[-1] = np.nextafter(np.float32(above), np.float32(np.inf))
    values = values.astype(np.float64)
    flagged = {"ID": _count_below(ordered, values)}
    flagged |= {name: _count_below(np.sort(scores), values) for name, scores in ood_scores.items()}
    return Thresholds(values, flagged)


def _count_below(ordered: NDArray[np.floating], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.searchsorted(ordered.astype(np.float64), thresholds, side="left").astype(np.int64)


def threshold_at_95(id_scores: NDArray[np.floating]) -> float:
    """The highest threshold that keeps at least 95 % of ID; an image below it is flagged."""
    ordered = np.sort(id_scores)
    return float(ordered[AT_95 * len(ordered) // STEPS])
