"""Thresholds add up to the operator's budget."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.math.budget import LEVELS, Budget, requests_in

shares = st.dictionaries(st.sampled_from(LEVELS), st.floats(0.01, 100), min_size=1)


@settings(deadline=None)
@given(requests=st.floats(1e3, 1e9), shares=shares)
def test_levels_together_spend_exactly_the_budget(requests: float, shares: dict) -> None:
    budget = Budget(requests, shares)
    assert sum(1 / budget.threshold(level) for level in LEVELS) == pytest.approx(1 / requests)


@settings(deadline=None)
@given(keys=st.lists(st.integers(1, 10**6), min_size=1, max_size=50), requests=st.floats(1e3, 1e9))
def test_any_number_of_keys_shares_one_budget(keys: list[int], requests: float) -> None:
    """Every key has the level's threshold, and the bounds n_key / A add to n / A."""
    budget = Budget(requests, {"stream": 1.0})
    assert sum(budget.spent({"stream": n}) for n in keys) == pytest.approx(sum(keys) / requests)


def test_a_level_that_is_not_watched_never_raises_and_spends_nothing() -> None:
    budget = Budget(1e5, {"stream": 1.0, "everything": 1.0})
    assert budget.threshold("class") == math.inf
    assert budget.spent({"class": 10**9}) == 0


def test_days_at_a_rate_are_requests() -> None:
    assert requests_in(7, 20) == 7 * 86_400 * 20


def test_the_words_name_budget_thresholds_and_what_is_spent() -> None:
    said = Budget(1e5, {"stream": 1.0}).words({"stream": 50_000}, requests_per_second=10)
    assert said == (
        "at most 1 false alert per 100,000 requests (2.8 hours at 10 requests/s); evidence to raise: stream 100,000; "
        "spent: 0.5 false alerts expected at most in 50,000 requests"
    )


@pytest.mark.parametrize(
    ("requests", "span"),
    [(86_400, "1.0 days"), (129_600, "1.5 days"), (86_399, "24.0 hours"), (3.2e10, "370,370.4 days")],
)
def test_the_words_give_the_budget_in_days_from_one_day_on(requests: float, span: str) -> None:
    assert f"({span} at 1 requests/s)" in Budget(requests).words(requests_per_second=1)


def test_the_words_list_every_level_and_say_that_nothing_was_seen() -> None:
    said = Budget(1e5, {"stream": 1.0, "everything": 1.0}).words({})
    assert said.endswith(
        "evidence to raise: stream 200,000, everything 200,000; spent: 0 false alerts expected at most in 0 requests"
    )


def test_a_budget_of_little_more_than_one_request_is_one() -> None:
    assert Budget(1.5, {"stream": 1.0}).threshold("stream") == 1.5


@pytest.mark.parametrize(
    ("requests", "given_shares", "message"),
    [
        (1, {"stream": 1.0}, "more than 1"),
        (math.inf, {"stream": 1.0}, "more than 1"),
        (1e5, {}, "a positive one for each"),
        (1e5, {"stream": 0.0}, "a positive one for each"),
        (1e5, {"tenant": 1.0}, "expected some of stream, class, everything"),
    ],
)
def test_budgets_that_mean_nothing_are_refused(requests: float, given_shares: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Budget(requests, given_shares)
