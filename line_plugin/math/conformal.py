"""Conformal p-values, thresholds and cells, computed from the confidences of held-out ID inputs.

``p(s) = (1 + #{calibration confidences <= s}) / (n + 1)``, so a small p means out-of-distribution. For an exchangeable
ID sample ``P(p <= alpha) = floor(alpha (n + 1)) / (n + 1) <= alpha``, whatever the score's distribution.

Confidences are numpy arrays, or anything that ``np.asarray`` takes, such as tensors on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

CELL_EDGES: tuple[float, ...] = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 1.0)
"""The upper p-value of each cell in which a monitor counts samples."""


def rank(n: int, alpha: float) -> int:
    """``floor(alpha (n + 1))``: how many of ``n + 1`` exchangeable ranks lie at or below ``alpha``."""
    # alpha * (n + 1) may be rounded to just below an integer.
    return math.floor(alpha * (n + 1) + 1e-9)


def cutoff(ordered: NDArray[np.float32], alpha: float) -> float:
    """The confidence below which a sample has ``p <= alpha``.

    Args:
        ordered: (n,) calibration confidences, ascending.
        alpha: false-positive rate in (0, 1].

    Returns:
        ``s < cutoff`` exactly when ``p(s) <= alpha``. -inf if n is too small to flag anything at ``alpha``,
        +inf if everything is flagged (alpha = 1).
    """
    n = len(ordered)
    m = rank(n, alpha)
    if m < 1:
        return -math.inf
    if m > n:
        return math.inf
    return float(ordered[m - 1])


def cutoffs(ordered: NDArray[np.float32], edges: Sequence[float] = CELL_EDGES) -> tuple[float, ...]:
    """:func:`cutoff` for each edge, ascending."""
    return tuple(cutoff(ordered, e) for e in edges)


def cell_masses(n: int, edges: Sequence[float] = CELL_EDGES) -> tuple[float, ...]:
    """The expected share of ID samples in each cell, for ``n`` calibration samples without ties; sums to 1."""
    steps = [rank(n, e) / (n + 1) for e in edges]
    return tuple(b - a for a, b in zip([0.0, *steps[:-1]], steps, strict=True))


def cells(confidences: ArrayLike, bounds: Sequence[float]) -> NDArray[np.int64]:
    """The cell of each sample: 0 is the most out-of-distribution.

    Args:
        confidences: (N,) floating.
        bounds: :func:`cutoffs`, ascending, the last one +inf.

    Returns:
        (N,) int64 in ``[0, len(bounds))``.
    """
    edges = np.asarray(bounds[:-1], np.float64)
    # side="right": a sample equal to a cutoff is not below it.
    return np.searchsorted(edges, np.asarray(confidences, np.float64), side="right").astype(np.int64)


def p_values(ordered: ArrayLike, confidences: ArrayLike) -> NDArray[np.float64]:
    """Conformal p-value of each sample, (N,) float64 in ``[1/(n+1), 1]``."""
    held = np.asarray(ordered, np.float64)
    below = np.searchsorted(held, np.asarray(confidences, np.float64), side="right")
    p: NDArray[np.float64] = (below + 1) / (len(held) + 1)
    return p
