"""Thresholds and cells from held-out ID scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from line_plugin.errors import CalibrationError
from line_plugin.math import conformal
from line_plugin.method.calibration import Calibration

scores = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=80)


@settings(deadline=None, max_examples=150)
@given(scores, scores, st.sampled_from([0.001, 0.05, 0.1, 0.33, 0.5]))
def test_below_the_cutoff_is_exactly_p_at_most_alpha(held_out: list[float], seen: list[float], alpha: float) -> None:
    ordered = torch.tensor(sorted(held_out), dtype=torch.float32)
    cut = conformal.cutoff(ordered, alpha)
    for s in seen:
        p = (1 + sum(h <= s for h in ordered.tolist())) / (len(held_out) + 1)
        assert (s < cut) == (p <= alpha + 1e-12)


@settings(deadline=None, max_examples=150)
@given(scores, scores)
def test_a_samples_cell_is_the_first_edge_its_p_value_is_within(held_out: list[float], seen: list[float]) -> None:
    calibration = Calibration.from_scores(torch.tensor(held_out))
    found = calibration.cells(torch.tensor(seen))
    p = conformal.p_values(calibration.confidence, torch.tensor(seen)).tolist()
    expected = [next(i for i, e in enumerate(conformal.CELL_EDGES) if v <= e + 1e-12) for v in p]
    assert found.tolist() == expected


@pytest.mark.parametrize("n", [1, 19, 98, 999, 12345])
def test_cell_masses_sum_to_one_and_stay_below_the_edges(n: int) -> None:
    masses = conformal.cell_masses(n)
    assert sum(masses) == pytest.approx(1)
    assert (np.cumsum(masses) <= np.array(conformal.CELL_EDGES) + 1e-12).all()


def test_the_share_of_id_samples_flagged_is_within_its_stated_interval() -> None:
    rng = np.random.default_rng(3)
    calibration = Calibration.from_scores(torch.from_numpy(rng.normal(size=2000)), tpr=0.95)
    low, high = calibration.realised_fpr()
    fresh = rng.normal(size=400_000)
    assert low < np.mean(fresh < calibration.threshold) < high


def test_at_least_the_stated_share_of_calibration_samples_is_kept() -> None:
    rng = np.random.default_rng(1)
    for n in (20, 57, 1000):
        calibration = Calibration.from_scores(torch.from_numpy(rng.normal(size=n)), tpr=0.9)
        assert np.mean(calibration.confidence.numpy() >= calibration.threshold) >= 0.9


def test_too_few_samples_flag_nothing_and_say_so() -> None:
    calibration = Calibration.from_scores(torch.arange(10.0), tpr=0.95)
    assert calibration.threshold == -math.inf
    assert calibration.limits()[0] == (
        "10 samples cannot place a threshold at FPR 0.05: nothing would be flagged; it takes at least 19."
    )
    assert conformal.rank(19, 0.05) == 1
    assert conformal.rank(18, 0.05) == 0


def test_limits_name_empty_cells_and_ties() -> None:
    said = " ".join(Calibration.from_scores(torch.ones(500)).limits())
    assert "the cell p <= 0.001 takes 999 samples" in said
    assert "499 of 500 scores are ties" in said


@pytest.mark.parametrize(
    ("values", "tpr", "message"),
    [([], 0.95, "no calibration score"), ([1.0, math.nan], 0.95, "1 NaN or Inf among 2"), ([1.0], 1.0, "tpr 1.0")],
)
def test_unusable_calibration_is_refused(values: list[float], tpr: float, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        Calibration.from_scores(torch.tensor(values), tpr)
