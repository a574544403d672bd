"""What calibration sets support, against draws of calibration sets."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nulls.pooled(0), "at least 1 sample"),
        (lambda: nulls.pooled(10, risk=1.0), "risk between 0 and 1"),
        (lambda: nulls.pooled(10, "guess"), "nominal, expectation or simultaneous"),  # type: ignore[arg-type]
        (lambda: nulls.Nulls((0.5, 0.2, 1.0)), "rise to 1"),
        (lambda: nulls.Nulls((0.5, 1.0), margin=0.9), "expected 1 or more"),
    ],
)
def test_errors_say_what_is_expected(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


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
