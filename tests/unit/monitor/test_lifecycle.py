"""An alert from raise to resolve."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from line_plugin.math.conformal import CELL_EDGES
from monitor.math import evidence as ev
from monitor.math import lifecycle as lc
from monitor.math import nulls
from monitor.math.intervals import interval
from monitor.math.lifecycle import Alert, AlertRules
from tests.oracle import literal_evidence as literal
from tests.unit.monitor.alert_streams import law

BETS = ev.log_bets(nulls.known(CELL_EDGES))
ALERT = Alert(stream="a", kind="ood", bucket=3, raised_at=40.0, onset_at=31.0, bet=4)
ONE_HOT = np.eye(7, dtype=np.int64)


@settings(deadline=None)
@given(cells=st.lists(st.integers(0, 6), max_size=80), bet=st.integers(2, 5))
def test_downward_cusum_sample_by_sample_equals_the_literal_one(cells: list[int], bet: int) -> None:
    alert, got = ALERT, []
    for k in cells:
        alert = lc.advanced(alert, ONE_HOT[k][None], BETS[bet][None], 5)
        got.append(alert.cusum)
    np.testing.assert_allclose(got, literal.down_cusum(cells, CELL_EDGES, ev.CONTAMINATIONS[bet]), atol=1e-9)
    assert alert.samples == len(cells)
    assert alert.flagged == sum(k < 5 for k in cells)


@settings(deadline=None)
@given(cusum=st.floats(0, 20))
def test_no_input_moves_no_alert(cusum: float) -> None:
    alert = replace(ALERT, cusum=cusum)
    assert lc.advanced(alert, np.zeros((0, 7), dtype=np.int64), BETS[:0], 5) == alert
    assert lc.advanced(alert, np.zeros((1, 7), dtype=np.int64), BETS[4][None], 5).cusum == cusum


@pytest.mark.parametrize("bet", [2, 3, 4])
def test_inverse_bet_is_fair_for_every_law_at_the_held_flag_rate(bet: int) -> None:
    """What the resolve guarantee asks, at the worst law and at random ones."""
    rate = lc.held_rate(BETS[bet], 5)
    inverse = np.exp(-BETS[bet])
    worst = np.zeros(7)
    worst[4], worst[6] = rate, 1 - rate
    assert inverse @ worst == pytest.approx(1.0)
    rng = np.random.default_rng(bet)
    for _ in range(200):
        share = rng.uniform(rate, 1)
        some = np.concatenate([share * rng.dirichlet(np.ones(5)), (1 - share) * rng.dirichlet(np.ones(2))])
        assert inverse @ some <= 1 + 1e-12
    assert rate < 0.2


def test_mean_time_to_a_wrong_resolve_is_at_least_b() -> None:
    """At the worst law the guarantee covers, B = 50: 2,000 alerts, each followed until it resolves."""
    bet, log_b, rng = 4, math.log(50), np.random.default_rng(11)
    rate = lc.held_rate(BETS[bet], 5)
    steps = -BETS[bet][[4, 6]]
    s, time, alive = np.zeros(2000), np.zeros(2000), np.ones(2000, dtype=bool)
    while alive.any():
        flagged = rng.random(int(alive.sum())) < rate
        s[alive] = np.maximum(0.0, s[alive] + np.where(flagged, steps[0], steps[1]))
        time[alive] += 1
        alive &= s < log_b
    assert time.mean() - 4 * time.std() / math.sqrt(2000) >= 50


@pytest.mark.parametrize(("contamination", "bet"), [(0.01, 2), (0.05, 4), (0.2, 4), (0.5, 4)])
def test_typical_surges_are_held_far_below_that_rate(contamination: float, bet: int) -> None:
    """OOD scores 2.49 standard deviations out: 1 / e is fair at the contaminations that are promised."""
    assert np.exp(-BETS[bet]) @ law(contamination) <= 1


def test_resolves_at_log_b() -> None:
    rules = AlertRules(resolve_after=1000)
    assert not lc.is_over(replace(ALERT, cusum=math.log(1000) - 1e-9), rules)
    assert lc.is_over(replace(ALERT, cusum=math.log(1000)), rules)
    assert not lc.is_over(replace(ALERT, kind="silence", cusum=99.0), rules)


@settings(deadline=None)
@given(n=st.integers(1, 5000), share=st.floats(0, 1), level=st.floats(0.5, 0.999))
def test_interval_is_clopper_pearson(n: int, share: float, level: float) -> None:
    k, tail = round(n * share), (1 - level) / 2
    low, high = interval(n, k, level)
    assert low == pytest.approx(beta.ppf(tail, k, n - k + 1) if k else 0.0, abs=1e-9)
    assert high == pytest.approx(beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0, abs=1e-9)
    assert low <= k / n <= high


def test_interval_without_samples_is_everything() -> None:
    assert interval(0, 0) == (0.0, 1.0)


def test_severity_needs_confidence_and_never_falls() -> None:
    rules = AlertRules(critical_rate=0.25)
    assert lc.graded(replace(ALERT, samples=8, flagged=4), rules).severity == "warning"
    critical = lc.graded(replace(ALERT, samples=800, flagged=400), rules)
    assert critical.severity == "critical"
    assert lc.graded(replace(critical, samples=8000, flagged=400), rules).severity == "critical"


def test_only_classes_above_their_own_id_rate_are_named() -> None:
    history = ((0, 200.0, 30.0), (1, 200.0, 30.0), (2, 4.0, 1.0))
    named = lc.attributed(replace(ALERT, by_class=history), [0.05, 0.14, 0.05], AlertRules())
    assert named.classes == (0,)


@pytest.mark.parametrize(
    "bad",
    [
        {"resolve_after": 1.0},
        {"resolve_contamination": (0.2, 0.1)},
        {"critical_rate": 0.0},
        {"confidence": 1.0},
        {"silence_after": 0.0},
    ],
)
def test_rules_that_mean_nothing_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match=r"expected|between"):
        AlertRules(**bad)
