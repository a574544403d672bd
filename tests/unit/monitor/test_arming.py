"""A replay of past traffic, judged before the monitor is armed on it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.math import nulls
from monitor.math.arming import judge
from monitor.math.flag_order import FlagOrder
from monitor.math.fold import fold
from monitor.math.state import Bucket, MonitorState
from monitor.service.replaying import report
from tests.unit.monitor.alert_streams import bucket, law, rules, run, surge


def calm(mass: np.ndarray, *, buckets: int = 200, size: int = 100, seed: int = 0, classes: int = 2) -> list[Bucket]:
    rng = np.random.default_rng(seed)
    return [bucket(i, {("a", c): rng.multinomial(size, mass) for c in range(classes)}) for i in range(buckets)]


def order_of(flags: np.ndarray) -> dict[str, FlagOrder]:
    return {"a": FlagOrder().then(flags)}


def test_id_traffic_may_be_armed_and_its_rates_are_told() -> None:
    judged = judge(calm(law(0), seed=1), rules(), order_of(np.random.default_rng(1).random(40_000) < 0.05))
    whole = judged.rates[0]
    assert judged.arm
    assert list(report.warnings(judged)) == []
    assert (whole.stream, whole.label, whole.samples) == ("a", None, 40_000)
    assert whole.low < 0.05 < whole.high
    assert [r.label for r in judged.rates] == [None, 0, 1]
    assert judged.affordable == pytest.approx(0.4)
    assert report.lines(judged)[-1] == "may be armed"


def test_traffic_that_breaks_the_calibration_is_refused_and_says_by_how_much() -> None:
    """6 % are flagged where the calibration allows 5 %."""
    stale = law(0).copy()
    stale[:5] *= 1.2
    stale[6] = 1 - stale[:6].sum()
    judged = judge(calm(stale), rules())
    assert not judged.arm
    expected = float(stale @ np.array(nulls.ratios(rules().nulls.steps))) - 1
    assert judged.rates[0].bet == pytest.approx(expected, abs=0.03)
    assert "stream 'a' breaks the calibration" in next(report.refusals(judged))
    assert "are flagged, 5.00% are allowed" in next(report.refusals(judged))


def test_within_its_margin_a_stale_rate_is_no_breach() -> None:
    slightly = law(0).copy()
    slightly[:5] *= 1.01
    slightly[6] = 1 - slightly[:6].sum()
    how = replace(rules(), nulls=nulls.pooled(2000))
    assert judge(calm(slightly), how).arm


def test_refusal_of_traffic_within_the_calibration_is_rare() -> None:
    refused = sum(not judge(calm(law(0), buckets=20, seed=s), rules()).arm for s in range(150))
    assert refused <= 6  # 1.5 expected at most


def test_a_surge_in_the_replay_is_shown_and_suggests_no_budget() -> None:
    buckets = surge(3, contamination=0.5)
    judged = judge(buckets, rules())
    _, said = run(buckets, rules())
    assert list(judged.transitions) == said
    assert judged.quiet_requests == math.inf
    assert not judged.arm
    assert any("no budget" in line for line in report.lines(judged))


def test_suggested_budget_keeps_the_replayed_traffic_quiet() -> None:
    mild = surge(2, contamination=0.1, before=30, during=3, after=30)
    judged = judge(mild, rules(200))
    assert 200 < judged.quiet_requests < math.inf
    assert judged.suggested_requests >= judged.quiet_requests
    _, said = run(mild, rules(judged.suggested_requests * 1.001))
    assert said == []
    _, louder = run(mild, rules(judged.quiet_requests * 0.999))
    assert louder[0].change == "raised"


def test_bursts_are_warned_of() -> None:
    rng, flags = np.random.default_rng(0), []
    for _ in range(20_000):
        flags.append(flags[-1] if flags and rng.random() < 0.3 else bool(rng.random() < 0.05))
    order = order_of(np.array(flags))
    judged = judge(calm(law(0)), rules(), order)
    assert order["a"].autocorrelation == pytest.approx(0.3, abs=0.03)
    assert any("comes in bursts" in w and "1 in 3" in w for w in report.warnings(judged))


@settings(deadline=None)
@given(flags=st.lists(st.booleans(), max_size=60), cut=st.integers(0, 60))
def test_flags_fed_in_pieces_equal_flags_fed_at_once(flags: list[bool], cut: int) -> None:
    assert FlagOrder().then(flags[:cut]).then(flags[cut:]) == FlagOrder().then(flags)


@settings(deadline=None)
@given(flags=st.lists(st.booleans(), min_size=3, max_size=60))
def test_autocorrelation_is_the_correlation_of_neighbours(flags: list[bool]) -> None:
    a, b = np.array(flags[:-1], dtype=float), np.array(flags[1:], dtype=float)
    got = FlagOrder().then(flags).autocorrelation
    if a.std() and b.std():
        assert got == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)
    else:
        assert got == 0


def test_a_replay_of_nothing_is_judged_without_error() -> None:
    judged = judge([], rules())
    assert judged.requests == 0
    assert report.lines(judged)


def test_replay_folds_as_the_evaluator_does() -> None:
    how, state, said = rules(), MonitorState.new(rules()), []
    for one in surge(1):
        state, changes = fold(state, one, how)
        said += changes
    assert list(judge(surge(1), how).transitions) == said
