"""A slow drift is not a surge: how far a window of inputs lies from the calibration set, and how likely by chance.

Two things are compared for each stream, window by window: how many inputs fall into each conformal cell of the score,
and how many are predicted as each class. The *size* of a difference is the population stability index (PSI), less what
chance alone makes of it. Its *p-value* is exact, by simulation:

- **Scores.** The cells are cut at ranks of the calibration scores, so the masses that an exchangeable input has in them
  are Dirichlet, with the ranks between the cuts as weights. The counts of a window are then Dirichlet-multinomial,
  whatever the distribution of the scores is.
- **Classes.** If window and calibration set are of one distribution, the window's counts are a draw without
  replacement from both together: multivariate hypergeometric.

A p-value ``(1 + #{simulated >= seen}) / (1 + simulations)`` is valid for any number of simulations (Besag and Clifford
1989). A window of n inputs is called different at ``p <= n / budget``, so in the mean at most one of the inputs'
windows is called so falsely per ``budget`` inputs, over all streams together and over both comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

SIMULATIONS = 999
"""p-values are multiples of one over this and one: fine enough for ``n / budget`` of .002 and more."""

LEAST = 5
"""Cells or classes of which fewer than this are expected are put together."""


@dataclass(frozen=True)
class Difference:
    """How a window differs from the calibration set in one respect.

    Attributes:
        size: PSI less its expectation by chance, 0 or more. By convention .1 is a change, .25 a large one.
        p_value: in (0, 1]; of differences at least as large if there is none.
        parts: how many cells or classes were compared, after rare ones were put together. 1 if there is nothing to
            compare; then ``size`` is 0 and ``p_value`` 1.
    """

    size: float
    p_value: float
    parts: int


def population_stability_index(seen: Counts, reference: Counts) -> npt.NDArray[np.float64]:
    """``sum (a - e) log(a / e)`` of the shares a of what was seen and e of the reference.

    Args:
        seen: (..., parts) counts.
        reference: (..., parts) counts.

    Returns:
        (...,) never negative; 0 exactly if the shares are equal. Half a sample is added to every count, so that an
        empty part is not infinitely far away.
    """
    parts = seen.shape[-1]
    a = (seen + 0.5) / (seen.sum(-1, keepdims=True) + 0.5 * parts)
    e = (reference + 0.5) / (reference.sum(-1, keepdims=True) + 0.5 * parts)
    found: npt.NDArray[np.float64] = ((a - e) * np.log(a / e)).sum(-1)
    return found


def compare_cells(seen: Sequence[int] | Counts, weights: Sequence[int], rng: np.random.Generator) -> Difference:
    """Compare the cells of a window with what the calibration set lets expect.

    Args:
        seen: (cells,) inputs of the window.
        weights: (cells,) ranks between the cuts of the cells; they add up to the calibration samples and one.
        rng: of the simulation, independent of the inputs.
    """
    window, expected = np.asarray(seen, np.int64), np.asarray(weights, np.int64)
    window, expected = _neighbours_together(window, expected)
    if len(window) < 2:
        return Difference(0.0, 1.0, 1)
    masses = rng.dirichlet(expected.astype(float), SIMULATIONS)
    simulated = rng.multinomial(int(window.sum()), masses)
    return _difference(window, expected, simulated, expected)


def compare_classes(seen: Sequence[int] | Counts, reference: Sequence[int], rng: np.random.Generator) -> Difference:
    """Compare the predicted classes of a window with those of the calibration set.

    Args:
        seen: (classes,) inputs of the window.
        reference: (classes,) held-out ID samples.
        rng: of the simulation, independent of the inputs.
    """
    window, held = np.asarray(seen, np.int64), np.asarray(reference, np.int64)
    window, held = _rare_together(window, held)
    if len(window) < 2:
        return Difference(0.0, 1.0, 1)
    simulated = rng.multivariate_hypergeometric(window + held, int(window.sum()), size=SIMULATIONS, method="marginals")
    return _difference(window, held, simulated, window + held - simulated)


def allowed(samples: int, budget: float) -> float:
    """The p-value at which one of the two comparisons of a window of so many inputs calls it different."""
    return min(1.0, samples / budget / 2)


def _neighbours_together(seen: Counts, weights: Counts) -> tuple[Counts, Counts]:
    """Join cells of which few are expected to their neighbour. What is seen has no say in it: the test stays exact."""
    share = min(1.0, float(seen.sum()) / max(1, int(weights.sum())))
    cuts: list[int] = []
    gathered = 0.0
    for cell, weight in enumerate(weights.tolist()):
        if gathered >= LEAST:
            cuts.append(cell)
            gathered = 0.0
        gathered += weight * share
    if cuts and gathered < LEAST:
        cuts.pop()
    return np.add.reduceat(seen, [0, *cuts]), np.add.reduceat(weights, [0, *cuts])


def _rare_together(seen: Counts, reference: Counts) -> tuple[Counts, Counts]:
    """Put rare classes into one. The sum of both says which, and the test is exact given that sum."""
    both = seen + reference
    rare = both * min(int(seen.sum()), int(reference.sum())) < LEAST * int(both.sum())
    kept = ~rare
    if not rare.any():
        return seen, reference
    return np.append(seen[kept], seen[rare].sum()), np.append(reference[kept], reference[rare].sum())


def _difference(seen: Counts, reference: Counts, simulated: Counts, simulated_reference: Counts) -> Difference:
    found = float(population_stability_index(seen, reference))
    chance = population_stability_index(simulated, simulated_reference)
    beyond = int((chance >= found * (1 - 1e-12)).sum())
    return Difference(max(0.0, found - float(chance.mean())), (1 + beyond) / (1 + len(simulated)), len(seen))


def weights_of(ranks: Sequence[int], samples: int) -> tuple[int, ...]:
    """Ranks between the cuts of the cells: ``ranks`` at or below each cell's upper edge, of ``samples`` and one.

    Raises:
        ValueError: ranks that fall, or that do not end at ``samples + 1``.
    """
    found = tuple(b - a for a, b in zip((0, *ranks[:-1]), ranks, strict=True))
    if min(found) < 0 or not math.isclose(sum(found), samples + 1):
        raise ValueError(f"ranks {tuple(ranks)} given, expected some that rise to {samples + 1}")
    return found
