"""Several experts in the evidence: against the literal reading, within one budget, and one expert as it always was."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from line_plugin.math.conformal import CELL_EDGES
from monitor.math import evidence as ev
from monitor.math import nulls, packing
from monitor.math.arming import judge
from monitor.math.budget import Budget
from monitor.math.evidence import CONTAMINATIONS, Evidence
from monitor.math.experts import agree, side_by_side
from monitor.math.fold import fold
from monitor.math.lifecycle import AlertRules, plain
from monitor.math.state import Bucket, MonitorState, Rules
from tests.oracle import literal_evidence, literal_experts
from tests.unit.monitor.alert_streams import bucket, kinds, law, rules, run, surge

CELLS, COLUMNS = len(CELL_EDGES), len(CONTAMINATIONS)
KNOWN = nulls.known(CELL_EDGES)
OTHER = nulls.known((0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 1.0))
PANEL = ("line", "angle", "prototypes")
RECORDED = {
    "stream": "a",
    "kind": "ood",
    "bucket": 100,
    "raised_at": 1010.0,
    "onset_at": 1004.979965078727,
    "log_evidence": 13.283382351390863,
    "scope": (),
    "classes": (0, 1, 2),
    "streams": (),
    "samples": 1137.71019748248,
    "flagged": 207.51694531186024,
    "bet": 4,
    "cusum": 0.0,
    "severity": "warning",
    "by_class": (
        (0, 408.7327240700623, 91.03877343296881),
        (1, 1953.3632382739672, 136.8057523276922),
        (2, 1728.7020152562657, 129.56211788190674),
    ),
}
"""Written by the release before there were several experts."""


def of(experts: tuple[str, ...] = PANEL, requests: float = 1e5, **more: object) -> Rules:
    alerts = AlertRules(silence_after=math.inf, resolve_after=float(more.pop("resolve_after", 1e5)))  # type: ignore[arg-type]
    return Rules(Budget(requests, {"stream": 1.0}), KNOWN, alerts=alerts, experts=experts, **more)  # type: ignore[arg-type]


def counted(cells: np.ndarray) -> np.ndarray:
    """(E * cells,) counts of samples (n, E)."""
    return np.concatenate([np.bincount(own, minlength=CELLS) for own in np.asarray(cells).T])


# -- the statistic -----------------------------------------------------------------------------------------------------


samples = st.lists(st.tuples(*[st.integers(0, CELLS - 1)] * 2), min_size=1, max_size=50)


@settings(deadline=None)
@given(cells=samples)
def test_each_experts_columns_are_its_own_evidence_and_their_mean_is_what_raises(cells: list[tuple[int, int]]) -> None:
    bets = side_by_side([ev.log_bets(KNOWN), ev.log_bets(OTHER)])
    state = Evidence.empty(1, 2 * COLUMNS)
    for i, sample in enumerate(cells):
        one = counted(np.array([sample]))[None]
        state = ev.update(state, np.array([0]), one, bets, start=i, end=i + 1, flag_cells=5, experts=2)
    expected = literal_experts.mean_evidence(cells, [CELL_EDGES, OTHER.steps], CONTAMINATIONS)
    np.testing.assert_allclose(np.exp(state.log_m[0]).reshape(2, -1), expected, rtol=1e-9)
    assert float(np.exp(state.log_mean()[0])) == pytest.approx(np.mean(expected), rel=1e-9)
    for e, steps in enumerate((CELL_EDGES, OTHER.steps)):
        for i, c in enumerate(CONTAMINATIONS):
            n, flagged = literal_evidence.since_change([s[e] for s in cells], steps, c, flag_cells=5)
            assert state.since[0, e * COLUMNS + i, ev.SAMPLES] == pytest.approx(n, rel=1e-6)
            assert state.since[0, e * COLUMNS + i, ev.FLAGGED] == pytest.approx(flagged, rel=1e-6)


@pytest.mark.parametrize("sees", [0, 1, 2])
def test_raises_equal_the_literal_reading_and_name_the_expert_that_sees_the_surge(sees: int) -> None:
    rng = np.random.default_rng(sees)
    cells = np.stack([rng.choice(CELLS, 400, p=law(0.5 if e == sees else 0)) for e in range(3)], axis=1)
    expected = literal_experts.raises(cells.tolist(), [CELL_EDGES] * 3, CONTAMINATIONS, 1e4)
    how = of(requests=1e4, resolve_after=1.001)
    state, found = MonitorState.new(how), []
    for i, sample in enumerate(cells):
        # The literal reading knows no alerts: whatever fires is dropped before the next sample.
        state, said = fold(
            replace(state, alerts={}), Bucket(i, i, i + 1, {("a", 0): counted(sample[None]).tolist()}), how
        )
        found += [(i, t.alert.expert) for t in said if t.change == "raised"]
    assert found == expected
    assert {e for _, e in found} == {sees}


@given(experts=st.integers(1, 5), seed=st.integers(0, 20))
@settings(deadline=None)
def test_a_bet_of_an_expert_pays_1_on_the_cells_of_the_others(experts: int, seed: int) -> None:
    own = ev.log_bets(KNOWN)
    table = side_by_side([own] * experts)
    counts = np.random.default_rng(seed).integers(0, 9, (experts, CELLS))
    np.testing.assert_allclose((table @ counts.ravel()).reshape(experts, -1), counts @ own.T, rtol=1e-12)


def test_experts_that_have_not_counted_the_same_samples_are_refused() -> None:
    counts = counted(np.array([[0, 1, 2], [3, 4, 5]]))
    assert agree(counts[None], CELLS)
    counts[-1] += 1
    how = of()
    with pytest.raises(ValueError, match=r"the experts line, angle, prototypes have not counted the same number"):
        fold(MonitorState.new(how), Bucket(0, 0, 1, {("a", 0): counts.tolist()}), how)
    with pytest.raises(ValueError, match="7 cells given, expected 21"):
        fold(MonitorState.new(how), Bucket(0, 0, 1, {("a", 0): [1] * 7}), how)


# -- the guarantee -----------------------------------------------------------------------------------------------------


def dependent(rng: np.random.Generator, n: int, experts: int, shift: float = 0.0) -> np.ndarray:
    """(n, experts) cells of ID samples whose scores go together, as those of experts on the same embedding do."""
    shared = rng.standard_normal((n, 1))
    scores = 0.8 * shared + 0.6 * rng.standard_normal((n, experts)) + shift
    cuts = norm.isf(np.array(CELL_EDGES[:-1]))
    return np.asarray((scores[..., None] <= cuts).sum(axis=-1))


def mean_growth(
    shift: float, experts: int = 3, keys: int = 50_000, buckets: int = 2, size: int = 2
) -> tuple[float, float]:
    """The mean over keys of ``M - t`` after some buckets, and its standard error; at most 0 on ID traffic."""
    rng, state = np.random.default_rng(7), Evidence.empty(keys, experts * COLUMNS)
    bets = side_by_side([ev.log_bets(KNOWN)] * experts)
    rows = np.arange(keys)
    for i in range(buckets):
        cells = dependent(rng, keys * size, experts, shift).reshape(keys, size, experts)
        counts = (cells[..., None] == np.arange(CELLS)).sum(axis=1).reshape(keys, -1)
        state = ev.update(state, rows, counts, bets, start=i, end=i + 1, flag_cells=5, experts=experts)
    grown = np.exp(state.log_mean()) - buckets * size
    return float(grown.mean()), float(grown.std() / math.sqrt(keys))


def test_the_mean_over_dependent_experts_does_not_rise_faster_than_the_samples_on_id_traffic() -> None:
    mean, error = mean_growth(0.0)
    assert abs(mean) < 4 * error, "on ID traffic with known masses the mean equals the samples"


def test_that_mean_rises_faster_on_traffic_beyond_the_calibration() -> None:
    mean, error = mean_growth(0.4)
    assert mean > 4 * error, "the property above can fail"


@pytest.mark.parametrize("experts", [2, 4])
def test_false_alerts_of_dependent_experts_stay_within_one_budget(experts: int) -> None:
    """A budget of 1 per 500 requests over 200,000: at most 400 expected, however many experts look."""
    how = of(tuple(f"e{i}" for i in range(experts)), requests=500, resolve_after=1.5)
    rng, state, size, keys = np.random.default_rng(experts), MonitorState.new(how), 5, 40
    for i in range(1000):
        cells = dependent(rng, size * keys, experts).reshape(keys, size, experts)
        counts = {(f"s{k:02d}", 0): counted(cells[k]).tolist() for k in range(keys)}
        state, _ = fold(state, Bucket(i, i, i + 1, counts), how)
    total = size * keys * 1000
    assert 0 < state.raises <= binom.ppf(0.999, total, 1 / 500)
    assert state.samples["stream"] <= total, "a sample is charged once, not once for each expert"


# -- the alert ---------------------------------------------------------------------------------------------------------


def panel_surge(sees: int, experts: int = 3, contamination: float = 0.3) -> list[Bucket]:
    rng, out = np.random.default_rng(1), []
    for i in range(160):
        laws = [law(contamination if e == sees and 40 <= i < 80 else 0) for e in range(experts)]
        counts = [np.stack([rng.multinomial(40, own) for own in laws]).ravel() for _ in range(2)]
        out.append(bucket(i, {("a", 0): counts[0], ("a", 1): counts[1]}))
    return out


@pytest.mark.parametrize("sees", [0, 2])
def test_one_raise_and_one_resolve_by_the_expert_that_sees_the_surge(sees: int) -> None:
    how = of()
    _, said = run(panel_surge(sees), how)
    assert [k for k in kinds(said) if k[0] != "updated"] == [("raised", "a", "ood"), ("resolved", "a", "ood")]
    first, last = said[0], said[-1]
    assert {t.alert.expert for t in said} == {sees}
    assert 40 <= first.bucket < 50
    assert last.bucket >= 80
    # By the threshold of that expert the rate is far above 5 %, by that of any other it is not.
    assert last.alert.rate > 0.12
    assert sum(f for _, _, f in last.alert.by_class) / sum(n for _, n, _ in last.alert.by_class) > 0.12


def test_a_class_is_held_against_the_masses_of_the_alerts_expert() -> None:
    """The last expert flags far more of class 1 on ID traffic, and its own masses say so: class 1 is not named."""
    skewed = nulls.of_class([300, 300, 300, 300, 300, 500, 1000])
    how = of(class_nulls={1: (KNOWN, KNOWN, skewed)})
    assert how.null_rate(1, 0) == pytest.approx(0.05)
    assert how.null_rate(1, 2) > 0.4
    _, said = run(panel_surge(2), replace(how, budget=Budget(1e5, {"stream": 1.0})))
    assert said[-1].alert.classes == (0,)


def test_the_state_of_a_panel_goes_through_a_store_and_back() -> None:
    how = of()
    state, _ = run(panel_surge(2)[:60], how)
    head, rows = (json.loads(json.dumps(v, allow_nan=False)) for v in (packing.header(state), packing.streams(state)))
    assert head["format"] == 3
    back = packing.unpacked(head, rows, how.columns)
    assert back.alerts == state.alerts
    assert back.alerts["a", "ood"].expert == 2
    assert {k: back.log_evidence(k) for k in back.rows} == {k: state.log_evidence(k) for k in state.rows}
    assert len(rows["a"][1]) == math.ceil(3 * 8 * (3 + 4 * 3 * COLUMNS) / 3) * 4, "three rows of float64 in base64"


def test_a_replay_judges_every_expert_and_counts_a_request_once() -> None:
    how = of()
    rng = np.random.default_rng(0)
    calm = [bucket(i, {("a", 0): np.concatenate([rng.multinomial(200, law(0)) for _ in PANEL])}) for i in range(50)]
    fine = judge(calm, how)
    assert (fine.requests, fine.arm, [r.expert for r in fine.rates]) == (10_000, True, list(PANEL) * 2)
    stale = [
        bucket(i, {("a", 0): np.concatenate([rng.multinomial(200, law(c)) for c in (0, 0, 0.05)])}) for i in range(50)
    ]
    found = judge(stale, how)
    assert not found.arm
    assert {r.expert for r in found.breaches} == {"prototypes"}


# -- one expert --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), keys=st.integers(1, 6), tables=st.booleans())
def test_one_expert_gives_the_bits_it_gave_before_there_were_several(seed: int, keys: int, tables: bool) -> None:
    rng = np.random.default_rng(seed)
    bets = ev.log_bets(nulls.pooled(5000))
    table = np.stack([bets] * keys) if tables else bets
    now = before = Evidence.empty(keys)
    for i in range(5):
        counts = rng.multinomial(rng.integers(1, 50), law(rng.uniform(0, 0.3)), keys)
        now = ev.update(now, np.arange(keys), counts, table, start=i, end=i + 1.5, flag_cells=5)
        before = literal_experts.update_of_one_expert(before, np.arange(keys), counts, table, i, i + 1.5, 5)
    for name in ("log_m", "since", "seen_at", "heard", "gap"):
        assert getattr(now, name).tobytes() == getattr(before, name).tobytes()


def test_one_expert_gives_the_alert_that_was_recorded_before_there_were_several() -> None:
    state, said = run(surge(3, contamination=0.2, before=100, during=60, after=400, classes=3)[:110], rules())
    (alert,) = packing.header(state)["alerts"]
    assert set(alert) == RECORDED.keys(), "the fields that were written then, and no other"
    for name, value in RECORDED.items():
        if name == "by_class":
            assert np.array(alert[name]) == pytest.approx(np.array(value), rel=1e-12)
        else:
            assert alert[name] == pytest.approx(value, rel=1e-12) if isinstance(value, float) else alert[name] == value
    assert plain(said[0].alert).keys() == RECORDED.keys()
