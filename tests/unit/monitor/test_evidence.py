"""The evidence against its literal reading, and the property that its guarantee rests on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from line_plugin.math.conformal import CELL_EDGES
from monitor.math import evidence as ev
from monitor.math import nulls
from monitor.math.evidence import CONTAMINATIONS, Evidence
from tests.oracle import literal_evidence as literal

KNOWN = nulls.known(CELL_EDGES)
BETS = ev.log_bets(KNOWN)
CELLS = len(CELL_EDGES)
streams = st.lists(st.integers(0, CELLS - 1), min_size=1, max_size=60)


def one_hot(cells: list[int]) -> np.ndarray:
    return np.eye(CELLS, dtype=np.int64)[cells]


def folded(buckets: list[np.ndarray]) -> Evidence:
    """One key, one bucket of unit length after another."""
    state = Evidence.empty(1)
    for i, counts in enumerate(buckets):
        state = ev.update(state, np.array([0]), counts[None], BETS, start=i, end=i + 1, flag_cells=5)
    return state


@settings(deadline=None)
@given(cells=streams)
def test_buckets_of_one_equal_the_sum_over_all_moments_of_change(cells: list[int]) -> None:
    state = folded(list(one_hot(cells)))
    expected = [literal.shiryaev_roberts(cells, CELL_EDGES, c) for c in CONTAMINATIONS]
    np.testing.assert_allclose(np.exp(state.log_m[0]), expected, rtol=1e-9)
    assert float(np.exp(state.log_mean()[0])) == pytest.approx(np.mean(expected), rel=1e-9)


@settings(deadline=None)
@given(cells=streams)
def test_counts_since_the_change_equal_their_posterior_mean(cells: list[int]) -> None:
    state = folded(list(one_hot(cells)))
    for i, c in enumerate(CONTAMINATIONS):
        expected = literal.since_change(cells, CELL_EDGES, c, flag_cells=5)
        assert state.since[0, i, ev.SAMPLES] == pytest.approx(expected[0], rel=1e-6)
        assert state.since[0, i, ev.FLAGGED] == pytest.approx(expected[1], rel=1e-6)
        assert state.since[0, i, ev.SECONDS] == pytest.approx(expected[0], rel=1e-6)  # one sample a second here


@settings(deadline=None)
@given(cells=streams, seed=st.integers(0, 99), parts=st.integers(1, 5))
def test_a_bucket_takes_its_samples_in_any_order_and_from_any_number_of_workers(
    cells: list[int], seed: int, parts: int
) -> None:
    whole = one_hot(cells).sum(axis=0)
    shuffled = np.random.default_rng(seed).permutation(cells)
    merged = sum(one_hot(list(part)).sum(axis=0) for part in np.array_split(shuffled, parts) if len(part))
    np.testing.assert_array_equal(folded([whole]).log_m, folded([np.asarray(merged)]).log_m)


@settings(deadline=None)
@given(cells=streams)
def test_one_bucket_of_n_adds_n_moments_of_change_before_the_products(cells: list[int]) -> None:
    state = folded([one_hot(cells).sum(axis=0)])
    for i, c in enumerate(CONTAMINATIONS):
        product = math.prod(literal.bets(CELL_EDGES, c)[k] for k in cells)
        assert math.exp(state.log_m[0, i]) == pytest.approx(len(cells) * product, rel=1e-9)


def test_many_keys_at_once_equal_one_at_a_time_and_leave_the_others_alone() -> None:
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 9, (6, 50, CELLS)) + 1
    together, alone = Evidence.empty(60), [Evidence.empty(1) for _ in range(50)]
    for t, bucket in enumerate(counts):
        together = ev.update(together, np.arange(50), bucket, BETS, start=t, end=t + 1, flag_cells=5)
        for i in range(50):
            alone[i] = ev.update(alone[i], np.array([0]), bucket[i : i + 1], BETS, start=t, end=t + 1, flag_cells=5)
    np.testing.assert_allclose(together.log_m[:50], np.concatenate([a.log_m for a in alone]), rtol=1e-12)
    np.testing.assert_allclose(together.since[:50], np.concatenate([a.since for a in alone]), rtol=1e-9)
    assert np.isneginf(together.log_m[50:]).all()


def test_a_table_for_each_row_equals_one_table_for_all() -> None:
    counts = np.arange(1, 22).reshape(3, CELLS)
    kwargs = {"start": 0.0, "end": 1.0, "flag_cells": 5}
    one = ev.update(Evidence.empty(3), np.arange(3), counts, BETS, **kwargs)
    each = ev.update(Evidence.empty(3), np.arange(3), counts, np.stack([BETS] * 3), **kwargs)
    np.testing.assert_allclose(one.log_m, each.log_m, rtol=1e-12)


def test_raises_at_the_samples_the_literal_reading_raises_at() -> None:
    rng = np.random.default_rng(7)
    cells = [*rng.choice(CELLS, 300, p=KNOWN.masses), *rng.choice(CELLS, 300, p=[0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.3])]
    expected = literal.raises(cells, CELL_EDGES, CONTAMINATIONS, 1e4)
    state, got = Evidence.empty(1), []
    for i, row in enumerate(one_hot(cells)):
        state = ev.update(state, np.array([0]), row[None], BETS, start=i, end=i + 1, flag_cells=5)
        if state.log_mean()[0] >= math.log(1e4):
            got.append(i)
            state = ev.reset(state, [0])
    assert got == expected
    assert len(got) > 3


def test_update_and_reset_leave_the_state_they_were_given() -> None:
    before = folded([np.ones(CELLS, dtype=np.int64)])
    kept = before.log_m.copy(), before.since.copy()
    after = ev.update(before, np.array([0]), np.ones((1, CELLS), dtype=np.int64), BETS, start=1, end=2, flag_cells=5)
    ev.reset(after, [0])
    np.testing.assert_array_equal(before.log_m, kept[0])
    np.testing.assert_array_equal(before.since, kept[1])
    assert np.isfinite(after.log_m).all()


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(1, 5000),
    shift=st.lists(st.floats(0, 1), min_size=CELLS - 1, max_size=CELLS - 1),
    rule=st.sampled_from(["nominal", "expectation", "simultaneous"]),
)
def test_expected_bet_is_at_most_one_for_every_id_law_within_the_bounds(n: int, shift: list[float], rule: str) -> None:
    """Ties and discrete scores move cumulative mass below the steps, by any amount at any step."""
    known = nulls.pooled(n, rule)  # type: ignore[arg-type]
    cumulative = np.maximum.accumulate([s * f for s, f in zip(known.steps[:-1], shift, strict=True)])
    law = np.diff([0.0, *np.minimum(cumulative, known.steps[:-1]), 1.0])
    assert (law >= -1e-12).all()
    assert (np.exp(ev.log_bets(known)) @ law <= 1 + 1e-9).all()


def test_evidence_of_strong_counts_stays_finite() -> None:
    state = folded([np.array([10**7, 0, 0, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 0, 0, 10**8])])
    assert np.isfinite(state.log_m).all()
    assert np.isfinite(state.since).all()
