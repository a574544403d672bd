"""Bounds the cell probabilities of ID traffic from a calibration set, so that bets against them are fair.

The *mass* of a cell is the probability that an ID input falls into it. The bets of :mod:`monitor.math.evidence` fall
with the cell (cell 0, the most OOD, pays most). Their expectation is therefore largest when the mass lies as near to
cell 0 as allowed. So upper bounds on the *cumulative* masses bound every bet's expectation. This includes ties and
discrete scores, since ties only move mass towards the last cell.
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
"""The end of the integral of :func:`_probability_above`, in units of one over the deviation of the sum."""


@dataclass(frozen=True)
class Nulls:
    """Cumulative cell masses of ID traffic.

    Attributes:
        steps: (cells,) non-decreasing, the last one 1: ``P(cell <= k)`` on ID traffic is at most ``steps[k]``.
        margin: at least 1; bets are divided by it, so that they stay fair if ``steps`` alone are not bounds.
        samples: how many calibration samples were used, 0 if the masses are known exactly.
        rule: the rule of the bounds (:func:`pooled`).
        risk: the probability, over draws of the calibration set, that the bound does not hold; about 0.5 for
            ``nominal``.
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
        """The mass of each cell, (cells,); sums to 1."""
        return tuple(b - a for a, b in zip((0.0, *self.steps[:-1]), self.steps, strict=True))


def known(edges: Sequence[float]) -> Nulls:
    """Nulls with exactly known masses: the cells are cut at the true quantiles (simulation, or infinite n)."""
    return Nulls(tuple(float(e) for e in edges), rule="known")


def pooled(n: int, rule: Rule = "expectation", *, risk: float = 0.05, edges: Sequence[float] | None = None) -> Nulls:
    """The null masses that ``n`` calibration samples support.

    Args:
        n: how many calibration samples the cells were cut from.
        rule: ``nominal`` takes the conformal masses unchanged. They are right on average over calibration sets but too
            low for about half of them; detection is fastest. ``expectation``, the default, bounds exactly the one
            number that enters the guarantee, the bet's expectation given this calibration set. ``simultaneous`` bounds
            all cumulative masses together by Clopper-Pearson. Any bet that falls with the cell is then fair; detection
            is slowest.
        risk: the probability that the bound fails, over draws of the calibration set.
        edges: the cells' edges on the p-value, by default :data:`line_plugin.math.conformal.CELL_EDGES`.

    Raises:
        ValueError: n is below 1, the risk is outside (0, 1), or the rule is unknown.
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
        # The cutoff is the m-th smallest of n, so the mass below it is Beta(m, n + 1 - m), and less with ties.
        return Nulls(_bounds([m - 1 for m in ranks[:-1]], n, risk), 1.0, n, rule, risk)
    if rule == "expectation":
        return Nulls(steps, _expectation_bound(_weights(n, edges), ratios(steps), risk), n, rule, risk)
    raise ValueError(f"rule {rule!r} given, expected nominal, expectation or simultaneous")


def together(
    sizes: Sequence[int], rule: Rule = "expectation", *, risk: float = 0.05, edges: Sequence[float] | None = None
) -> Nulls:
    """One bound for the inputs of several models, each with cells that were cut at its own calibration samples.

    Evidence then does not depend on the model of an input, and all models share one budget. The steps are the highest
    of any model. The margin is the largest that any of them needs with these steps. The risk is divided among the
    models, so that the bounds of all of them hold together.

    Args:
        sizes: how many calibration samples each model has, for at least one model.
        rule: see :func:`pooled`.
        risk: the probability that any of the bounds fails.
        edges: see :func:`pooled`.

    Raises:
        ValueError: no model is given, or :func:`pooled` refuses the values.
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

    Classes differ in how often ID inputs are flagged, so pooled masses do not bound those of a single class.

    Args:
        counts: (cells,) this class's ID samples in each cell; if all are zero, the class can never raise.
        risk: the probability that the bound fails; divide by the number of classes to cover all of them.
    """
    n = sum(counts)
    return Nulls(_bounds(list(accumulate(counts))[:-1], n, risk), 1.0, n, "simultaneous", risk)


def _bounds(below: Sequence[int], n: int, risk: float) -> tuple[float, ...]:
    """Upper Clopper-Pearson bounds for ``below[k]`` of ``n``, which hold together with probability ``1 - risk``."""
    each = risk / len(below)
    # below = -1: the cutoff is -inf, so no calibration sample and no input can lie below it.
    bounds = [0.0 if m < 0 else 1.0 if m >= n else beta.quantile(m + 1, n - m, 1 - each) for m in below]
    return (*accumulate(bounds, max), 1.0)


def ratios(steps: Sequence[float]) -> list[float]:
    """``g_k / pi_k``, (cells,), never rising: a cell's density for ``p = u^2``, u uniform, relative to ID traffic.

    ``g_k`` are differences of ``sqrt(step)``. The square root is concave, so the ratios fall with the cell, and
    ``sum pi_k ratio_k = 1``. A cell without mass takes the ratio of its neighbour on the OOD side (the first ones take
    that of the first cell with mass), which keeps the order.
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
    """How many of the n + 1 spacings between calibration scores lie in each cell, (cells,)."""
    from line_plugin.math import conformal

    ranks = [*(conformal.rank(n, e) for e in edges[:-1]), n + 1]
    return [b - a for a, b in zip([0, *ranks[:-1]], ranks, strict=True)]


def _expectation_bound(weights: Sequence[int], pays: Sequence[float], risk: float) -> float:
    """The upper ``1 - risk`` quantile of ``sum q_k pays_k``, q the true masses given the calibration set; at least 1.

    Without ties q is Dirichlet with the ranks between cutoffs as weights (spacings of uniform order statistics), which
    is a ratio of independent gammas G. ``P(sum (pays_k - t) G_k > 0)`` follows from the characteristic function
    (Gil-Pelaez 1951, Imhof 1961). With ties the sum is stochastically smaller, since ``pays`` falls with the cell.
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
