"""A bucket by level against sums written out key by key, and the rules and the state it is laid out by."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from line_plugin.math.conformal import CELL_EDGES
from monitor.math import evidence as ev
from monitor.math import nulls
from monitor.math.budget import Budget
from monitor.math.evidence import CONTAMINATIONS, Evidence
from monitor.math.fold import fold
from monitor.math.levels import Levels, _passed, laid_out
from monitor.math.lifecycle import Alert
from monitor.math.state import EVERYTHING, Bucket, Key, MonitorState, Rules
from tests.unit.monitor.alert_streams import bucket, law, rules, run, surge

KNOWN, TIGHT, WIDE = nulls.known(CELL_EDGES), nulls.pooled(300), nulls.of_class([9, 9, 9, 9, 9, 9, 99])
ALL = ("stream", "class", "everything")
HOW = Rules(Budget(300.0, dict.fromkeys(ALL, 1.0)), TIGHT, class_nulls={4: WIDE, 1: KNOWN}, flag_cells=4)


def firing(*streams: str | None, kind: str = "ood") -> dict:
    return {(s, kind): Alert(stream=s, kind=kind, bucket=0, raised_at=0.0, onset_at=0.0) for s in streams}  # type: ignore[arg-type]


# -- laid out ----------------------------------------------------------------------------------------------------------


def literal_counts(one: Bucket, state: MonitorState) -> dict[Key, list[int]]:
    """Counts of every key that has samples in the bucket."""
    found: dict[Key, list[int]] = defaultdict(lambda: [0] * 7)
    for (stream, label), row in one.counts.items():
        keys: list[Key] = [(stream, label), (stream, None)]
        keys += [] if (stream, "ood") in state.alerts else [EVERYTHING]
        for key in keys:
            found[key] = [a + b for a, b in zip(found[key], row, strict=True)]
    return {key: row for key, row in found.items() if sum(row)}


def literal_evidence(key: Key, counts: list[int], one: Bucket, state: MonitorState) -> Evidence:
    """One key after the bucket; the clock of one that was never seen starts with the bucket."""
    own = ev.taken(state.evidence, np.array([state.rows[key]])) if key in state.rows else Evidence.empty(1)
    if key not in state.rows:
        own.seen_at[0] = one.start
    null = HOW.class_nulls.get(key[1], TIGHT) if key[1] is not None else TIGHT
    span = {"start": one.start, "end": one.end, "flag_cells": 4}
    return ev.update(own, np.array([0]), np.array([counts]), ev.log_bets(null), **span)  # type: ignore[arg-type]


def check(level: Levels, one: Bucket, state: MonitorState) -> None:
    counts = literal_counts(one, state)
    passed: dict[str, set[int | None]] = defaultdict(set)
    for key, row in counts.items():
        own = literal_evidence(key, row, one, state)
        for name in ("log_m", "since", "seen_at", "heard", "gap"):
            found = getattr(level.evidence, name)[level.rows[key]]
            np.testing.assert_allclose(found, getattr(own, name)[0], rtol=1e-12, err_msg=f"{key} {name}")
        if own.log_mean()[0] >= HOW.log_threshold(key) and key != EVERYTHING:
            passed[str(key[0])].add(key[1])
        if key == EVERYTHING:
            assert level.everything_passed == (own.log_mean()[0] >= HOW.log_threshold(EVERYTHING))
    streams = sorted({str(s) for s, _ in counts if s is not None})
    assert level.streams == tuple(streams)
    assert {s: set(v) for s, v in level.passed.items()} == passed
    assert level.eventful == tuple(s for s in streams if (s, "ood") in state.alerts or s in passed)
    assert {s: v.tolist() for s, v in level.counts.items()} == {s: counts[s, None] for s in level.eventful}
    by_class = {s: sorted(k[1] for k in counts if k[0] == s and k[1] is not None) for s in level.eventful}
    assert {s: [(c, row.tolist()) for c, row in v] for s, v in level.by_class.items()} == {
        s: [(c, counts[s, c]) for c in labels] for s, labels in by_class.items()
    }
    assert level.rest.tolist() == counts.get(EVERYTHING, [0] * 7)
    assert level.rest.dtype == np.int64
    calm = sum(counts.get(EVERYTHING, [0]))
    spent = {"stream": calm, "class": calm, "everything": 0 if (None, "ood") in state.alerts else calm}
    assert level.samples == {k: state.samples[k] + n for k, n in spent.items()}
    untouched = [row for key, row in state.rows.items() if key not in counts]
    for name in ("log_m", "seen_at"):
        assert (getattr(level.evidence, name)[untouched] == getattr(state.evidence, name)[untouched]).all()


@pytest.mark.parametrize("alerts", [(), ("b",), ("a", "b"), (None,), ("a", "b", "c")], ids=str)
def test_every_level_is_the_sum_of_its_keys_and_their_evidence(alerts: tuple) -> None:
    rng, seen, passes = np.random.default_rng(3), MonitorState.new(HOW), 0
    for i in range(12):
        keys = [(s, c) for s in "cab" for c in (4, 0, 1) if rng.random() < 0.6]
        heavy = law(0.4 if i > 6 else 0.0)
        counts = {k: rng.multinomial(rng.integers(0, 30), heavy) for k in keys}
        one = bucket(i, counts, width=10.0)
        state = replace(seen, alerts=firing(*alerts))
        level = laid_out(state, one, HOW)
        check(level, one, state)
        passes += len(level.passed)
        seen = replace(seen, rows=level.rows, evidence=level.evidence, samples=level.samples)
    assert passes > 5


def test_a_silence_that_fires_hides_nothing_and_without_class_nulls_no_class_spends() -> None:
    how = rules(levels=ALL)
    state = replace(MonitorState.new(how), alerts=firing("a", None, kind="silence"))
    level = laid_out(state, bucket(0, {("a", 0): np.array([0, 0, 0, 0, 0, 1, 9])}), how)
    assert level.samples == {"stream": 10, "class": 0, "everything": 10}
    assert level.eventful == ()


@pytest.mark.parametrize("counts", [{}, {("a", 0): np.zeros(7, dtype=int)}], ids=["no stream", "no sample"])
def test_a_bucket_without_samples_changes_no_evidence(counts: dict) -> None:
    state, _ = run(surge(0, before=3, during=0, after=0), HOW)
    level = laid_out(state, bucket(9, counts), HOW)
    assert (level.rows, level.streams, level.eventful, level.rest.tolist()) == (state.rows, (), (), [0] * 7)
    assert level.evidence.log_m.tolist() == state.evidence.log_m.tolist()
    assert level.samples == state.samples


@pytest.mark.parametrize("key", [("a", None), ("a", 1), EVERYTHING], ids=str)
def test_a_key_passes_at_its_threshold_and_not_below(key: Key) -> None:
    """The budget is set so that the threshold is the evidence itself, or a rounding above it."""
    one = bucket(5, {("a", 1): np.array([3, 1, 0, 0, 0, 0, 6])})
    level = laid_out(MonitorState.new(HOW), one, HOW)
    reached = float(np.exp(ev.taken(level.evidence, np.array([level.rows[key]])).log_mean()[0]))
    for factor, passes in ((1 - 1e-9, True), (1 + 1e-9, False)):
        of = {"a": "stream", None: "everything"}[key[0]] if key[1] is None else "class"
        how = replace(HOW, budget=Budget(reached * factor, {of: 1.0}))  # type: ignore[dict-item]
        found = laid_out(MonitorState.new(how), one, how)
        assert found.passed == ({"a": [key[1]]} if passes and key[0] else {})
        assert found.everything_passed == (passes and key == EVERYTHING)


@pytest.mark.parametrize("key", [("a", None), ("a", 1), EVERYTHING], ids=str)
def test_evidence_of_exactly_the_threshold_passes(key: Key) -> None:
    how = replace(HOW, budget=Budget(300.0, {"stream": 1.0}), class_nulls={}) if key == ("a", None) else HOW
    at = how.log_threshold(key)
    assert _passed([key], np.array([at]), how) == ({} if key == EVERYTHING else {"a": [key[1]]}, key == EVERYTHING)
    assert _passed([key], np.array([np.nextafter(at, 0)]), how) == ({}, False)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({("b", 0): [1, 2], ("a", 0): [1] * 7}, "bucket 3, stream 'b': 2 cells given, expected 7"),
        ({("b", 0): [1] * 7, ("a", 0): [1] * 6 + [-1]}, "bucket 3: counts below 0 given"),
    ],
)
def test_counts_that_cannot_be_are_refused_in_a_whole_sentence(counts: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fold(MonitorState.new(HOW), Bucket(3, 0, 1, counts), HOW)


def test_experts_that_counted_different_samples_are_refused_in_a_whole_sentence() -> None:
    how = Rules(Budget(1e5, {"stream": 1.0}), KNOWN, experts=("line", "angle"))
    message = (
        "bucket 3: the experts line, angle have not counted the same number of samples, expected one count of each for "
        "every sample"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fold(MonitorState.new(how), Bucket(3, 0, 1, {("a", 0): [1] * 13 + [2]}), how)


# -- the rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"flag_cells": 0}, "flag_cells 0 given, expected 1 to 6"),
        ({"flag_cells": 7}, "flag_cells 7 given, expected 1 to 6"),
        ({"experts": ()}, "no expert given, expected at least one"),
        (
            {"class_nulls": {0: KNOWN, 3: nulls.Nulls((0.1, 1.0))}},
            "class nulls of other than 7 cells given, expected the cells of the pooled ones",
        ),
        (
            {"class_nulls": {3: (KNOWN, nulls.Nulls((0.1, 1.0)))}, "experts": ("line", "angle")},
            "class nulls of other than 7 cells given, expected the cells of the pooled ones",
        ),
    ],
)
def test_rules_that_fit_nothing_are_refused_in_a_whole_sentence(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Rules(Budget(1e5), KNOWN, **wrong)


def test_the_first_cell_alone_or_all_but_the_last_may_count_as_flagged() -> None:
    assert Rules(Budget(1e5), KNOWN, flag_cells=1).null_rate() == CELL_EDGES[0]
    assert Rules(Budget(1e5), KNOWN, flag_cells=6).null_rate() == CELL_EDGES[5]


PANEL = Rules(
    Budget(1e4, {"stream": 1.0, "class": 3.0}),
    TIGHT,
    class_nulls={4: (WIDE, KNOWN), 1: KNOWN},
    contaminations=(0.1, 0.5, 1.0),
    experts=("line", "angle"),
)


def test_bets_lie_by_class_expert_and_contamination_and_a_resolve_has_no_margin() -> None:
    panel = replace(PANEL)
    shares, plain = panel.contaminations, replace(TIGHT, margin=1.0)
    assert TIGHT.margin > 1.01
    assert panel.table_of == {1: 1, 4: 2}
    assert (panel.cells, panel.all_cells, panel.columns) == (7, 14, 6)
    for table, pair in enumerate(((TIGHT, TIGHT), (KNOWN, KNOWN), (WIDE, KNOWN))):
        for e, own in enumerate(pair):
            block = panel.tables[table][3 * e : 3 * e + 3]
            assert block[:, 7 * e : 7 * e + 7].tolist() == ev.log_bets(own, shares).tolist()
            assert not np.delete(block, np.s_[7 * e : 7 * e + 7], axis=1).any()
    alert = replace(firing("a")["a", "ood"], bet=2, expert=1)
    expected = [ev.log_bets(own, shares)[2].tolist() for own in (plain, KNOWN, KNOWN, plain)]
    assert panel.resolve_bets(alert, [None, 4, 1, 9]).tolist() == expected
    assert panel.resolve_bets(replace(alert, expert=0), [4]).tolist() == [ev.log_bets(WIDE, shares)[2].tolist()]
    assert panel.resolve_bets(alert).tolist() == expected[:1]


def test_each_expert_has_its_own_cells_columns_and_masses() -> None:
    counts = np.arange(28).reshape(2, 14)
    assert PANEL.counts_of(1, counts).tolist() == counts[:, 7:].tolist()
    assert PANEL.counts_of(0, counts[0]).tolist() == list(range(7))
    assert (PANEL.columns_of(0), PANEL.columns_of(1)) == (slice(0, 3), slice(3, 6))
    assert PANEL.nulls_of() is PANEL.nulls_of(9, 1) is TIGHT
    assert (PANEL.nulls_of(4), PANEL.nulls_of(4, 1), PANEL.nulls_of(1, 1)) == (WIDE, KNOWN, KNOWN)
    assert (PANEL.null_rate(), PANEL.null_rate(4), PANEL.null_rate(4, 1)) == (TIGHT.steps[4], WIDE.steps[4], 0.05)


def test_thresholds_are_those_of_the_levels_and_no_class_without_masses_of_its_own_may_raise() -> None:
    assert PANEL.log_threshold(("a", None)) == math.log(4e4)
    assert PANEL.log_threshold(("a", 1)) == math.log(4e4 / 3)
    assert PANEL.log_threshold(("a", 9)) == math.inf
    assert PANEL.log_threshold(EVERYTHING) == math.inf, "a level that is not watched"
    assert HOW.log_threshold(EVERYTHING) == math.log(900)


# -- the state ---------------------------------------------------------------------------------------------------------


def test_a_new_state_knows_everything_together_and_nothing_else() -> None:
    new = MonitorState.new(PANEL)
    assert (new.rows, new.alerts, new.raises, new.last_bucket, new.last_end) == (
        {EVERYTHING: 0},
        {},
        0,
        None,
        -math.inf,
    )
    assert new.samples == {"stream": 0, "class": 0, "everything": 0}
    assert new.evidence.log_m.shape == (1, 6)
    assert new.log_evidence(EVERYTHING) == -math.inf
    assert MonitorState.new(HOW).evidence.log_m.shape == (1, len(CONTAMINATIONS))


def test_rows_and_evidence_of_a_stream_are_found_and_forgotten_with_its_alerts_alone() -> None:
    how = rules(levels=ALL)
    state, _ = run(surge(3, streams=("a", "b"), contamination=0.0, before=4, during=0, after=0, classes=2), how)
    mean = np.log(np.exp(state.evidence.log_m).mean(axis=1))
    assert state.log_evidence(("b", 1)) == pytest.approx(float(mean[state.rows["b", 1]]))
    assert sorted(state.rows_of("b")) == sorted(state.rows["b", label] for label in (None, 0, 1))
    state = replace(state, alerts={**firing("a", "b", None), **firing("a", kind="silence")})
    less = state.without({"a", "None"})
    assert set(less.alerts) == {("b", "ood"), (None, "ood")}
    assert list(less.rows.values()) == list(range(4))
    for key, row in less.rows.items():
        assert less.evidence.log_m[row].tolist() == state.evidence.log_m[state.rows[key]].tolist()
