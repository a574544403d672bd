"""Quantiles of the beta distribution, against those of scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, betaincinv

from line_plugin.math import beta


@pytest.mark.parametrize("largest", [10.0, 1e3, 1e5, 1e7])
def test_quantiles_are_those_of_scipy_in_both_tails_and_between(largest: float) -> None:
    rng = np.random.default_rng(int(largest))
    a, b = 10 ** rng.uniform(0, math.log10(largest), (2, 2000))
    middle, tail = rng.random(2000), 10 ** rng.uniform(-9, -1, 2000)
    for p in (middle, tail, 1 - tail):
        np.testing.assert_allclose(beta.quantile(a, b, p), betaincinv(a, b, p), rtol=1e-11)


def test_fewer_than_one_sample_leaves_eight_digits() -> None:
    rng = np.random.default_rng(0)
    a, b, p = rng.uniform(0.5, 1, 2000), 10 ** rng.uniform(0, 5, 2000), rng.uniform(1e-6, 1 - 1e-6, 2000)
    np.testing.assert_allclose(beta.quantile(a, b, p), betaincinv(a, b, p), rtol=1e-8)


@given(
    n=st.integers(1, 2_000_000),
    share=st.floats(0, 1),
    p=st.floats(1e-9, 1 - 1e-9),
)
def test_a_quantile_of_counts_has_the_mass_below_it_that_was_asked_for(n: int, share: float, p: float) -> None:
    m = round(share * (n - 1)) + 1
    x = beta.quantile(m, n + 1 - m, p)
    assert 0 <= x <= 1
    if 1e-6 < x < 1 - 1e-6:  # else the mass hangs on digits that the point itself has not
        assert float(betainc(m, n + 1 - m, x)) == pytest.approx(p, rel=1e-8)


def test_one_sample_and_none_of_it_flagged_have_the_closed_form() -> None:
    for p in (0.025, 0.5, 0.975):
        assert beta.quantile(1, 1, p) == pytest.approx(p, rel=1e-14)
        assert beta.quantile(1, 50, p) == pytest.approx(1 - (1 - p) ** (1 / 50), rel=1e-13)
        assert beta.quantile(50, 1, p) == pytest.approx(p ** (1 / 50), rel=1e-14)


def test_scalars_give_a_float_and_arrays_are_broadcast() -> None:
    assert type(beta.quantile(2, 3, 0.1)) is float
    found = beta.quantile([[1.0], [2.0]], [3.0, 4.0, 5.0], 0.3)
    assert found.shape == (2, 3)
    assert found[1, 2] == beta.quantile(2, 5, 0.3)
    assert beta.quantile([], [], 0.5).shape == (0,)


def test_many_probabilities_of_one_law_are_found_together() -> None:
    p = np.array([[0.1, 0.5], [0.9, 0.99]])
    assert beta.quantile(2, 3, p) == pytest.approx(betaincinv(2, 3, p))
