"""The soak over null samples runs the shipped evidence, counts what it raises, and would say so if it were too much."""

from __future__ import annotations

import math
from itertools import repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import null_soak
from benchmarks.alerting import A, advance, law, raises_by_row
from line_plugin.math.conformal import CELL_EDGES
from monitor.math import evidence as ev
from monitor.math import nulls
from monitor.math.evidence import CONTAMINATIONS, Evidence
from tests.oracle import literal_evidence as literal

KNOWN = nulls.known(CELL_EDGES)
SURGE = 0.3
"""Mass of the first cell under which every key reaches the threshold within some samples."""


@settings(deadline=None, max_examples=30)
@given(cells=st.lists(st.lists(st.sampled_from([0, 0, 1, 3, 6]), min_size=30, max_size=30), min_size=1, max_size=12))
def test_many_keys_at_once_raise_at_the_samples_at_which_each_raises_by_itself(cells: list[list[int]]) -> None:
    """The vectorised step is the evidence rule: the literal reading, one key and one sample at a time, agrees."""
    state, table, hits = Evidence.empty(len(cells)), ev.log_bets(KNOWN), [[] for _ in cells]
    for t, column in enumerate(zip(*cells, strict=True)):
        state, hit = advance(state, np.eye(len(CELL_EDGES), dtype=np.int64)[list(column)], table, t)
        for row in hit:
            hits[row].append(t)
    assert hits == [literal.raises(key, CELL_EDGES, CONTAMINATIONS, A) for key in cells]


def test_raises_of_several_keys_are_added_up_key_by_key() -> None:
    masses = np.array([SURGE, 0, 0, 0, 0, 0, 1 - SURGE])
    raised, each = raises_by_row(np.random.default_rng(0), KNOWN, masses, 40_000, 20, 1)
    assert each == 2000
    assert raised.shape == (20,)
    assert (raised > 0).all()


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
    raised, each = raises_by_row(np.random.default_rng(0), KNOWN, masses, 500_000, 500, 1)
    samples = each * 500
    assert null_soak.judged(int(raised.sum()), samples, samples / A)["kept"] == "no"


@pytest.mark.parametrize(("raised", "kept"), [(0, "yes"), (21, "yes"), (22, "no")])
def test_a_budget_of_ten_alerts_is_kept_by_what_chance_alone_brings_about(raised: int, kept: str) -> None:
    """Of a Poisson law of mean 10, more than 20 have probability .0016 and more than 21 have .0007."""
    assert null_soak.judged(raised, 1_000_000, 10.0)["kept"] == kept


@pytest.mark.parametrize("run", [null_soak.all_levels, null_soak.drifting_amounts])
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
