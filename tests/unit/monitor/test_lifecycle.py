"""An alert from raise to resolve."""

from __future__ import annotations

import math
import re
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


@pytest.mark.parametrize("flagged", [0, 5])
def test_interval_without_samples_is_everything(flagged: float) -> None:
    assert interval(0, flagged) == (0.0, 1.0)


def test_more_flagged_than_there_are_count_as_all_of_them() -> None:
    assert interval(3, 5) == interval(3, 3)


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


# -- what is told, and the bounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"resolve_after": 1.0}, "resolve_after 1.0 given, expected more than 1 sample"),
        ({"resolve_after": math.nan}, "resolve_after nan given, expected more than 1 sample"),
        (
            {"resolve_contamination": (0.2, 0.1)},
            "resolve_contamination (0.2, 0.1) given, expected two rising shares up to 1",
        ),
        (
            {"resolve_contamination": (0.0, 0.1)},
            "resolve_contamination (0.0, 0.1) given, expected two rising shares up to 1",
        ),
        (
            {"resolve_contamination": (0.5, 1.01)},
            "resolve_contamination (0.5, 1.01) given, expected two rising shares up to 1",
        ),
        ({"critical_rate": 0.0}, "critical_rate and confidence are shares between 0 and 1"),
        ({"critical_rate": 1.01}, "critical_rate and confidence are shares between 0 and 1"),
        ({"confidence": 0.0}, "critical_rate and confidence are shares between 0 and 1"),
        ({"confidence": 1.0}, "critical_rate and confidence are shares between 0 and 1"),
        ({"silence_after": 0.0}, "silence_after 0.0 given, expected seconds, or inf for never"),
    ],
)
def test_rules_that_mean_nothing_are_refused_with_what_was_given(bad: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        AlertRules(**bad)


def test_rules_may_lie_on_their_bounds() -> None:
    AlertRules(1.001, (0.01, 0.01), 1.0, 0.001, 1e-3)
    AlertRules(math.inf, (1.0, 1.0), 0.001, 0.999, math.inf)


def test_an_alert_is_known_by_kind_bucket_and_stream_and_its_events_by_change_and_bucket() -> None:
    everything = replace(ALERT, stream=None, kind="silence", bucket=7)
    assert (ALERT.identity, everything.identity) == ("ood:3:a", "silence:7:")
    assert lc.Transition("resolved", ALERT, 9, 100.0).event == "ood:3:a:resolved:9"


def test_nothing_happens_to_an_alert_before_it_was_raised() -> None:
    assert lc.Transition.of("updated", ALERT, 9, 100.0) == lc.Transition("updated", ALERT, 9, 100.0)
    assert lc.Transition.of("resolved", ALERT, 4, 39.0) == lc.Transition("resolved", ALERT, 4, 40.0)


def test_the_rate_is_that_since_the_onset_and_0_without_input() -> None:
    assert replace(ALERT, samples=8.0, flagged=2.0).rate == 0.25
    assert ALERT.rate == 0.0


def test_a_plain_alert_names_its_expert_unless_it_is_the_first() -> None:
    assert "expert" not in lc.plain(ALERT)
    assert lc.plain(replace(ALERT, expert=2)) == {**lc.plain(ALERT), "expert": 2}
    assert Alert(**lc.plain(replace(ALERT, expert=2))) == replace(ALERT, expert=2)


def test_an_interval_is_of_95_percent_and_of_fractions_of_a_sample_too() -> None:
    assert interval(20, 3) == interval(20, 3, 0.95)
    assert interval(0.5, 0.25, 0.9) == pytest.approx((beta.ppf(0.05, 0.25, 1.25), beta.ppf(0.95, 1.25, 0.25)), rel=1e-9)
    assert interval(0.5, 0.5)[1] == 1.0


def test_no_flag_rate_is_held_by_a_bet_that_pays_less_than_1_on_a_flagged_cell() -> None:
    bet = np.log([4.0, 2.0, 0.8, 0.5])
    assert lc.held_rate(bet, 3) == 1.0
    assert lc.held_rate(np.log([4.0, 1.0, 0.5]), 2) == 1.0, "one that pays nothing back, either"
    assert lc.held_rate(bet, 2) == pytest.approx((2 - 1) / (2 - 0.5))
    assert lc.held_rate(np.log([4.0, 3.0, 2.0]), 2) == 0.0, "a bet that pays on every cell needs none"
    assert lc.held_rate(np.zeros(3), 2) == 1.0, "one that bets nothing holds none"


def evidence_of(shares: list[float], since: tuple[float, float, float] = (12.0, 30.0, 9.0)) -> ev.Evidence:
    """Two keys; the second one's columns hold these shares of an evidence of mean 7, and tell ``since`` alike."""
    with np.errstate(divide="ignore"):
        log_m = np.log(np.array([[1.0] * len(shares), 7 * np.array(shares) / np.mean(shares)]))
    told = np.stack([np.zeros((len(shares), 3)), np.tile(since, (len(shares), 1))])
    return ev.Evidence(log_m, told, np.zeros(2), np.zeros(2), np.zeros(2))


def test_a_raised_alert_takes_everything_from_the_evidence_of_its_key() -> None:
    evidence = evidence_of([0, 0, 0, 0, 1, 0, 0])
    found = lc.raised(evidence, 1, stream="a", scope=(4, 2), bucket=6, at=70.0, rules=AlertRules())
    assert found == Alert(
        stream="a",
        kind="ood",
        bucket=6,
        raised_at=70.0,
        onset_at=58.0,
        log_evidence=pytest.approx(math.log(7)),
        scope=(4, 2),
        classes=(4, 2),
        samples=30.0,
        flagged=9.0,
        bet=3,  # half of .2 is .1
    )


@pytest.mark.parametrize(
    ("shares", "limits", "bet"),
    [
        ([0, 0, 0, 1, 0, 0, 0], (0.05, 0.2), 2),  # half of .1 is .05, the largest bet not above
        ([0, 0, 0, 0, 0, 1, 0], (0.05, 0.2), 4),  # half of .5 is above the most
        ([1, 0, 0, 0, 0, 0, 0], (0.05, 0.2), 2),  # half of .01 is below the least
        ([0, 0, 0, 0, 1, 1, 0], (0.05, 0.2), 3),  # half of .35 is between .1 and .2
        ([0, 0, 0, 0, 0, 0, 1], (0.05, 1.0), 5),
        ([1, 0, 0, 0, 0, 0, 0], (0.001, 0.005), 0),  # below every bet: the smallest
    ],
)
def test_the_resolve_bets_on_half_of_what_the_evidence_believes_within_the_limits(
    shares: list[float], limits: tuple[float, float], bet: int
) -> None:
    rules = AlertRules(resolve_contamination=limits)
    assert lc.raised(evidence_of(shares), 1, stream="a", scope=(), bucket=1, at=1.0, rules=rules).bet == bet


def test_a_raised_alert_follows_the_expert_that_leads_alone() -> None:
    evidence = evidence_of([5, 0, 2, 4, 2, 0])  # the second one leads, though the first has the best column
    evidence.since[1, 3] = (1.0, 2.0, 1.5)
    found = lc.raised(
        evidence, 1, stream=None, scope=(), bucket=1, at=5.0, rules=AlertRules(), contaminations=(0.1, 0.5), experts=3
    )
    assert (found.expert, found.onset_at, found.samples, found.flagged) == (1, 4.0, 2.0, 1.5)
    assert found.bet == 0, "half of .1 / 3 + .5 * 2 / 3 is below .2, and .1 is the largest not above"
    assert found.log_evidence == pytest.approx(math.log(7)), "of all experts together"


def test_a_bucket_is_added_row_by_row_by_the_bet_of_each_row() -> None:
    counts = np.array([[1, 0, 2], [0, 3, 1]])
    bets = np.array([[-1.0, 0.5, -2.0], [4.0, -1.5, 0.25]])
    after = lc.advanced(replace(ALERT, cusum=1.0, samples=5.0, flagged=2.0), counts, bets, 2)
    assert (after.cusum, after.samples, after.flagged) == (1.0 + 1 + 4 + 4.5 - 0.25, 12.0, 6.0)
    assert lc.advanced(ALERT, counts, -bets, 2).cusum == 0.0


def test_critical_is_a_rate_whose_interval_of_the_rules_confidence_lies_above_the_bound() -> None:
    low = interval(20, 10, 0.9)[0]
    alert = replace(ALERT, samples=20.0, flagged=10.0)
    assert lc.graded(alert, AlertRules(critical_rate=low * 0.999, confidence=0.9)).severity == "critical"
    assert lc.graded(alert, AlertRules(critical_rate=low, confidence=0.9)) == alert
    assert lc.graded(alert, AlertRules(critical_rate=low * 0.999, confidence=0.95)) == alert


def test_a_class_is_named_once_the_one_sided_bound_of_all_classes_together_lies_above_its_rate() -> None:
    history = ((1, 50.0, 10.0), (4, 50.0, 10.0), (9, 0.0, 0.0))
    alert = replace(ALERT, by_class=history, classes=(9,))
    bound = float(beta.ppf(0.05 / 3, 10, 41))  # three classes share the 5 %, all of it on one side
    found = lc.attributed(alert, [bound * 0.999, bound * 1.001, 0.5], AlertRules(confidence=0.95))
    assert found.classes == (1, 9)
    assert lc.attributed(alert, [bound * 1.001] * 3, AlertRules(confidence=0.95)) is alert
    own = interval(50, 10, 1 - 2 * (1 - 0.95) / 3)[0]
    assert lc.attributed(alert, [own] * 3, AlertRules(confidence=0.95)) is alert, "not at the bound itself"
    alone = replace(ALERT, by_class=history[:1])
    bound = float(beta.ppf(0.05, 10, 41))
    assert lc.attributed(alone, [bound * 0.999], AlertRules(confidence=0.95)).classes == (1,), "one shares with nobody"
    assert lc.attributed(replace(ALERT, by_class=()), [], AlertRules()).classes == ()
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        lc.attributed(alert, [0.1], AlertRules())


@pytest.mark.parametrize(
    ("change", "heard"),
    [
        ({"severity": "critical"}, True),
        ({"scope": (1,)}, True),
        ({"classes": (1,)}, True),
        ({"streams": ("b",)}, True),
        ({"samples": 9.0, "flagged": 3.0, "cusum": 2.0, "by_class": ((0, 1.0, 1.0),)}, False),
    ],
)
def test_people_hear_of_severity_scope_classes_and_streams(change: dict, heard: bool) -> None:
    assert lc.is_news(ALERT, replace(ALERT, **change)) == heard
