"""All levels over closed buckets: one raise and one resolve a surge, the same after a crash, silence apart."""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.math import evidence as ev
from monitor.math import nulls, packing
from monitor.math.evidence import Evidence
from monitor.math.fold import _Pass, fold, quiet
from monitor.math.levels import Levels
from monitor.math.lifecycle import Alert, Transition
from monitor.math.state import EVERYTHING, Bucket, MonitorState, Rules
from tests.unit.monitor.alert_streams import bucket, kinds, law, rules, run, surge

ALL = ("stream", "class", "everything")


@pytest.mark.parametrize("contamination", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("levels", [("stream",), ALL], ids=["stream", "all levels"])
def test_one_raise_and_one_resolve_a_surge(contamination: float, levels: tuple) -> None:
    how = rules(levels=levels)
    state, said = run(surge(3, contamination=contamination, before=100, during=60, after=400, classes=3), how)
    raised, resolved = (next(t for t in said if t.change == c) for c in ("raised", "resolved"))
    assert [k for k in kinds(said) if k[0] != "updated"] == [("raised", "a", "ood"), ("resolved", "a", "ood")]
    assert raised.alert.identity == resolved.alert.identity
    assert 100 <= raised.bucket < 160 <= resolved.bucket
    assert state.alerts == {}
    assert state.raises == 1


def test_onset_is_estimated_within_a_few_buckets() -> None:
    _, said = run(surge(5, contamination=0.2, before=200), rules())
    assert abs(said[0].alert.onset_at - 2000) <= 30


def test_the_class_that_surged_is_named() -> None:
    _, said = run(surge(2, contamination=0.2, classes=4, into=2), rules())
    assert said[-1].change == "resolved"
    assert said[-1].alert.classes == (2,)


def test_everything_together_raises_for_a_surge_too_thin_for_any_stream() -> None:
    names = tuple(f"s{i:02d}" for i in range(40))
    how = rules(levels=("stream", "everything"), silence_after=1e9)
    thin = surge(1, streams=names, hit=names, contamination=0.06, size=10, before=20, during=30, after=300)
    _, said = run(thin, how)
    first = [t for t in said if t.change == "raised"]
    assert [t.alert.stream for t in first] == [None]
    assert 0.05 < said[-1].alert.rate < 0.12
    assert ("resolved", None, "ood") in kinds(said)


def test_surges_that_begin_and_end_in_the_same_buckets_leave_no_evidence_of_either() -> None:
    alone = surge(3, contamination=0.2)
    both = [bucket(b.id, {(s, 0): counts for s in ("a", "b") for counts in b.counts.values()}) for b in alone]
    state, said = run(both, rules())
    assert [k for k in kinds(said) if k[0] != "updated"] == [
        ("raised", "a", "ood"), ("raised", "b", "ood"), ("resolved", "a", "ood"), ("resolved", "b", "ood"),
    ]  # fmt: skip
    assert said[-2].bucket == said[-1].bucket
    assert state.raises == 2
    assert state.log_evidence(("a", None)) == state.log_evidence(("b", None))


def test_a_class_that_is_flagged_no_more_often_than_its_own_id_traffic_is_not_named() -> None:
    how = replace(rules(), class_nulls={1: nulls.known(tuple(np.cumsum(law(0.3))))})
    rng = np.random.default_rng(0)
    _, said = run([bucket(n, {("a", c): rng.multinomial(200, law(0.3)) for c in range(2)}) for n in range(20)], how)
    assert said[0].change == "raised"
    assert {t.alert.classes for t in said} == {(0,)}


def test_a_surge_of_one_stream_is_that_streams_alert_not_everythings() -> None:
    names = ("a", "b", "c", "d")
    _, said = run(surge(4, streams=names, contamination=0.2), rules(levels=ALL))
    assert {t.alert.stream for t in said} == {"a"}


def test_a_class_with_its_own_nulls_raises_its_stream_and_only_it_must_recover() -> None:
    """One class of ten turns: 2 % of the stream, all in class 7; the stream as a whole is not watched."""
    how = rules(levels=("class",))
    how = replace(how, class_nulls={7: nulls.of_class(np.round(law(0) * 20_000).astype(int).tolist())})
    rng = np.random.default_rng(0)
    buckets = []
    for i in range(700):
        counts = {("a", c): rng.multinomial(10, law(0.0)) for c in range(10)}
        if 50 <= i < 150:
            counts["a", 7] = rng.multinomial(10, law(0.3))
        buckets.append(bucket(i, counts))
    _, said = run(buckets, how)
    assert [k[0] for k in kinds(said) if k[0] != "updated"] == ["raised", "resolved"]
    assert said[0].alert.scope == (7,)
    assert said[0].alert.samples < 1000, "counted within the class, not the stream"


def test_classes_without_nulls_of_their_own_never_raise() -> None:
    _, said = run(surge(0, contamination=0.5, classes=3, into=1), rules(levels=("class",)))
    assert said == []


def test_a_surge_of_the_whole_stream_widens_the_alert_of_a_class() -> None:
    how = replace(rules(levels=("stream", "class")), class_nulls={0: nulls.known(tuple(np.cumsum(law(0))))})
    rng = np.random.default_rng(1)
    buckets = []
    for i in range(80):
        first = law(0.5) if i >= 10 else law(0)
        rest = law(0.5) if i >= 14 else law(0)
        buckets.append(bucket(i, {("a", 0): rng.multinomial(10, first), ("a", 1): rng.multinomial(200, rest)}))
    _, said = run(buckets, how)
    assert said[0].alert.scope == (0,)
    assert [t.change for t in said].count("raised") == 1
    assert said[-1].alert.scope == ()


def test_while_everything_fires_a_stream_that_passes_is_named_in_it_instead_of_raising() -> None:
    names = tuple(f"s{i:02d}" for i in range(40))
    how = rules(levels=("stream", "everything"), silence_after=1e9)
    thin = surge(1, streams=names, hit=names, contamination=0.06, size=10, before=20, during=4, after=0)
    state, said = run(thin, how)
    assert [t.alert.stream for t in said if t.change == "raised"] == [None]
    rng = np.random.default_rng(2)
    loud = [
        bucket(24 + i, {(s, 0): rng.multinomial(20, law(0.9 if s == "s07" else 0.01)) for s in names}) for i in range(6)
    ]
    _, more = run(loud, how, state)
    assert {t.change for t in more} == {"updated"}
    assert "s07" in more[0].alert.streams


# -- silence -----------------------------------------------------------------------------------------------------------


CALM = {("a", 0): law(0) * 1000 // 1}
"""Regular traffic of one stream: thirty buckets of it make its silence mean something."""


def test_silence_is_an_alert_of_its_own_and_ends_when_the_stream_is_heard() -> None:
    how = rules(silence_after=60.0)
    buckets = [bucket(i, CALM) for i in range(30)] + [bucket(i, {}) for i in range(30, 39)] + [bucket(39, CALM)]
    _, said = run(buckets, how)
    assert kinds(said) == [("raised", "a", "silence"), ("resolved", "a", "silence")]
    assert said[0].at == 360.0
    assert said[0].alert.onset_at == 300.0
    assert said[1].bucket == 39


def test_a_stream_that_was_never_regular_may_fall_silent() -> None:
    how = rules(silence_after=60.0)
    _, said = run([bucket(i, CALM) for i in range(19)] + [bucket(i, {}) for i in range(19, 99)], how)
    assert said == []


def test_a_stream_that_is_often_quiet_is_given_ten_times_its_usual_gap() -> None:
    how = rules(silence_after=60.0)
    rare = [bucket(10 * i, CALM) for i in range(30)]  # one bucket of ten, every 100 seconds
    state, said = run(rare, how)
    assert said == []
    assert quiet(state, 290 * 10 + 10 + 890, how)[1] == ()
    assert [t.change for t in quiet(state, 290 * 10 + 10 + 910, how)[1]] == ["raised"]


def test_nobody_is_silent_whom_nobody_could_hear() -> None:
    how = rules(silence_after=60.0)
    state, _ = run([bucket(i, CALM) for i in range(30)], how)
    hours_later = 300 + 7200.0
    assert quiet(state, hours_later, how, listening_since=math.inf)[1] == ()
    assert quiet(state, hours_later, how, listening_since=hours_later - 59)[1] == ()
    assert len(quiet(state, hours_later, how, listening_since=hours_later - 60)[1]) == 1


@pytest.mark.parametrize("streams", [2, 6, 500])
def test_all_streams_falling_silent_together_are_one_alert(streams: int) -> None:
    how = rules(silence_after=60.0)
    names = [f"s{n:03}" for n in range(streams)]
    traffic = {(s, c): law(0) * 1000 // 1 for s in names for c in range(2)}
    state, _ = run([bucket(i, traffic) for i in range(30)], how)
    state, said = quiet(state, 500.0, how)
    assert kinds(said) == [("raised", None, "silence")]
    assert said[0].alert.samples == streams
    assert quiet(state, 9000.0, how)[1] == ()
    _, said = run([bucket(60, traffic)], how, state)
    assert kinds(said) == [("resolved", None, "silence")]


def test_one_stream_of_many_that_falls_silent_is_named() -> None:
    how = rules(silence_after=60.0)
    names = [f"s{n:03}" for n in range(40)]
    traffic = {(s, 0): law(0) * 1000 // 1 for s in names}
    without = {k: v for k, v in traffic.items() if k[0] != "s007"}
    _, said = run([bucket(i, traffic) for i in range(30)] + [bucket(i, without) for i in range(30, 60)], how)
    assert kinds(said) == [("raised", "s007", "silence")]


@given(empty=st.integers(1, 200), during=st.integers(2, 12))
@settings(max_examples=30, deadline=None)
def test_silence_never_resolves(empty: int, during: int) -> None:
    how = rules(silence_after=30.0)
    state, said = run(surge(3, contamination=0.5, during=during, after=0), how)
    assert [t.change for t in said].count("raised") == 1
    firing = state.alerts["a", "ood"]
    state, more = run([bucket(500 + i, {}) for i in range(empty)], how, state)
    state, clock = quiet(state, 1e9, how)
    assert ("resolved", "a", "ood") not in kinds([*more, *clock])
    assert state.alerts["a", "ood"] == firing


def test_the_clock_alone_finds_silence_and_says_it_once() -> None:
    how = rules(silence_after=60.0)
    state, _ = run([bucket(n, {("a", 0): np.array([0, 0, 0, 0, 0, 0, 9])}) for n in range(20)], how)
    state, early = quiet(state, 259.0, how)
    state, said = quiet(state, 260.0, how)
    state, again = quiet(state, 289.0, how)
    assert (early, kinds(list(said)), again) == ((), [("raised", "a", "silence")], ())


# -- the same answer after a crash -------------------------------------------------------------------------------------


def replayed(state: MonitorState) -> MonitorState:
    """Through a store: text and back."""
    return packing.unpacked(
        json.loads(json.dumps(packing.header(state), allow_nan=False)),
        json.loads(json.dumps(packing.streams(state), allow_nan=False)),
    )


def events(said: list[Transition]) -> list[tuple]:
    return [(t.event, t.at, t.alert) for t in said]


@settings(max_examples=12, deadline=None)
@given(crashes=st.lists(st.integers(1, 119), max_size=6), lost=st.integers(0, 5), seed=st.integers(0, 3))
def test_crashes_and_buckets_folded_again_give_the_same_transitions(crashes: list[int], lost: int, seed: int) -> None:
    how = rules(levels=ALL, silence_after=300.0)
    buckets = surge(seed, streams=("a", "b"), contamination=0.2, classes=2, before=20, during=20, after=80)
    _, expected = run(buckets, how)
    state, said = MonitorState.new(how), []
    for i, one in enumerate(buckets):
        if i in crashes:  # the state that was kept, and some buckets delivered once more
            state = replayed(state)
            for old in buckets[max(0, i - lost) : i]:
                state, repeated = fold(state, old, how)
                assert repeated == ()
        state, changes = fold(state, one, how)
        said += changes
    assert events(said) == events(expected)


def test_a_fold_lost_after_its_events_were_sent_repeats_the_same_events() -> None:
    how, buckets = rules(), surge(3, contamination=0.5)
    state = MonitorState.new(how)
    for one in buckets:
        kept = replayed(state)
        state, said = fold(state, one, how)
        _, again = fold(kept, one, how)
        assert events(list(again)) == events(list(said))


@given(order=st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_order_of_the_counts_has_no_part_in_the_result(order: list[int]) -> None:
    how = rules(levels=ALL)
    names = [("a", 0), ("a", 1), ("b", 0), ("c", 3), ("d", 0), ("d", 1)] * 2
    rng = np.random.default_rng(0)
    state, other = MonitorState.new(how), MonitorState.new(how)
    for i in range(6):
        counts = {k: rng.multinomial(20, law(0.5)).tolist() for k in dict.fromkeys(names)}
        shuffled = {names[j]: counts[names[j]] for j in order}
        state, said = fold(state, Bucket(i, i, i + 1, counts), how)
        other, again = fold(other, Bucket(i, i, i + 1, shuffled), how)
        assert events(list(said)) == events(list(again))
    assert {k: state.log_evidence(k) for k in state.rows} == {k: other.log_evidence(k) for k in other.rows}


def test_only_changed_streams_need_to_be_written() -> None:
    how = rules(levels=ALL)
    state, _ = run(surge(0, streams=("a", "b", "c"), contamination=0.0, before=5, during=0, after=0), how)
    kept = packing.streams(state)
    after, _ = fold(state, bucket(9, {("b", 0): law(0) * 1000 // 1}), how)
    assert packing.changed(state, after) == ["b"]
    kept |= packing.streams(after, packing.changed(state, after))
    back = packing.unpacked(packing.header(after), kept)
    assert {k: back.log_evidence(k) for k in back.rows} == {k: after.log_evidence(k) for k in after.rows}


def test_forgotten_streams_leave_the_others_as_they_were() -> None:
    how = rules(levels=ALL)
    state, _ = run(surge(3, streams=("a", "b", "c"), contamination=0.5, before=10, during=5, after=0), how)
    assert ("a", "ood") in state.alerts
    less = state.without({"a"})
    assert {s for s, _ in less.rows} == {None, "b", "c"}
    assert {k: less.log_evidence(k) for k in less.rows} == {k: state.log_evidence(k) for k in less.rows}
    assert less.alerts == {}
    assert less.rows[EVERYTHING] == 0


def test_a_state_of_another_format_is_refused() -> None:
    state = MonitorState.new(rules())
    with pytest.raises(ValueError, match="expected 3"):
        packing.unpacked({**packing.header(state), "format": 4}, {})


# -- budget and errors -------------------------------------------------------------------------------------------------


def test_samples_are_spent_only_while_they_could_raise() -> None:
    how = rules(levels=("stream", "everything"))
    state, said = run(surge(3, contamination=0.5, before=20, during=20, after=0, size=50), how)
    fired = said[0].bucket
    total = sum(
        sum(c)
        for b in surge(3, contamination=0.5, before=20, during=20, after=0, size=50)[: fired + 1]
        for c in b.counts.values()
    )
    assert state.samples["stream"] == total
    assert state.samples["everything"] == total


def test_everything_leaves_out_streams_that_have_their_own_alert() -> None:
    how = rules(levels=("stream", "everything"))
    state, _ = run(surge(3, contamination=0.5, before=10, during=10, after=0), how)
    assert ("a", "ood") in state.alerts
    after, _ = run([bucket(99, {("a", 0): np.array([500, 0, 0, 0, 0, 0, 0])})], how, state)
    assert after.log_evidence(EVERYTHING) == state.log_evidence(EVERYTHING)


@pytest.mark.parametrize(
    ("counts", "message"), [([1, 2], "2 cells given, expected 7"), ([1, 0, 0, 0, 0, 0, -1], "below 0")]
)
def test_counts_that_cannot_be_are_refused(counts: list[int], message: str) -> None:
    how = rules()
    with pytest.raises(ValueError, match=message):
        fold(MonitorState.new(how), Bucket(0, 0, 1, {("a", 0): counts}), how)


def test_a_state_that_does_not_say_how_regular_a_stream_is_is_read_exactly() -> None:
    how = rules(levels=ALL)
    state, _ = run(surge(3, streams=("a", "b", "c"), contamination=0.5, before=10, during=5, after=0), how)
    kept = {}
    for stream, (labels, text) in packing.streams(state).items():
        table = np.frombuffer(b64decode(text), "<f8").reshape(len(labels), -1)
        older = np.delete(table, [1, 2], axis=1)
        kept[stream] = [labels, b64encode(older.astype("<f8").tobytes()).decode()]
    back = packing.unpacked({**packing.header(state), "format": 2}, json.loads(json.dumps(kept)))
    assert {k: back.log_evidence(k) for k in back.rows} == {k: state.log_evidence(k) for k in state.rows}
    assert not back.evidence.heard.any()


# -- who is silent, on the very bounds ---------------------------------------------------------------------------------


def regular(seen_at: dict[str, float], heard: int = 20, gap: float = 0.0, last_bucket: int | None = 8) -> MonitorState:
    """Streams that were heard so often and last at that time; each has a class whose clock says nothing."""
    rows: dict = {EVERYTHING: 0}
    for name in seen_at:
        rows |= {(name, None): len(rows), (name, 3): len(rows) + 1}
    evidence = Evidence.empty(len(rows))
    for name, at in seen_at.items():
        row = rows[name, None]
        evidence.seen_at[row], evidence.heard[row], evidence.gap[row] = at, heard, gap
    evidence.heard[[i for (_, label), i in rows.items() if label == 3]] = 99
    return replace(MonitorState.new(rules()), rows=rows, evidence=evidence, last_bucket=last_bucket)


QUIET = rules(silence_after=60.0)


def silent(now: float, state: MonitorState, how: Rules = QUIET, listening_since: float = -math.inf) -> list[str | None]:
    return [t.alert.stream for t in quiet(state, now, how, listening_since)[1]]


def test_a_stream_is_silent_from_the_second_on_that_its_patience_ends() -> None:
    state = regular({"a": 100.0, "b": 500.0})
    assert (silent(159.9, state), silent(160.0, state)) == ([], ["a"])
    rare = regular({"a": 100.0, "b": 900.0}, gap=6.5)
    assert (silent(164.9, rare), silent(165.0, rare)) == ([], ["a"])
    assert silent(160.0, regular({"a": 100.0, "b": 500.0}, heard=19)) == []
    assert silent(1e9, state, rules(silence_after=math.inf)) == []
    assert silent(1e9, state, replace(QUIET, unwatched=("a", "b"))) == []


def test_nobody_is_silent_before_it_could_be_heard_for_as_long_as_its_patience() -> None:
    state = regular({"a": 100.0, "b": 9000.0})
    assert silent(259.9, state, listening_since=200.0) == []
    assert silent(260.0, state, listening_since=200.0) == ["a"]
    assert silent(260.0, state, listening_since=260.1) == []
    endless = replace(QUIET, alerts=replace(QUIET.alerts, silence_after=1e-9))
    assert silent(260.0, state, endless, listening_since=260.0) == []


def test_the_alert_of_a_silence_says_since_when_and_fires_once() -> None:
    state = regular({"a": 100.0, "b": 500.0})
    after, (one,) = quiet(state, 170.0, QUIET)
    alert = Alert(stream="a", kind="silence", bucket=8, raised_at=170.0, onset_at=100.0)
    assert one == Transition("raised", alert, 8, 170.0)
    assert after == replace(state, alerts={("a", "silence"): alert})
    assert quiet(after, 999.0, replace(QUIET, unwatched=("b",)))[1] == ()


@pytest.mark.parametrize(
    ("late", "of", "named"),
    [(1, 1, 1), (1, 2, 1), (2, 2, None), (2, 3, 2), (5, 9, 5), (6, 9, None), (25, 30, None)],
    ids=str,
)
def test_more_than_five_at_once_or_all_of_several_are_one_alert(late: int, of: int, named: int | None) -> None:
    seen = {f"s{n:02d}": 100.0 + n if n < late else 900.0 for n in range(of)}
    state = regular({**seen, "unwatched": 900.0})
    names = sorted(seen)[:late]
    after, said = quiet(state, 200.0, replace(QUIET, unwatched=("unwatched",)))
    if named is not None:
        assert [(t.alert.stream, t.alert.onset_at) for t in said] == [(s, seen[s]) for s in names]
        return
    alert = Alert(None, "silence", 8, 200.0, 100.0, streams=tuple(names[:20]), samples=float(late))
    assert said == (Transition("raised", alert, 8, 200.0),)
    assert after.alerts == {(None, "silence"): alert}


@pytest.mark.parametrize(("were", "still", "ends"), [(6, 4, False), (6, 3, True), (20, 6, False), (20, 5, True)])
def test_a_silence_of_many_ends_once_half_of_them_and_no_more_than_five_are_left(
    were: int, still: int, ends: bool
) -> None:
    together = Alert(None, "silence", 2, 30.0, 10.0, samples=float(were), streams=("s00",))
    seen = {f"s{n:02d}": 100.0 if n < still else 900.0 for n in range(30)}
    state = replace(regular(seen), alerts={(None, "silence"): together})
    after, said = quiet(state, 200.0, QUIET)
    if not ends:
        assert (said, after.alerts) == ((), state.alerts)
        return
    assert said[0] == Transition("resolved", together, 8, 200.0)
    assert [(t.change, t.alert.stream) for t in said[1:]] == [("raised", f"s{n:02d}") for n in range(still)]
    assert (None, "silence") not in after.alerts


def test_what_is_silent_already_is_not_counted_again() -> None:
    own = Alert("a", "silence", 2, 30.0, 10.0)
    state = replace(regular({"a": 100.0, "b": 100.0, "c": 900.0}), alerts={("a", "silence"): own})
    assert silent(200.0, state) == ["b"]


def test_nothing_is_over_before_it_began() -> None:
    own = Alert("a", "silence", 2, 50.0, 10.0)
    state = replace(regular({"a": 100.0}), alerts={("a", "silence"): own}, last_bucket=None)
    _, said = fold(state, Bucket(3, 30.0, 40.0, {("a", 3): [0, 0, 0, 0, 0, 0, 9]}), QUIET)
    assert said == (Transition("resolved", own, 3, 50.0),)


# -- who is behind everything together ---------------------------------------------------------------------------------


def with_evidence(how: Rules, logs: dict) -> MonitorState:
    """A state whose keys have this evidence, the same in every column."""
    rows = {EVERYTHING: 0} | {key: i + 1 for i, key in enumerate(k for k in logs if k != EVERYTHING)}
    evidence = Evidence.empty(len(rows), how.columns)
    for key, row in rows.items():
        evidence.log_m[row] = logs.get(key, -math.inf)
    return replace(MonitorState.new(how), rows=rows, evidence=evidence)


BOTH = rules(levels=("stream", "everything"))
LEAD = 0.75 * BOTH.log_threshold(("a", None))


def everything_passes(state: MonitorState) -> _Pass:
    """A pass over a bucket in which everything together has reached its threshold, and no stream has."""
    one = _Pass(state, 5, 60.0, BOTH)
    one.everything(Levels(state.rows, state.evidence, {}, (), (), {}, {}, {}, np.zeros(7, dtype=np.int64), True))
    return one


def test_streams_three_quarters_of_the_way_are_named_behind_everything_together() -> None:
    logs = {EVERYTHING: 13.0, ("b", None): LEAD, ("a", None): LEAD + 1, ("c", None): LEAD - 1e-9, ("d", 0): 99.0}
    state = with_evidence(BOTH, logs)
    state = replace(state, rows={**state.rows, ("d", None): state.rows["c", None]})
    one = everything_passes(state)
    (change,) = one.transitions
    assert (change.change, change.alert.stream, change.alert.streams) == ("raised", None, ("a", "b"))
    assert change.alert.log_evidence == pytest.approx(13.0)
    assert (one.cleared, one.raises) == ([0], 1)
    assert one.alerts == {(None, "ood"): change.alert}


def test_one_stream_behind_everything_together_raises_its_own_alert_instead() -> None:
    state = with_evidence(BOTH, {EVERYTHING: 13.0, ("a", None): LEAD, ("a", 2): 1.0, ("b", None): 0.0})
    one = everything_passes(state)
    (change,) = one.transitions
    assert (change.change, change.alert.stream, change.alert.scope) == ("raised", "a", ())
    assert change.alert.log_evidence == pytest.approx(LEAD)
    assert sorted(one.cleared) == sorted([0, state.rows["a", None], state.rows["a", 2]])
    assert one.alerts == {("a", "ood"): change.alert}
    assert one.raises == 1


def test_a_stream_that_fires_is_not_behind_everything_together() -> None:
    state = with_evidence(BOTH, {EVERYTHING: 13.0, ("a", None): LEAD, ("b", None): LEAD, ("c", None): 0.0})
    state = replace(state, alerts={("a", "ood"): Alert("a", "ood", 1, 9.0, 5.0)})
    assert [t.alert.stream for t in everything_passes(state).transitions] == ["b"]


def test_what_everything_together_gathered_is_dropped_with_the_raise_of_a_stream() -> None:
    state = with_evidence(BOTH, {EVERYTHING: 13.0, ("a", None): LEAD})
    one = _Pass(state, 5, 60.0, BOTH)
    one.raises = 1
    one.everything(Levels(state.rows, state.evidence, {}, (), (), {}, {}, {}, np.zeros(7, dtype=np.int64), True))
    assert (one.cleared, one.transitions) == ([0], [])
    after, _ = one.result((), -math.inf)
    assert np.isneginf(after.evidence.log_m[0]).all()
    assert after.evidence.log_m[1].tolist() == state.evidence.log_m[1].tolist()
    assert after.raises == state.raises + 1


# -- an alert that fires, bucket by bucket -----------------------------------------------------------------------------


def calm_of(n: int, flagged: int = 0) -> list[int]:
    return [0, 0, 0, 0, flagged, 0, n - flagged]


def test_a_firing_alert_takes_the_counts_of_its_scope_and_its_classes() -> None:
    how = replace(rules(levels=("stream",)), class_nulls={1: nulls.known(tuple(np.cumsum(law(0))))})
    firing = Alert("a", "ood", 1, 9.0, 5.0, scope=(1,), classes=(1,), samples=4.0, flagged=2.0, bet=3, cusum=0.5)
    firing = replace(firing, by_class=((1, 4.0, 2.0),))
    state = replace(MonitorState.new(how), alerts={("a", "ood"): firing})
    after, said = fold(state, Bucket(2, 10.0, 20.0, {("a", 0): calm_of(9, 2), ("a", 1): calm_of(5, 1)}), how)
    bets = ev.log_bets(how.nulls)[3]
    expected = replace(
        firing,
        samples=9.0,
        flagged=3.0,
        cusum=pytest.approx(max(0.0, 0.5 - bets[4] - 4 * bets[6])),
        by_class=((0, 9.0, 2.0), (1, 9.0, 3.0)),
    )
    assert (after.alerts, said) == ({("a", "ood"): expected}, ())
    whole = replace(firing, scope=())
    after, _ = fold(replace(state, alerts={("a", "ood"): whole}), Bucket(2, 10.0, 20.0, {("a", 0): calm_of(9, 2)}), how)
    found = after.alerts["a", "ood"]
    assert (found.samples, found.flagged, found.by_class) == (13.0, 4.0, ((0, 9.0, 2.0), (1, 4.0, 2.0)))
    assert found.cusum == pytest.approx(max(0.0, 0.5 - 2 * bets[4] - 7 * bets[6]))


def test_an_alert_that_is_over_takes_the_evidence_of_its_stream_alone() -> None:
    how = rules(levels=("stream",), resolve_after=2.0)
    over = Alert("a", "ood", 1, 9.0, 5.0, cusum=50.0, bet=3)
    state = with_evidence(how, {EVERYTHING: 1.0, ("a", None): 2.0, ("a", 0): 2.0, ("b", None): 3.0})
    state = replace(state, alerts={("a", "ood"): over}, raises=1)
    after, said = fold(state, Bucket(2, 10.0, 20.0, {("a", 0): calm_of(9)}), how)
    assert [(t.change, t.bucket, t.at) for t in said] == [("resolved", 2, 20.0)]
    assert (after.alerts, after.raises, after.last_bucket, after.last_end) == ({}, 1, 2, 20.0)
    gone = {key for key, row in after.rows.items() if np.isneginf(after.evidence.log_m[row]).all()}
    assert gone == {("a", None), ("a", 0)}


def test_a_bucket_that_was_folded_or_is_older_changes_nothing() -> None:
    how = rules()
    state, _ = run([bucket(4, {("a", 0): np.array(calm_of(9))})], how)
    for i in (3, 4):
        assert fold(state, bucket(i, {("a", 0): np.array(calm_of(9))}), how) == (state, ())
    assert fold(state, bucket(5, {}), how)[0].last_bucket == 5
