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


@settings(max_examples=80, deadline=None)
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


# -- buckets of any length, with pauses between them, some of them late -----------------------------------------------


spans = st.lists(
    st.tuples(st.integers(-6, 12), st.integers(1, 9), st.lists(st.integers(0, 3), min_size=CELLS, max_size=CELLS)),
    min_size=1,
    max_size=6,
)


def at_times(drawn: list[tuple[int, int, list[int]]]) -> list[tuple[float, float, list[int]]]:
    """``(start, end, counts)`` from waits, lengths and counts; a wait below 0 is a bucket that comes late."""
    out, clock = [], 20.0
    for wait, length, counts in drawn:
        start = clock + wait
        out.append((start, start + length, [counts[0] + 1, *counts[1:]]))
        clock = max(clock, start + length)
    return out


@settings(deadline=None, max_examples=50)
@given(drawn=spans)
def test_buckets_equal_the_literal_sum_whatever_their_length_and_the_pauses_between_them(
    drawn: list[tuple[int, int, list[int]]],
) -> None:
    buckets, state = at_times(drawn), Evidence.empty(1)
    for start, end, counts in buckets:
        state = ev.update(state, np.array([0]), np.array([counts]), BETS, start=start, end=end, flag_cells=4)
    for i, c in enumerate(CONTAMINATIONS):
        m, *since = literal.of_buckets(buckets, CELL_EDGES, c, 4)
        assert math.exp(state.log_m[0, i]) == pytest.approx(m, rel=1e-9)
        assert state.since[0, i] == pytest.approx(since, rel=1e-6)
    expected = literal.rhythm([(start, end) for start, end, _ in buckets])
    assert (state.seen_at[0], state.heard[0], state.gap[0]) == pytest.approx(expected, rel=1e-12)


def test_the_gap_is_the_mean_of_the_first_hundred_waits_and_then_follows_the_last_hundred() -> None:
    every = [(10.0 * i, 10.0 * i + (9 if i < 102 else 4)) for i in range(140)]
    state, found = Evidence.empty(1), []
    for start, end in every:
        state = ev.update(state, np.array([0]), one_hot([6]), BETS, start=start, end=end, flag_cells=5)
        found.append(float(state.gap[0]))
    assert found == pytest.approx([literal.rhythm(every[: i + 1])[2] for i in range(140)], rel=1e-12)
    assert (found[0], found[1], found[102]) == (0.0, 1.0, 1.0)
    assert found[103] == pytest.approx(1.05), "a hundredth of the way from 1 to 6"


# -- what is read off it -----------------------------------------------------------------------------------------------


def of_logs(*log_m: list[float]) -> Evidence:
    """Keys whose columns have this evidence; ``since`` tells key and column."""
    since = np.arange(np.array(log_m).size * 3, dtype=float).reshape(len(log_m), -1, 3)
    nothing = np.zeros(len(log_m))
    return Evidence(np.array(log_m), since, nothing, nothing, nothing)


def test_nothing_seen_is_no_evidence_in_any_column() -> None:
    none = Evidence.empty(2, 3)
    assert (len(none), len(Evidence.empty())) == (2, 0)
    assert (none.log_m == np.full((2, 3), -np.inf)).all()
    assert (none.since == np.zeros((2, 3, 3))).all()
    assert [v.tolist() for v in (none.seen_at, none.heard, none.gap)] == [[0.0, 0.0]] * 3
    with np.errstate(divide="raise"):
        assert none.log_mean().tolist() == [-math.inf] * 2, "and no warning says so"


def test_the_mean_runs_over_all_columns_and_stays_exact_far_from_zero() -> None:
    state = of_logs([0.0, math.log(3)], [-math.inf, math.log(8)], [-800.0, -800.0], [800.0, 800.0 + math.log(5)])
    assert state.log_mean() == pytest.approx([math.log(2), math.log(4), -800.0, 800.0 + math.log(3)], rel=1e-12)


def test_weights_are_the_shares_of_the_evidence_of_one_key() -> None:
    state = of_logs([0.0, math.log(3), -math.inf, math.log(4)], [900.0, 900.0 + math.log(2), 0.0, 0.0], [-math.inf] * 4)
    assert state.weights(0) == pytest.approx([1 / 8, 3 / 8, 0, 4 / 8])
    assert state.weights(0, slice(0, 2)) == pytest.approx([1 / 4, 3 / 4])
    assert state.weights(1, slice(0, 2)) == pytest.approx([1 / 3, 2 / 3])
    assert state.weights(2).tolist() == [0.25] * 4, "flat if there is none"


def test_the_leader_holds_most_of_the_evidence_though_another_has_the_best_column() -> None:
    state = of_logs(
        [0.0, 0.0, math.log(4), math.log(4), math.log(6), -math.inf], [math.log(9), 0.0, 0.0, 0.0, 0.0, 0.0]
    )
    assert (state.leader(0, 3), state.leader(1, 3)) == (1, 0)
    assert state.leader(0, 2) == 1


def test_the_time_of_the_change_is_that_of_the_column_with_most_evidence() -> None:
    state = of_logs([0.0, 5.0, 1.0, 2.0], [3.0, 0.0, 0.0, 9.0])
    assert state.since_change(0).tolist() == state.since[0, 1].tolist()
    assert state.since_change(0, slice(2, 4)).tolist() == state.since[0, 3].tolist()
    assert state.since_change(1, slice(0, 2)).tolist() == state.since[1, 0].tolist()


FIELDS = ("log_m", "since", "seen_at", "heard", "gap")


def three_keys() -> Evidence:
    state, counts = Evidence.empty(3), np.arange(1, 22).reshape(3, CELLS)
    for start in (10.0, 30.0):
        state = ev.update(state, np.arange(3), counts, BETS, start=start, end=start + 7, flag_cells=5)
    return ev.update(state, np.array([1]), counts[:1], BETS, start=50.0, end=51.0, flag_cells=5)


def test_room_for_more_keys_leaves_the_old_ones_and_adds_empty_ones() -> None:
    before = three_keys()
    after = before.grown(5)
    assert len(after) == 5
    for name in FIELDS:
        own, empty = getattr(before, name), getattr(Evidence.empty(2), name)
        assert getattr(after, name).tobytes() == own.tobytes() + empty.tobytes(), name
    assert Evidence.empty(1, 14).grown(2).log_m.shape == (2, 14)


def test_keys_are_taken_with_all_that_belongs_to_them() -> None:
    before = three_keys()
    some = ev.taken(before, np.array([2, 1]))
    for name in FIELDS:
        assert getattr(some, name).tolist() == getattr(before, name)[[2, 1]].tolist(), name


def test_a_reset_takes_the_evidence_of_its_keys_alone_and_not_their_rhythm() -> None:
    before = three_keys()
    after = ev.reset(before, [1])
    assert np.isneginf(after.log_m[1]).all()
    assert not after.since[1].any()
    for name in FIELDS:
        kept = [0, 2] if name in ("log_m", "since") else [0, 1, 2]
        assert getattr(after, name)[kept].tolist() == getattr(before, name)[kept].tolist(), name


def test_bets_are_the_literal_ones_divided_by_the_margin() -> None:
    wider = nulls.Nulls(CELL_EDGES, margin=1.25)
    for contaminations in (CONTAMINATIONS, (0.3,)):
        plain = np.array([literal.bets(CELL_EDGES, c) for c in contaminations])
        np.testing.assert_allclose(np.exp(ev.log_bets(KNOWN, contaminations)), plain, rtol=1e-12)
        shares = np.array(contaminations)[:, None]
        expected = 1 - shares + (plain - 1 + shares) / 1.25
        np.testing.assert_allclose(np.exp(ev.log_bets(wider, contaminations)), expected, rtol=1e-12)
