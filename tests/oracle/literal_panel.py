"""The experts of the panel, one row and one class at a time, in numpy's float64. Written from their formulae alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def angle(a: Array, clip: float | None, mean: Array, weight: Array) -> float:
    """``logsumexp_k(U_k (z - m)) / |z - m|`` of one row."""
    z = np.array([x if clip is None else min(x, clip) for x in a])
    shared = sum(weight) / len(weight)
    values = [float(sum((w - s) * (x - m) for w, s, x, m in zip(row, shared, z, mean, strict=True))) for row in weight]
    top = max(values)
    length = math.sqrt(sum((x - m) ** 2 for x, m in zip(z, mean, strict=True)))
    return (top + math.log(sum(math.exp(v - top) for v in values))) / length


def prototypes(a: Array, own: Array) -> float:
    """``-min_i |a / |a| - q_i|`` of one row, over the prototypes (P, D) of its predicted class."""
    unit = a / math.sqrt(sum(x * x for x in a))
    return -min(math.sqrt(sum((x - y) ** 2 for x, y in zip(unit, q, strict=True))) for q in own)


def residual(a: Array, mean: Array, covariance: Array, principal: int) -> float:
    """Length of what is left of ``a - mean`` without its part along the ``principal`` first principal axes."""
    _, vectors = np.linalg.eigh(covariance)
    left = np.array(a - mean)
    for axis in vectors.T[::-1][:principal]:
        left = left - axis * float(axis @ (a - mean))
    return float(np.linalg.norm(left))


def combined(rows: Array, training: Array) -> Array:
    """The sum over experts (columns) of ``(e - median) / (median - q1%)``, quantiles by sorting ``training`` rows."""
    total = np.zeros(len(rows))
    for e in range(rows.shape[1]):
        ordered = sorted(training[:, e])
        median, low = (_quantile(ordered, share) for share in (0.5, 0.01))
        total += [(x - median) / (median - low) for x in rows[:, e]]
    return total


def _quantile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
