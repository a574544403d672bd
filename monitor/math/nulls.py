"""What a calibration set supports about ID traffic: upper bounds on the cell masses, as steps and a margin.

The bets of :mod:`monitor.math.evidence` fall with the cell (cell 0, the most OOD, pays most), so their expectation is
largest when the mass lies as far towards cell 0 as allowed. Bounding the *cumulative* masses from above therefore
bounds every bet's expectation, ties and discrete scores included: ties only move mass towards the last cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from line_plugin.math import beta

Rule = Literal["nominal", "simultaneous", "expectation"]
Floats = NDArray[np.float64]

_REACH = 60.0
"""Where the integral of :func:`_probability_above` ends, in units of one over the deviation of the sum."""


@dataclass(frozen=True)
class Nulls:
    """Cumulative cell masses of ID traffic.

    Attributes:
        steps: (cells,) non-decreasing, the last one 1: ``P(cell <= k)`` on ID traffic is at most ``steps[k]``.
        margin: at least 1; what bets are divided by so that they stay fair where ``steps`` alone are not bounds.
        samples: calibration samples behind it, 0 if the masses are known exactly.
        rule: how it was bounded.
        risk: probability, over draws of the calibration set, that the bound does not hold; 0.5 or so for ``nominal``.
    """

    steps: tuple[float, ...]
    margin: float = 1.0
    samples: int = 0
    rule: str = "nominal"
    risk: float = 0.0

    def __post_init__(self) -> None:
        ordered = all(a <= b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not ordered or self.steps[0] < 0 or not math.isclose(self.steps[-1], 1.0, abs_tol=1e-9):
            raise ValueError(f"steps {self.steps} given, expected cumulative masses that rise to 1")
        if self.margin < 1:
            raise ValueError(f"margin {self.margin} given, expected 1 or more")

    @property
    def masses(self) -> tuple[float, ...]:
        """(cells,) the mass of each cell, sums to 1."""
        return tuple(b - a for a, b in zip((0.0, *self.steps[:-1]), self.steps, strict=True))


def known(edges: Sequence[float]) -> Nulls:
    """Exactly known masses: the cells are cut at the true quantiles (simulation, or n without end)."""
    return Nulls(tuple(float(e) for e in edges), rule="known")


def pooled(n: int, rule: Rule = "expectation", *, risk: float = 0.05, edges: Sequence[float] | None = None) -> Nulls:
    """The null masses that ``n`` calibration samples support.

    Args:
        n: calibration samples behind the cell bounds.
        rule: ``nominal`` takes the conformal masses as they are: right on average over calibration sets, too low for
            about half of them, fastest. ``expectation`` bounds the one number that enters the guarantee, the bet's
            expectation given this calibration set, exactly: the default. ``simultaneous`` bounds each cumulative
            mass by Clopper-Pearson, all together: any bet that falls with the cell is fair, slowest.
        risk: probability that the bound fails, over draws of the calibration set.
        edges: cell edges on the p-value, :data:`line_plugin.math.conformal.CELL_EDGES` if not given.

    Raises:
        ValueError: n below 1, a risk outside (0, 1), or an unknown rule.
    """
    from line_plugin.math import conformal

    if n < 1 or not 0 < risk < 1:
        raise ValueError(f"n={n}, risk={risk} given, expected at least 1 sample and a risk between 0 and 1")
    edges = conformal.CELL_EDGES if edges is None else edges
    steps = tuple(accumulate(conformal.cell_masses(n, edges)))
    steps = (*steps[:-1], 1.0)
    if rule == "nominal":
        return Nulls(steps, 1.0, n, rule)
    if rule == "simultaneous":
        ranks = [conformal.rank(n, e) for e in edges]
        # The cutoff is the m-th smallest of n: the mass below it is Beta(m, n + 1 - m), less with ties.
        return Nulls(_bounds([m - 1 for m in ranks[:-1]], n, risk), 1.0, n, rule, risk)
    if rule == "expectation":
        return Nulls(steps, _expectation_bound(_weights(n, edges), ratios(steps), risk), n, rule, risk)
    raise ValueError(f"rule {rule!r} given, expected nominal, expectation or simultaneous")


def together(
    sizes: Sequence[int], rule: Rule = "expectation", *, risk: float = 0.05, edges: Sequence[float] | None = None
) -> Nulls:
    """One bound for inputs of several models, each with cells of its own, cut at its own calibration samples.

    Evidence is then the same whichever model an input belongs to, so that all of them share one budget. The steps are
    the highest that any model has; the margin is the largest that any of them needs under these steps. The risk is
    divided among the models, so that the bounds of all of them hold together.

    Args:
        sizes: calibration samples of each model, at least one model.
        rule: see :func:`pooled`.
        risk: probability that any of the bounds fails.
        edges: see :func:`pooled`.

    Raises:
        ValueError: no model, or what :func:`pooled` refuses.
    """
    from line_plugin.math import conformal

    if not sizes:
        raise ValueError("no calibration set given, expected that of at least one model")
    each, edges = risk / len(sizes), conformal.CELL_EDGES if edges is None else edges
    bounds = [pooled(n, rule, risk=each, edges=edges) for n in sorted(set(sizes))]
    if len(bounds) == 1:
        return bounds[0]
    steps = tuple(max(column) for column in zip(*(b.steps for b in bounds), strict=True))
    margin = 1.0
    if rule == "expectation":
        pays = ratios(steps)
        margin = max(_expectation_bound(_weights(b.samples, edges), pays, each) for b in bounds)
    return Nulls(steps, margin, min(sizes), rule, bounds[0].risk)


def of_class(counts: Sequence[int], *, risk: float = 0.05) -> Nulls:
    """The null masses of one predicted class, from that class's own held-out ID samples in the pooled cells.

    Classes differ in how often ID inputs are flagged, so pooled masses are no bound for one of them.

    Args:
        counts: (cells,) this class's ID samples in each cell; all zero gives a class that can never raise.
        risk: probability that the bound fails; divide by the number of classes to cover all of them.
    """
    n = sum(counts)
    return Nulls(_bounds(list(accumulate(counts))[:-1], n, risk), 1.0, n, "simultaneous", risk)


def _bounds(below: Sequence[int], n: int, risk: float) -> tuple[float, ...]:
    """Upper Clopper-Pearson bounds for ``below[k]`` of ``n``, which hold together with probability ``1 - risk``."""
    each = risk / len(below)
    # below = -1: no calibration sample can lie under the cutoff, it is -inf, and nothing ever does.
    bounds = [0.0 if m < 0 else 1.0 if m >= n else beta.quantile(m + 1, n - m, 1 - each) for m in below]
    return (*accumulate(bounds, max), 1.0)


def ratios(steps: Sequence[float]) -> list[float]:
    """``g_k / pi_k``, (cells,), never rising: how much denser a cell is for ``p = u^2``, u uniform, than on ID traffic.

    ``g_k`` are differences of ``sqrt(step)``; as the square root is concave the ratios fall with the cell, and
    ``sum pi_k ratio_k = 1``. A cell without mass takes the ratio of its neighbour towards the OOD side (the first
    ones that of the first cell with mass), which keeps the order.
    """
    out: list[float] = []
    low = 0.0
    for high in steps:
        mass = high - low
        out.append((math.sqrt(high) - math.sqrt(low)) / mass if mass > 1e-15 else out[-1] if out else math.nan)
        low = high
    first = next(r for r in out if not math.isnan(r))
    return [first if math.isnan(r) else r for r in out]


def _weights(n: int, edges: Sequence[float]) -> list[int]:
    """(cells,) how many of the n + 1 spacings between calibration scores lie in each cell."""
    from line_plugin.math import conformal

    ranks = [*(conformal.rank(n, e) for e in edges[:-1]), n + 1]
    return [b - a for a, b in zip([0, *ranks[:-1]], ranks, strict=True)]


def _expectation_bound(weights: Sequence[int], pays: Sequence[float], risk: float) -> float:
    """The upper ``1 - risk`` quantile of ``sum q_k pays_k``, q the true masses given the calibration set; at least 1.

    Without ties q is Dirichlet with the ranks between cutoffs as weights (spacings of uniform order statistics), a
    ratio of independent gammas; ``P(sum (pays_k - t) G_k > 0)`` follows from the characteristic function
    (Gil-Pelaez 1951, Imhof 1961). With ties the sum is stochastically smaller, as ``pays`` falls with the cell.
    """
    pairs = [(w, r) for w, r in zip(weights, pays, strict=True) if w]
    if len(pairs) < 2:
        return 1.0
    counts, worth = (np.array(column, np.float64) for column in zip(*pairs, strict=True))

    def above(t: float) -> float:
        return _probability_above(counts, worth, t) - risk

    if above(1.0) <= 0:
        return 1.0
    low, step, top = 1.0, 1e-3, float(worth.max()) * (1 - 1e-9)
    while (high := min(low + step, top)) < top and above(high) > 0:
        low, step = high, 2 * step
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) > 0 else (low, middle)
    return (low + high) / 2


def _probability_above(counts: Floats, worth: Floats, t: float) -> float:
    """``P(sum (worth_k - t) G_k > 0)``, G_k independent gammas of shape ``counts_k``: (cells,) both.

    The integral of Gil-Pelaez over panels so narrow that each holds less than half a turn, by Gauss and Legendre.
    """
    off = worth - t
    part = off / math.sqrt(float(counts @ off**2))
    panels = math.ceil(_REACH * max(2.0, abs(float(counts @ part)) / math.pi))
    nodes, parts = np.polynomial.legendre.leggauss(16)
    places = (np.arange(panels)[:, None] + (nodes + 1) / 2).ravel() * (_REACH / panels)
    turns = part[:, None] * places
    modulus = np.exp(-(counts @ np.log1p(turns**2)) / 2)
    values = np.sin(counts @ np.arctan(turns)) / places * modulus
    total = float((values.reshape(panels, -1) @ parts).sum()) * _REACH / (2 * panels)
    return 0.5 + total / math.pi
