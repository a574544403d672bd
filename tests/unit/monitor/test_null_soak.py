"""The soak over null samples runs the shipped evidence, counts what it raises, and would say so if it were too much."""

from __future__ import annotations

import math
from itertools import repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import null_kernel, null_soak
from benchmarks.alerting import A, law
from benchmarks.null_kernel import Keys
from line_plugin.math.conformal import CELL_EDGES
from monitor.math import evidence as ev
from monitor.math import nulls
from monitor.math.evidence import CONTAMINATIONS, Evidence
from tests.oracle import literal_evidence as literal

KNOWN = nulls.known(CELL_EDGES)


@settings(deadline=None, max_examples=30)
@given(cells=st.lists(st.sampled_from([0, 0, 1, 3, 6]), min_size=1, max_size=80), seed=st.integers(0, 99))
def test_the_compiled_rule_raises_at_the_samples_at_which_the_monitors_does(cells: list[int], seed: int) -> None:
    """Samples of four keys in any order: after each one evidence and raises are those of monitor.math.evidence."""
    table, rng = ev.log_bets(KNOWN), np.random.default_rng(seed)
    keys, belongs = Keys(table, np.tile(law(0), (4, 1)), A), rng.integers(0, 4, len(cells))
    state, raised = Evidence.empty(4), np.zeros(4, dtype=np.int64)
    for t, (cell, key) in enumerate(zip(cells, belongs.tolist(), strict=True)):
        counts = np.eye(len(CELL_EDGES), dtype=np.int64)[[cell]]
        state = ev.update(state, np.array([key]), counts, table, start=t, end=t + 1, flag_cells=5)
        hit = np.flatnonzero(state.log_mean() >= math.log(A))
        raised[hit] += 1
        state = ev.reset(state, hit)
        keys.fold(np.array([draw_of(cell)]), np.array([key], dtype=np.int32))
        np.testing.assert_array_equal(keys.raised, raised)
    np.testing.assert_allclose(np.log(np.maximum(keys.m, 1e-300)), np.maximum(state.log_m, math.log(1e-300)), rtol=1e-9)


def draw_of(cell: int) -> float:
    """A uniform draw that falls into that cell under the law of ID traffic."""
    above = law(0)[::-1][: len(CELL_EDGES) - 1 - cell].sum()
    return float(above + law(0)[cell] / 2)


@pytest.mark.parametrize("cells", [[0] * 30, [0, 6, 0, 0, 6, 1, 0, 0, 0, 3] * 6])
def test_the_compiled_rule_raises_at_the_samples_at_which_its_definition_does(cells: list[int]) -> None:
    keys, hits = Keys(ev.log_bets(KNOWN), law(0)[None], A), []
    for t, cell in enumerate(cells):
        before = keys.raised[0]
        keys.fold(np.array([draw_of(cell)]), np.zeros(1, dtype=np.int32))
        hits += [t] * int(keys.raised[0] - before)
    assert hits == literal.raises(cells, CELL_EDGES, CONTAMINATIONS, A)
    assert hits


def test_draws_fall_into_the_cells_with_the_masses_of_each_key() -> None:
    """Bets that pay only in one cell count how many samples fell there."""
    laws = np.stack([law(0), law(0.5)])
    for cell in range(len(CELL_EDGES)):
        log_bets = np.full((1, len(CELL_EDGES)), -50.0)
        log_bets[0, cell] = 0.0
        keys, n = Keys(log_bets, laws, 1.0), 200_000  # one sample there makes M = 1
        null_kernel.run([(keys, 1)], n, 2, np.random.default_rng(cell))
        np.testing.assert_allclose(keys.raised / (n / 2), laws[:, cell], atol=0.005)


def test_every_level_sees_every_sample() -> None:
    always = np.zeros((1, len(CELL_EDGES)))  # pays 1 whatever comes, so each sample raises at A = 1
    fine, coarse = (Keys(always, np.tile(law(0), (k, 1)), 1.0) for k in (6, 2))
    null_kernel.run([(fine, 1), (coarse, 3)], 5000, 6, np.random.default_rng(0))
    assert fine.raised.sum() == coarse.raised.sum() == 5000
    np.testing.assert_array_equal(fine.raised.reshape(2, 3).sum(axis=1), coarse.raised)


def test_the_level_of_a_raise_is_that_whose_evidence_passed() -> None:
    """Of ten classes that turn OOD the stream is raised; of one among much other traffic that class."""
    shape = (null_soak.STREAMS * null_soak.CLASSES, len(CELL_EDGES))
    quiet = np.zeros(shape, dtype=np.int64)
    quiet[:, -1] = 10
    loud = quiet.copy()
    loud[: null_soak.CLASSES, 0] = 20  # every class of the first stream
    found = null_soak.folded(repeat(loud, 3), 20_000)
    assert found["stream, class, everything"] == "1, 0, 0"
    one = quiet.copy()
    one[3, 0], one[:, -1] = 14, 400  # its stream has 4,000 samples a bucket
    found = null_soak.folded(repeat(one, 3), 800_000)
    assert found["stream, class, everything"] == "0, 1, 0"


def test_traffic_that_breaks_the_bound_is_reported_as_not_kept() -> None:
    masses = law(0).copy()
    masses[0], masses[-1] = 3 * masses[0], masses[-1] - 2 * masses[0]
    keys = Keys(ev.log_bets(KNOWN), np.tile(masses, (10, 1)), A)
    null_kernel.run([(keys, 1)], 3_000_000, 10, np.random.default_rng(0))
    assert null_soak.judged(int(keys.raised.sum()), 3_000_000, 3_000_000 / A)["kept"] == "no"


@pytest.mark.parametrize(("raised", "kept"), [(0, "yes"), (21, "yes"), (22, "no")])
def test_a_budget_of_ten_alerts_is_kept_by_what_chance_alone_brings_about(raised: int, kept: str) -> None:
    """Of a Poisson law of mean 10, more than 20 have probability .0016 and more than 21 have .0007."""
    assert null_soak.judged(raised, 1_000_000, 10.0)["kept"] == kept


@pytest.mark.parametrize("run", [null_soak.every_sample, null_soak.whole_fold, null_soak.drifting_amounts])
def test_the_budget_of_the_whole_fold_is_charged_for_every_level(run) -> None:
    found = run(np.random.default_rng(1), 60_000)
    assert found["samples"] >= 60_000
    assert found["affordable"] == pytest.approx(found["samples"] / A, rel=0.01)


def test_laws_of_tied_calibration_sets_are_exact() -> None:
    """Against 200,000 drawn scores: the law of cells that is simulated is that of the values."""
    values = np.arange(-4, 5.0)
    masses = null_soak._law_of_a_set(np.random.default_rng(3), 500, values)
    assert masses.sum() == pytest.approx(1)
    rng = np.random.default_rng(3)
    edges = (values[1:] + values[:-1]) / 2
    held = values[np.searchsorted(edges, rng.standard_normal(500))]
    drawn = values[np.searchsorted(edges, np.random.default_rng(9).standard_normal(200_000))]
    p = (1 + (held[:, None] <= values[None]).sum(axis=0)) / 501
    by_value = dict(zip(values.tolist(), np.searchsorted(CELL_EDGES, p, side="left").tolist(), strict=True))
    seen = np.bincount([by_value[v] for v in drawn.tolist()], minlength=7) / len(drawn)
    np.testing.assert_allclose(masses, seen, atol=0.005)
    assert math.isclose(float(masses[0]), 0.0) or masses[0] < 0.001


def test_sets_whose_bets_are_unfair_are_told_apart_from_those_that_the_rule_covers() -> None:
    """Of 400 sets of 60 about one in twenty is unfair, and those raise most of what is raised."""
    found = null_soak.with_sets(np.random.default_rng(2), 4_000_000, 60)
    raised, affordable = map(int, found["fair sets: raised, affordable"].split(", "))
    share = float(found["unfair"].rstrip("%")) / 100
    assert 0.02 < share < 0.09
    assert affordable == pytest.approx((1 - share) * found["affordable"], abs=0.6)
    assert raised < found["raised"]
    assert found["kept"] == "yes"
