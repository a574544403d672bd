"""What the figures of alerting are made by: laws, draws, rates, delays; small cases that are worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
import torch

from benchmarks import alerting, alerting_panel, calibration_size
from line_plugin.math.conformal import CELL_EDGES
from line_plugin.method.calibration import Calibration
from monitor.math import evidence as ev
from monitor.math import nulls
from monitor.math.evidence import Evidence

KNOWN = nulls.known(CELL_EDGES)
MOST, LEAST = np.eye(7)[0], np.eye(7)[6]  # laws: every sample in the cell that says most of OOD, or least
FOUR = 4  # samples of cell 0 from nothing to a raise at 1 per 100,000, see the next test


def test_four_samples_in_cell_0_raise_and_three_do_not() -> None:
    """``e_c = 1 - c + 31.62 c``, as ``sqrt(.001) / .001 = 31.62``; the statistic is the mean of ``e + ... + e^t``."""
    shares = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    bets = [1 - c + c * math.sqrt(0.001) / 0.001 for c in shares]
    three, four = (np.mean([sum(e**i for i in range(1, t + 1)) for e in bets]) for t in (3, FOUR))
    assert three < alerting.A < four
    table, state = ev.log_bets(KNOWN), Evidence.empty(2)
    raised = []
    for t in range(2 * FOUR):
        state, hit = alerting.advance(state, np.stack([MOST, LEAST]).astype(np.int64), table, t)
        raised.append(hit.tolist())
    assert raised == [[], [], [], [0], [], [], [], [0]], "every fourth sample, and what raised starts again"


# -- laws and draws ----------------------------------------------------------------------------------------------------


def test_without_ood_the_masses_are_the_differences_of_the_edges() -> None:
    assert alerting.law(0) == pytest.approx([0.001, 0.004, 0.005, 0.01, 0.03, 0.05, 0.9])


def test_four_fifths_of_ood_lie_above_the_five_per_cent_threshold() -> None:
    assert alerting.law(1)[:5].sum() == pytest.approx(0.8, abs=0.002)
    assert alerting.law(1).sum() == pytest.approx(1)


def test_a_mixed_stream_has_the_mixed_law() -> None:
    assert alerting.law(0.3) == pytest.approx(0.7 * alerting.law(0) + 0.3 * alerting.law(1))


def test_every_row_of_cuts_has_a_law_of_its_own() -> None:
    rows = np.stack([alerting.CUTS, np.full(6, -40.0)])
    assert alerting.law(0, rows)[0] == pytest.approx(alerting.law(0))
    assert alerting.law(0, rows)[1] == pytest.approx([1, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("size", [1, 30])
def test_counts_follow_the_law_of_their_row(size: int) -> None:
    rng = np.random.default_rng(0)
    assert alerting.draw(rng, size, np.eye(7)[3], 4).tolist() == [[0, 0, 0, size, 0, 0, 0]] * 4
    assert (alerting.draw(rng, size, np.eye(7), 7) == size * np.eye(7)).all()
    many = alerting.draw(rng, size, alerting.law(0), 20_000)
    assert (many.sum(axis=1) == size).all()
    assert many.mean(axis=0) / size == pytest.approx(alerting.law(0), abs=0.008)


# -- rates and their intervals -----------------------------------------------------------------------------------------


def test_no_raise_in_100_000_samples_leaves_3_7_possible() -> None:
    found = alerting.per_100k(0, 100_000)
    assert (found["per_100k"], found["low"]) == (0, 0)
    assert found["high"] == pytest.approx(-math.log(0.025), rel=1e-4)  # (1 - p)^n = .025


def test_a_rate_and_its_exact_interval() -> None:
    found = alerting.per_100k(2, 200_000)
    assert found["per_100k"] == pytest.approx(1)
    assert found["low"] == pytest.approx(0.2422 / 2, rel=1e-3)  # Garwood's limits of a Poisson count of 2
    assert found["high"] == pytest.approx(7.2247 / 2, rel=1e-3)


def test_splits_that_agree_leave_no_doubt_and_two_that_do_not_leave_all_of_it() -> None:
    rng = np.random.default_rng(0)
    assert alerting.per_100k_by_split(rng, np.array([2, 2, 2]), 1000) == {"per_100k": 200, "low": 200, "high": 200}
    found = alerting.per_100k_by_split(rng, np.array([0, 2]), 1000)  # both drawn from the first: one time in four
    assert found == {"per_100k": 100, "low": 0, "high": 200}


def test_one_noisy_split_of_many_makes_the_interval_wide() -> None:
    by_split = np.array([40, *[0] * 39])
    found = alerting.per_100k_by_split(np.random.default_rng(0), by_split, 1000)
    alike = alerting.per_100k(40, 40_000)
    assert found["per_100k"] == alike["per_100k"] == pytest.approx(100)
    assert found["low"] == 0
    assert found["high"] > 2 * alike["high"]


# -- raises and delays -------------------------------------------------------------------------------------------------


def test_raises_are_counted_for_each_row_after_the_run_in() -> None:
    rng = np.random.default_rng(0)
    raised, each = alerting.raises_by_row(rng, KNOWN, np.stack([MOST, LEAST]), 800, 2, 1)
    assert each == 400
    assert raised.tolist() == [400 / FOUR, 0]


def test_a_sample_that_is_repeated_for_ever_raises_as_often_as_its_cell_says() -> None:
    raised, _ = alerting.raises_by_row(np.random.default_rng(0), KNOWN, MOST, 400, 1, 1, repeat=1.0)
    assert raised.tolist() == [400 / FOUR]


def test_false_alerts_of_splits_are_of_splits_not_of_rows() -> None:
    laws = np.stack([MOST, MOST, LEAST, LEAST])  # two rows a split: one raises at every fourth sample, one never
    found = alerting.false_alerts_by_split(np.random.default_rng(0), KNOWN, laws, 1600, 2, 1)
    assert (found["samples"], found["raised"]) == (1600, 1600 / 2 / FOUR)
    assert found["per_100k"] == pytest.approx(1e5 / FOUR / 2)
    assert (found["low"], found["high"]) == (0, pytest.approx(1e5 / FOUR))


def test_all_rows_of_one_law_have_one_rate() -> None:
    found = alerting.false_alerts(np.random.default_rng(0), KNOWN, LEAST, 1000, 10, 1)
    assert (found["samples"], found["raised"], found["per_100k"]) == (1000, 0, 0)


def test_a_surge_of_nothing_but_cell_0_is_raised_after_four_samples() -> None:
    rng = np.random.default_rng(0)
    assert alerting.median_delay(rng, KNOWN, LEAST, MOST, 5) == FOUR
    assert alerting.median_delay(rng, KNOWN, LEAST, LEAST, 5, cap=20) == math.inf


def detector_that_fires_at(call: int) -> Callable[[float], bool]:
    calls = count(1)
    return lambda _: next(calls) == call


def test_the_delay_of_another_detector_counts_from_the_begin_of_the_surge() -> None:
    rng = np.random.default_rng(0)
    assert alerting._one_delay(detector_that_fires_at(2005), np.asarray, rng, 0.5, 10) == 5
    assert alerting._one_delay(detector_that_fires_at(2011), np.asarray, rng, 0.5, 10) == math.inf
    assert alerting._one_delay(detector_that_fires_at(7), np.asarray, rng, 0.5, 10) == math.inf, (
        "before it: not counted"
    )


def test_flags_are_scores_above_the_five_per_cent_threshold() -> None:
    assert alerting._flags(np.array([1.6, 1.7])).tolist() == [0, 1]


def test_a_table_has_the_columns_of_all_rows_and_says_what_was_not_reached(capsys: pytest.CaptureFixture[str]) -> None:
    alerting.show([{"a": 1234, "b": 0.12345}, {"a": math.inf, "c": "x"}, {"a": 100.4, "b": 2.0}])
    assert capsys.readouterr().out.splitlines() == [
        "| a | b | c |",
        "|---|---|---|",
        "| 1,234 | 0.123 |  |",
        "| not within the cap |  | x |",
        "| 100 | 2 |  |",
    ]


# -- how many calibration inputs ---------------------------------------------------------------------------------------

HUNDREDTHS = torch.arange(1, 100) / 100  # 99 scores: p-values are hundredths


def test_masses_of_uniform_scores_under_99_calibration_scores() -> None:
    """Below .01 no calibration score is lower: p = .01. Cells up to .001 and .005 cannot be reached."""
    found = calibration_size.uniform_masses(Calibration.from_scores(HUNDREDTHS))
    assert found == pytest.approx([0, 0, 0.01, 0.01, 0.03, 0.05, 0.9], abs=1e-6)


def test_a_stream_of_the_calibration_scores_themselves_has_their_shares() -> None:
    """Of 99 ranks r the p-value is (1 + r) / 100: one in (.01, .02], three in (.02, .05], five in (.05, .1]."""
    found = calibration_size.drawn_from_all(np.random.default_rng(0), 2, 99, HUNDREDTHS.numpy(), replace=False)
    assert found == pytest.approx(np.array([[0, 0, 0, 1 / 99, 3 / 99, 5 / 99, 90 / 99]] * 2))


def test_true_masses_make_a_fair_bet_and_cell_0_alone_the_largest() -> None:
    masses = np.stack([alerting.law(0), MOST, LEAST])
    fair, most, least = calibration_size.expected_bets(masses, KNOWN)
    assert fair == pytest.approx(1)
    assert most == pytest.approx(math.sqrt(0.001) / 0.001)
    assert least == pytest.approx((1 - math.sqrt(0.1)) / 0.9)
    bounded = nulls.pooled(10_000)
    assert calibration_size.expected_bets(alerting.law(0)[None], bounded)[0] < 1, "the margin leaves room"


def test_real_scores_without_ties_give_what_their_ranks_give() -> None:
    real = np.random.default_rng(1).normal(size=400)
    found = calibration_size.split_in_halves(np.random.default_rng(0), 5, 200, real)
    assert {law: masses.shape for law, masses in found.items()} == {
        "known law": (5, 7),
        "other half": (5, 7),
        "quickstart": (5, 7),
    }
    assert (found["quickstart"] == found["other half"]).all()
    assert all(masses.sum(axis=1) == pytest.approx(np.ones(5)) for masses in found.values())
    assert found["known law"].mean(axis=0) == pytest.approx(alerting.law(0), abs=0.03)


def test_the_share_of_unfair_splits_is_said_for_each_rule() -> None:
    masses = np.stack([LEAST, LEAST, MOST, MOST])
    rows = calibration_size.describe(np.random.default_rng(0), "law", masses, 200, 2, 100)
    assert [row["rule"] for row in rows] == ["expectation", "nominal"]
    for row in rows:
        assert (row["splits"], row["unfair"], row["95 %"]) == (4, "50.0%", "6.8% to 93.2%")
        assert (row["samples"], row["raised"]) == (100, 0), "simulated for the first two splits alone"


# -- experts of a panel ------------------------------------------------------------------------------------------------


def panel_cells() -> alerting_panel.Cells:
    """Two judges: of calm rows both say cell 6; of OOD rows the first says cell 0 and the second cell 6."""
    splits = alerting_panel.SPLITS
    return {"calm": np.full((splits, 3, 2), 6, np.uint8), "mnist": np.tile(np.uint8([0, 6]), (splits, 3, 1))}


def test_a_row_is_drawn_whole_and_in_the_asked_share() -> None:
    found = alerting_panel.drawn(np.random.default_rng(0), panel_cells(), "mnist", 0.25, 100)
    assert found.shape == (alerting_panel.KEYS, 100, 2)
    assert (found[..., 1] == 6).all()
    assert (found[..., 0] == 0).mean() == pytest.approx(0.25, abs=0.01)


def test_a_surge_that_one_judge_sees_is_raised_by_that_judge_and_a_little_later_by_both_apart() -> None:
    def delay(judges: list[int]) -> float:
        watching = alerting_panel.Detector(judges, 5000)
        return alerting_panel.median_delay(0, panel_cells(), watching, "mnist", 1.0, 100)

    assert delay([0]) <= delay([0, 1]) < 10
    assert delay([1]) == math.inf


def test_false_alerts_of_a_panel_are_bootstrapped_over_splits() -> None:
    cells = panel_cells()
    cells["calm"][: alerting_panel.SPLITS // 2] = 0  # calibrations that are wrong, for half of the splits
    found = alerting_panel.false_alerts(0, cells, alerting_panel.Detector([0], 5000), 50 * alerting_panel.KEYS)
    assert found["samples"] == 50 * alerting_panel.KEYS
    rate = found["per_100k"]
    assert rate == pytest.approx(found["raised"] / found["samples"] * 1e5)
    spread = 1.96 * rate / math.sqrt(alerting_panel.SPLITS)  # half of the splits have twice the rate, half have none
    assert (found["low"], found["high"]) == pytest.approx((rate - spread, rate + spread), rel=0.03)
