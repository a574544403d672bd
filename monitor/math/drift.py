"""Measures slow drift: how far a window of inputs is from the calibration set, and how likely that is by chance.

Two counts of each stream are compared, window by window: how many inputs fall into each conformal cell of the score,
and how many are predicted as each class. The *size* of a difference is the population stability index (PSI), minus its
expectation by chance. Its *p-value* is exact, by simulation:

- **Scores.** The cells are cut at ranks of the calibration scores, so their probabilities for an exchangeable input are
  Dirichlet, with the ranks between the cuts as weights. The counts of a window are then Dirichlet-multinomial, for any
  distribution of the scores.
- **Classes.** If window and calibration set have the same distribution, the window's counts are a draw without
  replacement from both together, which is multivariate hypergeometric.

A p-value ``(1 + #{simulated >= counted}) / (1 + simulations)`` is valid for any number of simulations (Besag and
Clifford 1989). A window of n inputs is called different at ``p <= n / budget``. So on average at most one window per
``budget`` inputs is falsely called different, over all streams and both comparisons together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

SIMULATIONS = 999
"""How many simulations. p-values are multiples of ``1 / (1 + this)``, which suffices for ``n / budget`` from .002."""

LEAST = 5
"""Cells or classes with fewer expected inputs than this are joined."""


@dataclass(frozen=True)
class Difference:
    """How a window differs from the calibration set in one respect.

    Attributes:
        size: PSI minus its expectation by chance, 0 or more. By convention .1 is a change and .25 a large one.
        p_value: in (0, 1], the probability of a size at least this large if nothing has changed.
        parts: how many cells or classes were compared, after rare ones were joined. If it is 1, nothing could be
            compared: ``size`` is 0 and ``p_value`` 1.
    """

    size: float
    p_value: float
    parts: int


def population_stability_index(counted: Counts, reference: Counts) -> npt.NDArray[np.float64]:
    """``sum (a - e) log(a / e)`` over the shares a of the counts and e of the reference.

    Args:
        counted: (..., parts) counts.
        reference: (..., parts) counts.

    Returns:
        (...,), never negative, and exactly 0 if the shares are equal. Half a sample is added to every count, so that an
        empty part does not give infinity.
    """
    parts = counted.shape[-1]
    a = (counted + 0.5) / (counted.sum(-1, keepdims=True) + 0.5 * parts)
    e = (reference + 0.5) / (reference.sum(-1, keepdims=True) + 0.5 * parts)
    found: npt.NDArray[np.float64] = ((a - e) * np.log(a / e)).sum(-1)
    return found


def compare_cells(counted: Sequence[int] | Counts, weights: Sequence[int], rng: np.random.Generator) -> Difference:
    """Compares the cells of a window with those that the calibration set predicts.

    Args:
        counted: (cells,) counts of the window's inputs.
        weights: (cells,) ranks between the cuts of the cells; their sum is the number of calibration samples plus one.
        rng: random numbers of the simulation, independent of the inputs.
    """
    window, expected = np.asarray(counted, np.int64), np.asarray(weights, np.int64)
    window, expected = _neighbours_together(window, expected)
    if len(window) < 2:
        return Difference(0.0, 1.0, 1)
    masses = rng.dirichlet(expected.astype(float), SIMULATIONS)
    simulated = rng.multinomial(int(window.sum()), masses)
    return _difference(window, expected, simulated, expected)


def compare_classes(counted: Sequence[int] | Counts, reference: Sequence[int], rng: np.random.Generator) -> Difference:
    """Compares the predicted classes of a window with those of the calibration set.

    Args:
        counted: (classes,) counts of the window's inputs.
        reference: (classes,) counts of held-out ID samples.
        rng: random numbers of the simulation, independent of the inputs.
    """
    window, held = np.asarray(counted, np.int64), np.asarray(reference, np.int64)
    window, held = _rare_together(window, held)
    if len(window) < 2:
        return Difference(0.0, 1.0, 1)
    simulated = rng.multivariate_hypergeometric(window + held, int(window.sum()), size=SIMULATIONS, method="marginals")
    return _difference(window, held, simulated, window + held - simulated)


def allowed(samples: int, budget: float) -> float:
    """The p-value at or below which each of the two comparisons calls a window of ``n`` inputs different."""
    return min(1.0, samples / budget / 2)


def _neighbours_together(counted: Counts, weights: Counts) -> tuple[Counts, Counts]:
    """Joins cells with few expected inputs to their neighbour.

    The counts do not decide this, so the test stays exact.
    """
    share = min(1.0, float(counted.sum()) / max(1, int(weights.sum())))
    cuts: list[int] = []
    gathered = 0.0
    for cell, weight in enumerate(weights.tolist()):
        if gathered >= LEAST:
            cuts.append(cell)
            gathered = 0.0
        gathered += weight * share
    if cuts and gathered < LEAST:
        cuts.pop()
    return np.add.reduceat(counted, [0, *cuts]), np.add.reduceat(weights, [0, *cuts])


def _rare_together(counted: Counts, reference: Counts) -> tuple[Counts, Counts]:
    """Joins rare classes into one. The sum of both counts decides which, and the test is exact given that sum."""
    both = counted + reference
    rare = both * min(int(counted.sum()), int(reference.sum())) < LEAST * int(both.sum())
    kept = ~rare
    if not rare.any():
        return counted, reference
    return np.append(counted[kept], counted[rare].sum()), np.append(reference[kept], reference[rare].sum())


def _difference(counted: Counts, reference: Counts, simulated: Counts, simulated_reference: Counts) -> Difference:
    found = float(population_stability_index(counted, reference))
    chance = population_stability_index(simulated, simulated_reference)
    beyond = int((chance >= found * (1 - 1e-12)).sum())
    return Difference(max(0.0, found - float(chance.mean())), (1 + beyond) / (1 + len(simulated)), len(counted))


def weights_of(ranks: Sequence[int], samples: int) -> tuple[int, ...]:
    """The ranks between the cuts of the cells, from the ``ranks`` at or below each cell's upper edge.

    Raises:
        ValueError: ``ranks`` fall, or do not end at ``samples + 1``.
    """
    found = tuple(b - a for a, b in zip((0, *ranks[:-1]), ranks, strict=True))
    if min(found) < 0 or not math.isclose(sum(found), samples + 1):
        raise ValueError(f"ranks {tuple(ranks)} given, expected some that rise to {samples + 1}")
    return found
