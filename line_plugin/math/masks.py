"""Which activations and weights LINe keeps (paper, section 3.2; percentiles as the published code takes them).

The K weight masks of shape K x D would take K*K*D entries. ``|C[c, j]| * W[k, j] > t[c]`` is monotone in
``W[k, j]``, so for each ``(c, j)`` there is one float32 *floor*: the largest value that does not pass. A weight is
kept exactly when it is above its floor. The activation mask folds into the same K x D tensor: a masked neuron has the
floor +inf.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from line_plugin.math.percentiles import SortedColumns, between


def activation_mask(contribution: Tensor, p_a: float | None) -> Tensor:
    """``m[c, j] = C[c, j] > percentile(C[c, :], p_a)``: signed, strict.

    Args:
        contribution: (K, D) float64.
        p_a: percentile in [0, 100]; ``None`` keeps every activation.

    Returns:
        (K, D) bool, True for an activation that is kept.
    """
    if p_a is None:
        return torch.ones_like(contribution, dtype=torch.bool)
    values = contribution.cpu().numpy()
    cut = np.percentile(values, p_a, axis=1, keepdims=True)
    return torch.from_numpy(values > cut).to(contribution.device)


def weight_thresholds(contribution: Tensor, weight: Tensor, p_w: float | None) -> Tensor:
    """``t[c] = percentile over all K*D entries of |C[c, j]| * W[k, j]``, linear interpolation, float64.

    Args:
        contribution: (K, D) float64.
        weight: (K, D) head weight.
        p_w: percentile in [0, 100]; ``None`` keeps every weight (t = -inf).

    Returns:
        (K,) float64, ``np.percentile``'s bit for bit. Memory stays at K*D entries.
    """
    k = contribution.shape[0]
    if p_w is None:
        return torch.full((k,), -torch.inf, dtype=torch.float64)
    magnitude = contribution.abs().cpu().numpy()
    head = weight.cpu().to(torch.float64).numpy()
    columns = SortedColumns(head)
    thresholds: NDArray[np.float64] = np.empty(k)
    for c in range(k):
        found = columns.percentile(magnitude[c], p_w)
        thresholds[c] = percentile((magnitude[c] * head).ravel(), p_w) if found is None else found
    return torch.from_numpy(thresholds)


def percentile(values: NDArray[np.float64], p: float) -> float:
    """``np.percentile(values, p)``, bit for bit, at a fraction of its time on a million values.

    A sample brackets the two order statistics between which the percentile lies; only what falls into the bracket is
    sorted. The count below the bracket proves that they are in it; if not, numpy does the work.

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


def weight_floors(contribution: Tensor, thresholds: Tensor, keep: Tensor) -> Tensor:
    """The float32 floors that stand for both masks: a weight counts when ``W[k, j] > floor[c, j]``.

    Args:
        contribution: (K, D) float64.
        thresholds: (K,) float64 from :func:`weight_thresholds`.
        keep: (K, D) bool from :func:`activation_mask`.

    Returns:
        (K, D) float32. For every float32 ``w``, ``w > floor[c, j]`` equals ``keep[c, j] and |C[c, j]| * w > t[c]``
        evaluated in float64.
    """
    magnitude = contribution.abs().cpu().numpy()
    cut = np.broadcast_to(thresholds.cpu().numpy()[:, None], magnitude.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        floor = (cut / magnitude).astype(np.float32)
    # |C| = 0 makes the left side 0 whatever the weight: kept only below a negative threshold.
    dead = magnitude == 0
    floor[dead] = np.where(cut[dead] < 0, -np.inf, np.inf)
    live = ~dead & np.isfinite(floor)
    _settle(floor, magnitude, cut, live)
    floor[~keep.cpu().numpy()] = np.inf
    return torch.from_numpy(floor)


def _settle(
    floor: NDArray[np.float32],
    magnitude: NDArray[np.float64],
    cut: NDArray[np.float64],
    live: NDArray[np.bool_],
) -> None:
    """Move each floor to the largest float32 that does not pass; division was off by a rounding at most."""
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
