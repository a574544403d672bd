"""What calibration sets support, against draws of calibration sets."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta, norm

from line_plugin.math.conformal import CELL_EDGES, cell_masses
from line_plugin.method.calibration import Calibration
from monitor.math import nulls


def true_masses(cuts: np.ndarray) -> np.ndarray:
    """Cell masses of N(0, 1) confidences given the cell bounds."""
    return np.diff(norm.cdf(np.concatenate([[-np.inf], cuts])))


@pytest.mark.parametrize("n", [60, 700, 5000])
@pytest.mark.parametrize("rule", ["expectation", "simultaneous"])
def test_expected_bet_exceeds_one_for_at_most_the_stated_share_of_calibration_sets(n: int, rule: str) -> None:
    known = nulls.pooled(n, rule, risk=0.05)  # type: ignore[arg-type]
    pays = np.array(nulls.ratios(known.steps)) / known.margin
    rng = np.random.default_rng(n)
    over = 0
    for _ in range(600):
        calibration = Calibration.from_scores(torch.from_numpy(rng.standard_normal(n).astype(np.float32)))
        over += true_masses(np.array(calibration.cell_bounds())) @ pays > 1
    # 30 expected at most; 48 and more has probability 0.001.
    assert over <= 47
    if rule == "expectation":
        assert over >= 13, "the bound is exact, not merely safe"


def test_nominal_masses_are_right_on_average_and_too_low_for_about_half_of_the_calibration_sets() -> None:
    known, rng, over, total = nulls.pooled(800, "nominal"), np.random.default_rng(1), 0, np.zeros(7)
    for _ in range(400):
        calibration = Calibration.from_scores(torch.from_numpy(rng.standard_normal(800).astype(np.float32)))
        masses = true_masses(np.array(calibration.cell_bounds()))
        total += masses / 400
        over += masses @ np.array(nulls.ratios(known.steps)) > 1
    np.testing.assert_allclose(known.masses, cell_masses(800), atol=1e-12)
    np.testing.assert_allclose(total, known.masses, rtol=0.1)
    assert 120 < over < 280


def test_tied_scores_keep_the_bound() -> None:
    """Scores of 8 distinct values: the conformal cells lose mass, and no bet gains."""
    rng = np.random.default_rng(3)
    law = rng.dirichlet(np.ones(8))
    known = nulls.pooled(500)
    pays = np.array(nulls.ratios(known.steps)) / known.margin
    over = 0
    for _ in range(300):
        calibration = Calibration.from_scores(torch.from_numpy(rng.choice(8, 500, p=law).astype(np.float32)))
        cells = calibration.cells(torch.arange(8, dtype=torch.float32)).numpy()
        over += np.bincount(cells, weights=law, minlength=7) @ pays > 1 + 1e-9
    assert over <= 27  # 15 expected at most


@settings(deadline=None)
@given(n=st.integers(1, 3000), rule=st.sampled_from(["nominal", "expectation", "simultaneous"]))
def test_what_a_bet_pays_falls_with_the_cell(n: int, rule: str) -> None:
    pays = nulls.ratios(nulls.pooled(n, rule).steps)  # type: ignore[arg-type]
    assert all(a >= b - 1e-9 for a, b in pairwise(pays))
    assert min(pays) > 0


def test_margin_shrinks_with_the_calibration_set() -> None:
    margins = [nulls.pooled(n).margin for n in (200, 2000, 20_000, 200_000)]
    assert margins == sorted(margins, reverse=True)
    assert margins[-1] < 1.006


def test_a_class_without_calibration_samples_can_gather_no_evidence() -> None:
    none = nulls.of_class([0] * 7)
    assert none.steps == (1.0,) * 7
    assert nulls.ratios(none.steps) == [1.0] * 7


def test_class_bounds_hold_together_for_the_stated_share_of_draws() -> None:
    law, rng, broken = np.array([0.002, 0.008, 0.02, 0.03, 0.06, 0.1, 0.78]), np.random.default_rng(5), 0
    for _ in range(400):
        bound = nulls.of_class(rng.multinomial(300, law).tolist(), risk=0.05).steps
        broken += bool((np.cumsum(law)[:-1] > np.array(bound)[:-1]).any())
    assert broken <= 36  # 20 expected at most


def test_exactly_known_masses_are_the_edges() -> None:
    assert nulls.known(CELL_EDGES).steps == CELL_EDGES


# -- the numbers themselves --------------------------------------------------------------------------------------------


def test_the_margin_of_two_cells_is_a_quantile_of_the_beta_distribution() -> None:
    """Of 40 samples, a cut at rank 4: the mass below it is Beta(4, 37)."""
    edges, n = (0.1, 1.0), 40
    known = nulls.pooled(n, edges=edges, risk=0.1)
    first, last = nulls.ratios(known.steps)
    mass = beta.ppf(0.9, 4, 37)
    assert known.margin == pytest.approx(first * mass + last * (1 - mass), rel=1e-7)
    assert (known.samples, known.rule, known.risk) == (40, "expectation", 0.1)
    assert known.steps == (4 / 41, 1.0)


def test_the_margin_of_three_cells_is_the_quantile_of_their_dirichlet_distribution() -> None:
    pays, weights, risk = [3.0, 1.5, 0.6], [3, 5, 33], 0.05
    margin = nulls._expectation_bound(weights, pays, risk)

    def beyond(first: float) -> float:
        """P(the bet's expectation is above the margin | the mass of the first cell)."""
        rest = (margin - pays[0] * first) / (1 - first)
        return float(beta.sf((rest - pays[2]) / (pays[1] - pays[2]), weights[1], weights[2]))

    law = beta(weights[0], sum(weights[1:]))
    exceeds, _ = quad(lambda q: law.pdf(q) * beyond(q), 0, 1, limit=200)
    assert exceeds == pytest.approx(risk, abs=1e-7)


def test_a_margin_is_1_if_the_bet_is_fair_already_or_there_is_nothing_to_bet_on() -> None:
    assert nulls._expectation_bound([5, 0, 0], [2.0, 1.0, 0.5], 0.05) == 1.0
    assert nulls._expectation_bound([2, 98], [1.01, 0.5], 0.05) == 1.0
    assert nulls._expectation_bound([0, 4, 9], [9.0, 2.0, 0.5], 0.05) == pytest.approx(
        0.5 + 1.5 * beta.ppf(0.95, 4, 9), rel=1e-7
    )


def test_simultaneous_steps_are_clopper_pearson_bounds_that_share_the_risk() -> None:
    """Of 99 samples the cut at .005 has rank 0: nothing can lie below it, as no calibration sample does."""
    edges = (0.005, 0.05, 0.2, 1.0)
    known = nulls.pooled(99, "simultaneous", risk=0.06, edges=edges)
    expected = (0.0, beta.ppf(0.98, 5, 95), beta.ppf(0.98, 20, 80), 1.0)
    assert known.steps == pytest.approx(expected, rel=1e-9)
    assert (known.margin, known.samples, known.rule, known.risk) == (1.0, 99, "simultaneous", 0.06)


def test_nominal_steps_are_the_conformal_masses_and_promise_nothing() -> None:
    known = nulls.pooled(99, "nominal", edges=(0.05, 1.0))
    assert known == nulls.Nulls((0.05, 1.0), 1.0, 99, "nominal", 0.0)
    assert nulls.pooled(1, "nominal", edges=(0.5, 1.0)).steps == (0.5, 1.0), "one sample is enough"


def test_the_bounds_of_a_class_are_clopper_pearson_bounds_of_its_own_samples() -> None:
    known = nulls.of_class([2, 0, 3, 5], risk=0.06)
    expected = (beta.ppf(0.98, 3, 8), beta.ppf(0.98, 3, 8), beta.ppf(0.98, 6, 5), 1.0)
    assert known.steps == pytest.approx(expected, rel=1e-9)
    assert (known.margin, known.samples, known.rule, known.risk) == (1.0, 10, "simultaneous", 0.06)
    assert nulls.of_class([2, 0, 3, 5]).steps[0] == pytest.approx(beta.ppf(1 - 0.05 / 3, 3, 8), rel=1e-9)
    assert nulls.of_class([4, 6, 0, 0]).steps[1:] == (1.0, 1.0, 1.0), "all of them lie at or below the second cell"


def test_a_cell_without_mass_takes_what_its_neighbour_towards_ood_pays() -> None:
    half, rest = 2.0, (1 - 0.5) / 0.75
    assert nulls.ratios([0.25, 1.0]) == pytest.approx([half, rest])
    assert nulls.ratios([0.0, 0.0, 0.25, 0.25, 1.0, 1.0]) == pytest.approx([half, half, half, half, rest, rest])


def test_a_mass_that_is_exact_needs_no_margin_and_names_its_rule() -> None:
    assert nulls.known([0.25, 1]) == nulls.Nulls((0.25, 1.0), 1.0, 0, "known", 0.0)
    assert nulls.known([0.25, 1]).masses == (0.25, 0.75)
    assert nulls.Nulls((0.0, 0.0, 1.0 - 1e-10)).masses == (0.0, 0.0, 1.0 - 1e-10), "up to a rounding"


def test_several_models_share_the_highest_steps_the_largest_margin_and_the_risk() -> None:
    edges = (0.05, 0.2, 1.0)
    found = nulls.together([80, 500, 80], risk=0.06, edges=edges)
    each = [nulls.pooled(n, risk=0.02, edges=edges) for n in (80, 500)]
    steps = tuple(max(pair) for pair in zip(each[0].steps, each[1].steps, strict=True))
    pays, weights = nulls.ratios(steps), ([4, 12, 65], [25, 75, 401])
    margin = max(nulls._expectation_bound(w, pays, 0.02) for w in weights)
    assert found == nulls.Nulls(steps, margin, 80, "expectation", 0.02)
    bounded = nulls.together([80, 500], "simultaneous", risk=0.06, edges=edges)
    both = [nulls.pooled(n, "simultaneous", risk=0.03, edges=edges).steps for n in (80, 500)]
    assert bounded == nulls.Nulls(tuple(map(max, *both)), 1.0, 80, "simultaneous", 0.03)
    assert nulls.together([700]) == nulls.pooled(700)
    assert nulls.together([700, 700], "nominal", edges=edges) == nulls.pooled(700, "nominal", edges=edges)
    assert nulls.together([700, 700], risk=0.1) == nulls.pooled(700, risk=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nulls.pooled(0), "n=0, risk=0.05 given, expected at least 1 sample and a risk between 0 and 1"),
        (
            lambda: nulls.pooled(9, risk=0.0),
            "n=9, risk=0.0 given, expected at least 1 sample and a risk between 0 and 1",
        ),
        (
            lambda: nulls.pooled(9, risk=1.0),
            "n=9, risk=1.0 given, expected at least 1 sample and a risk between 0 and 1",
        ),
        (lambda: nulls.pooled(9, "guess"), "rule 'guess' given, expected nominal, expectation or simultaneous"),  # type: ignore[arg-type]
        (lambda: nulls.together([]), "no calibration set given, expected that of at least one model"),
        (lambda: nulls.Nulls(()), "steps () given, expected cumulative masses that rise to 1"),
        (
            lambda: nulls.Nulls((0.5, 0.2, 1.0)),
            "steps (0.5, 0.2, 1.0) given, expected cumulative masses that rise to 1",
        ),
        (lambda: nulls.Nulls((-0.1, 1.0)), "steps (-0.1, 1.0) given, expected cumulative masses that rise to 1"),
        (lambda: nulls.Nulls((0.1, 0.99)), "steps (0.1, 0.99) given, expected cumulative masses that rise to 1"),
        (
            lambda: nulls.Nulls((0.1, 1 + 1e-8)),
            "steps (0.1, 1.00000001) given, expected cumulative masses that rise to 1",
        ),
        (lambda: nulls.Nulls((0.5, 1.0), margin=0.99), "margin 0.99 given, expected 1 or more"),
    ],
)
def test_errors_say_what_was_given_and_what_is_expected(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


def margin_by_scipy(n: int, risk: float) -> float:
    """The same bound by QUADPACK and Brent's method."""
    from scipy.integrate import quad
    from scipy.optimize import brentq

    pays = nulls.ratios(nulls.pooled(n, "nominal").steps)
    pairs = [(w, r) for w, r in zip(nulls._weights(n, CELL_EDGES), pays, strict=True) if w]

    def exceeds(t: float) -> float:
        scale = math.sqrt(sum(a * (r - t) ** 2 for a, r in pairs))
        terms = [(a, (r - t) / scale) for a, r in pairs]

        def integrand(u: float) -> float:
            turns = sum(a * math.atan(w * u) for a, w in terms)
            return math.sin(turns) / u * math.exp(-sum(a * math.log1p((w * u) ** 2) for a, w in terms) / 2)

        return 0.5 + float(quad(integrand, 1e-15, 60, limit=500, epsabs=1e-13, epsrel=1e-12)[0]) / math.pi

    top = max(r for _, r in pairs) * (1 - 1e-9)
    return float(brentq(lambda t: exceeds(t) - risk, 1.0, top, xtol=1e-12)) if exceeds(1.0) > risk else 1.0


@pytest.mark.parametrize("n", [20, 200, 5000, 100_000])
@pytest.mark.parametrize("risk", [0.3, 0.05, 0.001])
def test_the_margin_is_the_one_that_scipys_integral_and_root_give(n: int, risk: float) -> None:
    assert nulls.pooled(n, risk=risk).margin == pytest.approx(margin_by_scipy(n, risk), rel=1e-10)
