"""What the comparison of a window with the calibration set promises, by simulation and against literal readings."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from line_plugin.math import conformal
from monitor.math.drift import (
    LEAST,
    SIMULATIONS,
    Difference,
    _neighbours_together,
    _rare_together,
    allowed,
    compare_cells,
    compare_classes,
    population_stability_index,
    weights_of,
)

COUNTS = st.lists(st.integers(0, 400), min_size=1, max_size=12)


def ranks(n: int) -> list[int]:
    return [*(conformal.rank(n, e) for e in conformal.CELL_EDGES[:-1]), n + 1]


def cells_of(rng: np.random.Generator, calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """By the definition of a conformal cell, for scores whose low values are out-of-distribution."""
    n = len(calibration)
    p = (1 + (calibration[None, :] <= scores[:, None]).sum(1)) / (n + 1)
    cell = [next(k for k, e in enumerate(conformal.CELL_EDGES) if value <= e + 1e-12) for value in p]
    return np.bincount(cell, minlength=len(conformal.CELL_EDGES))


@given(pairs=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=12))
def test_the_index_is_the_one_of_the_textbook_and_never_negative(pairs: list[tuple[int, int]]) -> None:
    seen, reference = (np.array(row) for row in zip(*pairs, strict=True))
    n, m, k = seen.sum() + 0.5 * len(seen), reference.sum() + 0.5 * len(seen), len(seen)
    literal = sum(
        ((seen[i] + 0.5) / n - (reference[i] + 0.5) / m) * math.log((seen[i] + 0.5) / n / ((reference[i] + 0.5) / m))
        for i in range(k)
    )
    found = population_stability_index(seen, reference)
    assert found == pytest.approx(literal, abs=1e-12)
    assert found >= 0


@pytest.mark.parametrize("n", [60, 600, 5000])
def test_windows_of_calibrated_traffic_are_called_different_no_more_often_than_stated(n: int) -> None:
    rng = np.random.default_rng(n)
    weights, alpha, trials, false = weights_of(ranks(n), n), 0.05, 250, 0
    for _ in range(trials):
        calibration, window = rng.normal(size=n), rng.normal(size=800)
        false += compare_cells(cells_of(rng, calibration, window), weights, rng).p_value <= alpha
    assert false / trials <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / trials)


def test_a_test_that_takes_the_masses_of_the_calibration_set_for_exact_is_false_too_often() -> None:
    """Why the weights are drawn: with 600 calibration samples and large windows, chance is mostly theirs."""
    rng = np.random.default_rng(3)
    n, trials, exact, naive = 600, 300, 0, 0
    weights = np.array(weights_of(ranks(n), n))[1:]  # the first cell is empty with so few
    for _ in range(trials):
        masses = rng.dirichlet(weights + 0.0)
        window = rng.multinomial(20_000, masses)
        exact += compare_cells(window, weights, rng).p_value <= 0.05
        expected = weights / weights.sum() * window.sum()
        naive += ((window - expected) ** 2 / expected).sum() > 11.07  # chi-square, 5 degrees of freedom, .95
    assert exact / trials <= 0.09
    assert naive / trials > 0.5


@pytest.mark.parametrize(("classes", "held"), [(2, 300), (10, 2000), (300, 3000)])
def test_classes_of_calibrated_traffic_are_called_different_no_more_often_than_stated(classes: int, held: int) -> None:
    rng = np.random.default_rng(classes)
    shares, alpha, trials = rng.dirichlet(np.full(classes, 0.7)), 0.05, 150
    false = sum(
        compare_classes(rng.multinomial(1000, shares), rng.multinomial(held, shares), rng).p_value <= alpha
        for _ in range(trials)
    )
    assert false / trials <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / trials)


def test_the_p_value_of_two_classes_is_that_of_the_hypergeometric_distribution() -> None:
    seen, reference = np.array([60, 140]), np.array([200, 600])
    found = compare_classes(seen, reference, np.random.default_rng(0)).p_value
    law = hypergeom(1000, 260, 200)
    at = np.arange(0, 201)
    window = np.array([at, 200 - at]).T
    index = population_stability_index(window, seen + reference - window)
    exact = sum(law.pmf(k) for k in at if index[k] >= index[60] * (1 - 1e-12))
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / SIMULATIONS) + 1 / SIMULATIONS)


@pytest.mark.parametrize("shift", [0.0, -0.6, -2.0])
def test_scores_that_sink_are_seen_and_their_size_grows(shift: float) -> None:
    rng = np.random.default_rng(7)
    n = 5000
    seen = cells_of(rng, rng.normal(size=n), shift + rng.normal(size=5000))
    found = compare_cells(seen, weights_of(ranks(n), n), rng)
    if shift:
        assert found.p_value == 1 / (1 + SIMULATIONS)
        assert found.size > (0.1 if shift < -1 else 0.02)
    else:
        assert found.p_value > 0.01
        assert found.size < 0.01


@given(seen=COUNTS, data=st.data())
def test_what_is_put_together_loses_no_input_and_leaves_no_rare_cell(seen: list[int], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(0, 300), min_size=len(seen), max_size=len(seen)))
    a, e = _neighbours_together(np.array(seen), np.array(weights))
    assert (a.sum(), e.sum()) == (sum(seen), sum(weights))
    share = min(1.0, sum(seen) / max(1, sum(weights)))
    assert len(e) == 1 or (e * share >= LEAST - 1e-9).all()
    other = data.draw(st.permutations(seen))
    assert len(_neighbours_together(np.array(other), np.array(weights))[1]) == len(e), "what was seen has no say in it"


@given(seen=COUNTS, data=st.data())
def test_rare_classes_become_one_and_no_input_is_lost(seen: list[int], data: st.DataObject) -> None:
    reference = data.draw(st.lists(st.integers(0, 300), min_size=len(seen), max_size=len(seen)))
    a, e = _rare_together(np.array(seen), np.array(reference))
    assert (a.sum(), e.sum()) == (sum(seen), sum(reference))


@given(seen=st.lists(st.integers(0, 3), min_size=1, max_size=7), data=st.data())
def test_few_samples_are_compared_without_an_error_and_tell_nothing(seen: list[int], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(0, 2), min_size=len(seen), max_size=len(seen)))
    rng = np.random.default_rng(0)
    for found in (compare_cells(seen, weights, rng), compare_classes(seen, weights, rng)):
        assert 0 < found.p_value <= 1
        assert found.size >= 0


def test_the_budget_is_shared_by_both_comparisons_of_every_window() -> None:
    assert allowed(20_000, 1e6) == pytest.approx(0.01)
    assert allowed(10**9, 1e6) == 1.0


def test_ranks_that_do_not_end_at_one_more_than_the_samples_are_refused() -> None:
    assert weights_of([0, 3, 11], 10) == (0, 3, 8)
    with pytest.raises(ValueError, match="rise to 11"):
        weights_of([0, 3, 10], 10)


# -- the numbers themselves --------------------------------------------------------------------------------------------


def literal_difference(found: float, chance: list[float], parts: int) -> Difference:
    """The size less the mean of what chance makes, and the share of simulations at least as far, one counted more."""
    beyond = sum(c >= found * (1 - 1e-12) for c in chance)
    return Difference(max(0.0, found - sum(chance) / len(chance)), (1 + beyond) / (1 + len(chance)), parts)


def close(a: Difference, b: Difference) -> bool:
    return (a.size, a.p_value, a.parts) == pytest.approx((b.size, b.p_value, b.parts), rel=1e-9)


@pytest.mark.parametrize("seen", [[8, 20, 12], [3, 10, 27]])
def test_cells_are_compared_with_windows_drawn_from_masses_that_are_drawn_themselves(seen: list[int]) -> None:
    window, weights, rng = np.array(seen), np.array([15, 20, 65]), np.random.default_rng(5)
    drawn = [rng.multinomial(40, masses) for masses in rng.dirichlet(weights + 0.0, SIMULATIONS)]
    chance = [float(population_stability_index(w, weights)) for w in drawn]
    expected = literal_difference(float(population_stability_index(window, weights)), chance, 3)
    assert close(compare_cells(seen, weights.tolist(), np.random.default_rng(5)), expected)


@pytest.mark.parametrize("seen", [[8, 20, 12], [20, 10, 10]])
def test_classes_are_compared_with_every_way_to_part_both_sets(seen: list[int]) -> None:
    window, held, rng = np.array(seen), np.array([20, 40, 40]), np.random.default_rng(6)
    drawn = rng.multivariate_hypergeometric(window + held, 40, size=SIMULATIONS, method="marginals")
    chance = [float(population_stability_index(w, window + held - w)) for w in drawn]
    expected = literal_difference(float(population_stability_index(window, held)), chance, 3)
    assert close(compare_classes(seen, held.tolist(), np.random.default_rng(6)), expected)


def test_what_falls_into_one_part_is_not_compared() -> None:
    rng = np.random.default_rng(0)
    assert compare_cells([3, 1], [4, 5], rng) == Difference(0.0, 1.0, 1)
    assert compare_classes([3, 1], [1, 2], rng) == Difference(0.0, 1.0, 1)
    assert (compare_cells([5, 5], [5, 5], rng).parts, compare_classes([5, 5], [5, 5], rng).parts) == (2, 2)


@pytest.mark.parametrize(
    ("seen", "weights", "joined"),
    [
        ([1, 2, 12], [5, 5, 5], ([1, 2, 12], [5, 5, 5])),  # of each 5 are expected: enough
        ([1, 2, 11], [5, 5, 4], ([1, 13], [5, 9])),  # the last one is joined to its neighbour
        ([1, 2, 27], [4, 5, 6], ([3, 27], [9, 6])),  # more than the weights: as many as these are expected
        ([1, 2, 4], [5, 5, 4], ([7], [14])),  # half of the weights is expected
        ([4, 4, 20], [10, 10, 36], ([4, 4, 20], [10, 10, 36])),
        ([0, 0], [0, 0], ([0], [0])),
        ([9, 0, 9], [9, 0, 9], ([9, 9], [9, 9])),
    ],
)
def test_neighbours_are_joined_until_five_are_expected(seen: list, weights: list, joined: tuple) -> None:
    found = _neighbours_together(np.array(seen), np.array(weights))
    assert tuple(part.tolist() for part in found) == joined


@pytest.mark.parametrize(
    ("seen", "reference", "joined"),
    [
        ([5, 5], [5, 5], ([5, 5], [5, 5])),  # 5 of each are expected in the smaller set: enough
        ([4, 6], [5, 5], ([6, 4], [5, 5])),  # 4.5 and 5.5
        ([1, 9, 1, 9], [2, 40, 3, 35], ([9, 9, 2], [40, 35, 5])),
        ([30, 70], [4, 6], ([30, 70], [4, 6])),  # a single rare class has none to be put to
        ([20, 20, 60], [3, 3, 4], ([40, 60], [6, 4])),  # of the smaller set, whichever it is
    ],
)
def test_classes_of_which_fewer_than_five_are_expected_become_one(seen: list, reference: list, joined: tuple) -> None:
    found = _rare_together(np.array(seen), np.array(reference))
    assert sorted(zip(*(part.tolist() for part in found), strict=True)) == sorted(zip(*joined, strict=True))


@pytest.mark.parametrize("ranks", [[0, 3, 2, 11], [0, 3, 10], [0, 3, 12], [-1, 11]])
def test_ranks_that_fall_or_end_elsewhere_are_refused_in_a_whole_sentence(ranks: list[int]) -> None:
    message = f"ranks {tuple(ranks)} given, expected some that rise to 11"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        weights_of(ranks, 10)
    assert weights_of([0, 0, 11], 10) == (0, 0, 11)
