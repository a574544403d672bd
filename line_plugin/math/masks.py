"""Decides which activations and weights LINe keeps (paper, section 3.2; percentiles as in the published code).

The K weight masks of shape K x D would take K*K*D entries. ``|C[c, j]| * W[k, j] > t[c]`` is monotone in ``W[k, j]``,
so for each ``(c, j)`` there is one float32 *floor*: the largest value that does not pass. A weight is kept exactly when
it is above its floor. The same K x D array holds the activation mask: a masked neuron has the floor +inf.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from line_plugin.math.percentiles import SortedColumns, between

Floats = NDArray[np.float64]


def activation_mask(contribution: Floats, p_a: float | None) -> NDArray[np.bool_]:
    """The activation mask ``m[c, j] = C[c, j] > percentile(C[c, :], p_a)``, signed and strict.

    Args:
        contribution: (K, D) float64.
        p_a: percentile in [0, 100]; ``None`` keeps every activation.

    Returns:
        (K, D) bool, True for an activation that is kept.
    """
    if p_a is None:
        return np.ones(contribution.shape, np.bool_)
    kept: NDArray[np.bool_] = contribution > np.percentile(contribution, p_a, axis=1, keepdims=True)
    return kept


def weight_thresholds(contribution: Floats, weight: NDArray[np.float32], p_w: float | None) -> Floats:
    """``t[c] = percentile over all K*D entries of |C[c, j]| * W[k, j]``, linear interpolation, float64.

    Args:
        contribution: (K, D) float64.
        weight: (K, D) head weight.
        p_w: percentile in [0, 100]; ``None`` keeps every weight (t = -inf).

    Returns:
        (K,) float64, equal to ``np.percentile`` bit for bit. It needs memory for K*D entries.
    """
    k = contribution.shape[0]
    if p_w is None:
        return np.full(k, -np.inf)
    magnitude, head = np.abs(contribution), weight.astype(np.float64)
    columns = SortedColumns(head)
    thresholds: Floats = np.empty(k)
    for c in range(k):
        found = columns.percentile(magnitude[c], p_w)
        thresholds[c] = percentile((magnitude[c] * head).ravel(), p_w) if found is None else found
    return thresholds


def percentile(values: NDArray[np.float64], p: float) -> float:
    """``np.percentile(values, p)``, bit for bit, at a fraction of its time on a million values.

    A sample gives a bracket around the two order statistics between which the percentile lies, and only the values in
    the bracket are sorted. The count below the bracket proves that both are in it. If they are not, numpy computes the
    percentile.

    Args:
        values: (n,), finite.
        p: in [0, 100].
    """
    n = values.size
    sample = np.sort(values[:: max(1, n // 32768)])
    place = (n - 1) * (p / 100)
    rank = int(place)
    centre, margin = rank / n * sample.size, 3 * sample.size**0.5
    low = sample[max(0, int(centre - margin))]
    high = sample[min(sample.size - 1, int(centre + margin))]
    below = int(np.count_nonzero(values < low))
    inside = np.sort(values[(values >= low) & (values <= high)])
    if not below <= rank or rank + 1 >= below + inside.size:
        return float(np.percentile(values, p))
    a, b = inside[rank - below : rank - below + 2]
    return between(float(a), float(b), place - rank)


def weight_floors(contribution: Floats, thresholds: Floats, keep: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The float32 floors that stand for both masks: a weight counts when ``W[k, j] > floor[c, j]``.

    Args:
        contribution: (K, D) float64.
        thresholds: (K,) float64 from :func:`weight_thresholds`.
        keep: (K, D) bool from :func:`activation_mask`.

    Returns:
        (K, D) float32. For every float32 ``w``, ``w > floor[c, j]`` equals ``keep[c, j] and |C[c, j]| * w > t[c]``
        evaluated in float64.
    """
    magnitude = np.abs(contribution)
    cut = np.broadcast_to(thresholds[:, None], magnitude.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        floor: NDArray[np.float32] = (cut / magnitude).astype(np.float32)
    # With |C| = 0 the left side is 0 for every weight, so it is kept only if the threshold is negative.
    dead = magnitude == 0
    floor[dead] = np.where(cut[dead] < 0, -np.inf, np.inf)
    live = ~dead & np.isfinite(floor)
    _settle(floor, magnitude, cut, live)
    floor[~keep] = np.inf
    return floor


def _settle(
    floor: NDArray[np.float32],
    magnitude: NDArray[np.float64],
    cut: NDArray[np.float64],
    live: NDArray[np.bool_],
) -> None:
    """Moves each floor to the largest float32 that does not pass; division was off by one rounding at most."""
    m, t, r = magnitude[live], cut[live], floor[live]
    for _ in range(4):
        passes = m * r > t
        if not passes.any():
            break
        r[passes] = np.nextafter(r[passes], np.float32(-np.inf))
    for _ in range(4):
        above = np.nextafter(r, np.float32(np.inf))
        fails = np.isfinite(above) & ~(m * above > t)
        if not fails.any():
            break
        r[fails] = above[fails]
    floor[live] = r
