"""A replay of past traffic, judged before the monitor is armed on it."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from monitor.math import arming, nulls
from monitor.math.arming import Arming, Rate, _rounded_up, judge
from monitor.math.flag_order import FlagOrder
from monitor.math.fold import fold
from monitor.math.intervals import interval
from monitor.math.lifecycle import Alert, Transition
from monitor.math.state import Bucket, MonitorState, Rules
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


def test_flags_begin_with_the_first_of_them_in_however_many_pieces_they_come() -> None:
    pieces = FlagOrder().then([True, False]).then([]).then([False]).then([True])
    assert pieces == FlagOrder().then([True, False, False, True]) == FlagOrder(3, 1, 1, 0, last=True, begin=True)


def test_of_no_traffic_any_budget_would_have_raised_nothing() -> None:
    judged = judge([], rules())
    assert (judged.requests, judged.rates, judged.quiet_requests) == (0, (), 1.0)


def test_each_rate_is_that_of_an_expert_and_a_class_against_its_own_null_masses() -> None:
    how = replace(rules(), class_nulls={1: nulls.of_class([1, 1, 1, 1, 1, 1, 50])}, experts=("line", "angle"))
    counts = {("a", c): np.array([0, 0, 0, 0, 2, 3, 95, 0, 0, 0, 0, 4, 6, 90]) for c in range(2)}
    judged = judge([bucket(0, counts)], how)
    assert [(r.label, r.expert, r.flagged) for r in judged.rates] == [
        (None, "line", 4), (None, "angle", 8), (0, "line", 2), (0, "angle", 4), (1, "line", 2), (1, "angle", 4),
    ]  # fmt: skip
    bets = [r.bet for r in judged.rates]
    for n, (label, expert) in enumerate([(None, 0), (None, 1), (0, 0), (0, 1), (1, 0), (1, 1)]):
        own = how.nulls_of(label, expert)
        cells = np.array([[0, 0, 0, 0, 2, 3, 95], [0, 0, 0, 0, 4, 6, 90]][expert])
        assert bets[n] == pytest.approx(float(cells @ (np.array(nulls.ratios(own.steps)) / own.margin)) / 100 - 1)
    assert bets[2] != pytest.approx(bets[4])
    each = [(label, expert) for label in (None, 0, 1) for expert in (0, 1)]
    assert [r.allowed for r in judged.rates] == [how.null_rate(label, expert) for label, expert in each]
    whole = np.sum([counts["a", c] for c in range(2)], axis=0)
    first = arming._rate(("a", None), 0, whole, how, {}, 0.01 / 6)  # the risk is shared among six rates
    assert judged.rates[0].bet_low == first.bet_low


def test_a_single_raise_is_one_too_many_if_the_budget_affords_less_than_a_hundredth_of_it() -> None:
    judged = judge(surge(3, contamination=0.9, before=0, during=8, after=0, size=50), rules())
    assert [t.change for t in judged.transitions].count("raised") == 1
    assert judged.affordable < 0.01
    assert judged.too_many


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


# -- the numbers and the words -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(flags=st.lists(st.booleans(), max_size=30), cut=st.integers(0, 30))
def test_a_log_that_follows_another_counts_the_pair_between_them_and_one_beside_it_does_not(
    flags: list[bool], cut: int
) -> None:
    earlier, later = FlagOrder().then(flags[:cut]), FlagOrder().then(flags[cut:])
    assert earlier.followed_by(later) == FlagOrder().then(flags)
    together = earlier.beside(later)
    pairs = [*pairwise(flags[:cut]), *pairwise(flags[cut:])]
    assert (together.pairs, together.first, together.second, together.both) == (
        len(pairs),
        sum(a for a, _ in pairs),
        sum(b for _, b in pairs),
        sum(a and b for a, b in pairs),
    )
    assert (together.last, together.begin) == (None, None)


def test_the_error_of_an_autocorrelation_is_one_over_the_root_of_the_pairs() -> None:
    assert FlagOrder(pairs=25).error == 0.2
    assert FlagOrder().error == math.inf


def literal_rate(counts: list[int], how: Rules, rho: float, risk: float) -> tuple[float, float]:
    """The mean bet less 1, and its lower bound, from the samples one by one."""
    pays = [p / how.nulls.margin for p in nulls.ratios(how.nulls.steps)]
    each = np.repeat(pays, counts)
    error = math.sqrt(max(each.var(), 1 / len(each)) / len(each) * (1 + rho) / (1 - rho))
    return each.mean() - 1, each.mean() - 1 + float(norm.ppf(risk)) * error


@pytest.mark.parametrize(
    ("order", "rho"),
    [
        ({}, 0.0),
        ({"a": FlagOrder(100, 20, 20, 10)}, 0.375),
        ({"a": FlagOrder(100, 20, 20, 0)}, 0.0),
        ({"b": FlagOrder(9, 3, 3, 3)}, 0.0),
    ],
    ids=["no order", "bursts", "flags that avoid each other", "another stream's"],
)
def test_a_rate_holds_the_mean_bet_and_its_lower_bound_widened_by_bursts(order: dict, rho: float) -> None:
    how = replace(rules(), nulls=nulls.pooled(2000))
    counts = [1, 3, 2, 4, 12, 20, 158]
    got = judge([bucket(0, {("a", 4): np.array(counts)})], how, order, risk=0.02)
    bet, low = literal_rate(counts, how, rho, 0.02 / 2)  # a stream and a class share the risk
    assert [(r.stream, r.label) for r in got.rates] == [("a", None), ("a", 4)]
    for one in got.rates:
        assert (one.samples, one.flagged, one.cells, one.expert) == (200, 22, tuple(counts), "")
        assert (one.low, one.high) == interval(200, 22)
        assert (one.rate, one.allowed) == (0.11, how.null_rate())
        assert (one.bet, one.bet_low) == pytest.approx((bet, low), rel=1e-9)


def test_without_any_spread_the_error_is_that_of_a_bet_of_spread_one_over_n() -> None:
    one = judge([bucket(0, {("a", 0): np.array([0, 0, 0, 0, 0, 0, 40])})], rules()).rates[0]
    assert (one.bet, one.bet_low) == pytest.approx(literal_rate([0] * 6 + [40], rules(), 0.0, 0.005), rel=1e-9)


def test_keys_are_told_streams_first_then_their_classes_and_none_without_samples() -> None:
    calm_one = np.array([0, 0, 0, 0, 0, 1, 9])
    counts = {("b", 2): calm_one, ("a", 10): calm_one, ("a", 9): calm_one, ("c", 0): calm_one * 0}
    got = judge([bucket(0, counts), bucket(1, {("a", 9): calm_one})], rules())
    assert [(r.stream, r.label, r.samples) for r in got.rates] == [
        ("a", None, 30),
        ("b", None, 10),
        ("a", 9, 20),
        ("a", 10, 10),
        ("b", 2, 10),
    ]
    assert (got.requests, got.affordable, got.budget) == (40, 40 / 1e5, rules().budget)


def rate(label: int | None = None, bet_low: float = -1.0, expert: str = "") -> Rate:
    return Rate("a", label, 1000, 82, 0.0657, 0.1012, 0.05, 0.125, bet_low, (82, 0, 0, 0, 0, 18, 900), expert)


ALERT = Alert(stream="a", kind="ood", bucket=3, raised_at=40.0, onset_at=31.0)
RAISED = Transition("raised", ALERT, 3, 40.0)
OTHERS = [Transition("resolved", ALERT, 5, 60.0), Transition("raised", replace(ALERT, kind="silence"), 4, 50.0)]


def judged_of(
    monkeypatch: pytest.MonkeyPatch, rates: list[Rate], raised: int, requests: int = 1000, budget: float = 1e5
) -> Arming:
    """A replay of so many requests with these rates and raises, judged with a risk of .25."""
    counts = {("a", r.label): np.array([0, 0, 0, 0, 0, 0, requests]) for r in rates}
    left = iter(rates)
    monkeypatch.setattr(arming, "_folded", lambda *_: (counts, [RAISED] * raised + OTHERS, 123.0))
    monkeypatch.setattr(arming, "_rate", lambda *_: next(left))
    return judge([], replace(rules(budget), class_nulls={3: rules().nulls}), risk=0.25)


def test_rates_whose_lower_bound_lies_above_a_fair_bet_break_the_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = [rate(None, 0.0625), rate(3, 0.0625), rate(4, 0.0625), rate(5, 0.0)]
    found = judged_of(monkeypatch, rates, 0)
    assert (found.breaches, found.unarmed) == (tuple(rates[:2]), (rates[2],))
    assert (found.arm, found.rates, found.quiet_requests) == (False, tuple(rates), 123.0)
    assert judged_of(monkeypatch, [rate(None, 0.0)], 0).arm


def test_more_raises_than_the_budget_makes_likely_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    one = [rate(None)]
    exactly = judged_of(monkeypatch, one, 4, requests=1000, budget=1000.0)
    assert (exactly.raised, exactly.affordable, exactly.too_many) == (4, 1.0, False)  # as likely as the risk
    assert judged_of(monkeypatch, one, 4, requests=999, budget=1000.0).too_many
    assert not judged_of(monkeypatch, one, 0, requests=1, budget=1e9).too_many
    assert not judged_of(monkeypatch, one, 4, requests=999, budget=1000.0).arm


def test_an_alert_in_fewer_requests_than_one_budget_makes_a_replay_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    one = [rate(None)]
    assert judged_of(monkeypatch, one, 1, requests=999, budget=1000.0).too_short
    assert not judged_of(monkeypatch, one, 1, requests=1000, budget=1000.0).too_short
    assert not judged_of(monkeypatch, one, 0, requests=999, budget=1000.0).too_short


class Flags(FlagOrder):
    """Flags of a given autocorrelation."""

    autocorrelation, error = 0.0, 0.0

    def __init__(self, autocorrelation: float, error: float) -> None:
        super().__init__()
        for name, value in (("autocorrelation", autocorrelation), ("error", error)):
            object.__setattr__(self, name, value)


@pytest.mark.parametrize(
    ("rho", "error", "every"),
    [
        (0.05, 0.0, None),
        (0.051, 0.016, 2),
        (0.06, 0.02, None),
        (0.3, 0.0999, 3),
        (0.3, 0.1, None),
        (0.5, 0.0, 5),
        (0.99, 0.0, 59),
    ],
)
def test_bursts_beyond_chance_say_how_far_to_thin(rho: float, error: float, every: int | None) -> None:
    found = judge([], rules(), {"b": Flags(0.0, 1.0), "a": Flags(rho, error)})
    assert found.bursts == ({"a": every} if every else {})


@pytest.mark.parametrize(
    ("x", "rounded"),
    [
        (0.3, 1),
        (1, 1),
        (1.01, 2),
        (2, 2),
        (2.5, 5),
        (5 * (1 + 1e-13), 5),
        (5.01, 10),
        (10, 10),
        (999, 1000),
        (2e7, 2e7),
        (math.inf, math.inf),
    ],
)
def test_a_budget_is_rounded_up_to_1_2_or_5_times_a_power_of_ten(x: float, rounded: float) -> None:
    assert _rounded_up(x) == pytest.approx(rounded, rel=1e-15)


def test_a_report_in_words() -> None:
    judged = Arming(
        1000,
        (rate(), rate(7, expert="knn")),
        {"b": FlagOrder(100, 20, 20, 10), "a": FlagOrder()},
        (RAISED, *OTHERS),
        rules().budget,
        123_456.0,
        breaches=(rate(7, 0.0625, "knn"), rate(None, 0.0625)),
        too_many=True,
        bursts={"b": 3},
        unarmed=(rate(4, 0.0625),),
    )
    broken = (
        " breaks the calibration: each sample adds 12.5% to the evidence on average (at least 6.2%), expected 0 at "
        "most; 8.20% are flagged, 5.00% are allowed. Calibrate on this traffic, or raise the upper bounds on the cell "
        "masses"
    )
    bursts = (
        " comes in bursts (autocorrelation +0.37): the budget counts on independent samples; thin to 1 in 3 per "
        "client, or expect several times as many false alerts"
    )
    unarmed = " is flagged more often (8.20%) than all together may be; it cannot raise by itself"
    assert report.lines(judged) == [
        "1,000 requests replayed, at most 1 false alert per 100,000 requests; evidence to raise: stream 100,000",
        "stream 'a': 8.20% flagged (6.57% to 10.12%) of 1,000, 5.00% allowed",
        "stream 'a', class 7, expert knn: 8.20% flagged (6.57% to 10.12%) of 1,000, 5.00% allowed",
        "stream 'a': lag-1 autocorrelation of flags +0.000",
        "stream 'b': lag-1 autocorrelation of flags +0.375",
        "alerts that would have been raised: 1, affordable: 0.01",
        "suggested budget: 1 false alert per 200,000 requests",
        "warning: stream 'b'" + bursts,
        "warning: stream 'a', class 4" + unarmed,
        "warning: 1,000 requests are less than one budget (100,000): replay a longer range",
        "refused: stream 'a', class 7, expert knn" + broken,
        "refused: stream 'a'" + broken,
        "refused: alerts that would have been raised on it: 1, affordable: 0.01",
    ]
    loud = replace(
        judged, quiet_requests=math.inf, transitions=(), breaches=(), too_many=False, bursts={}, unarmed=(), order={}
    )
    assert report.lines(loud)[-3:] == [
        "alerts that would have been raised: 0, affordable: 0.01",
        "no budget would have kept this traffic quiet",
        "may be armed",
    ]
