"""The packed state, field by field: what a store is given, and that the same state comes back."""

from __future__ import annotations

import json
import math
import re
import struct
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest

from monitor.math import packing
from monitor.math.lifecycle import Alert
from monitor.math.state import EVERYTHING, MonitorState
from tests.unit.monitor.alert_streams import bucket, law, rules, run, surge

HOW = rules(levels=("stream", "class", "everything"))
FIELDS = ("log_m", "since", "seen_at", "heard", "gap")
FIRST = Alert(stream="a", kind="ood", bucket=2, raised_at=30.0, onset_at=21.0, by_class=((0, 3.0, 1.0), (1, 2.0, 2.0)))
LAST = Alert(stream=None, kind="silence", bucket=1, raised_at=20.0, onset_at=9.0, streams=("b", "c"), expert=2)


def known() -> MonitorState:
    """Two streams, seen at uneven times, and two alerts."""
    state, _ = run(surge(1, streams=("b", "a"), contamination=0.0, before=3, during=0, after=0, classes=2), HOW)
    state, _ = run([bucket(7, {("b", 5): law(0) * 100 // 1})], HOW, state)
    alerts = {(x.stream, x.kind): x for x in (LAST, FIRST)}
    return replace(state, alerts=alerts, raises=4, samples={"stream": 5, "class": 0, "everything": 2})


def through_a_store(state: MonitorState, names: list[str] | None = None, columns: int = 7) -> MonitorState:
    kept = json.loads(json.dumps([packing.header(state), packing.streams(state, names)], allow_nan=False))
    return packing.unpacked(*kept, columns)


def test_a_state_comes_back_bit_for_bit() -> None:
    state = known()
    back = through_a_store(state)
    assert back.rows.keys() == state.rows.keys()
    order = [state.rows[key] for key in back.rows]
    assert list(back.rows.values()) == list(range(len(order)))
    for name in FIELDS:
        rows = slice(None) if name not in ("heard", "gap") else slice(1, None)  # nobody asks for everything's
        assert getattr(back.evidence, name)[rows].tobytes() == getattr(state.evidence, name)[order][rows].tobytes(), (
            name
        )
    for name in ("alerts", "samples", "raises", "last_bucket", "last_end"):
        assert getattr(back, name) == getattr(state, name), name
    assert all(v.flags.writeable for v in (back.evidence.log_m, back.evidence.since, back.evidence.seen_at))


def test_a_state_that_has_seen_nothing_comes_back() -> None:
    new = MonitorState.new(HOW)
    back = through_a_store(new)
    assert (back.rows, back.alerts, back.samples) == (new.rows, {}, new.samples)
    assert (back.raises, back.last_bucket, back.last_end) == (0, None, -math.inf)
    for name in FIELDS:
        assert getattr(back.evidence, name).tobytes() == getattr(new.evidence, name).tobytes(), name


def test_the_header_holds_all_but_the_streams_in_plain_values() -> None:
    state = known()
    head = packing.header(state)
    everything = state.rows[EVERYTHING]
    assert head == {
        "format": 3,
        "last_bucket": 7,
        "last_end": 80.0,
        "raises": 4,
        "samples": {"stream": 5, "class": 0, "everything": 2},
        "alerts": [packing.plain(FIRST), packing.plain(LAST)],
        "everything": [
            80.0,
            state.evidence.log_m[everything].tolist(),
            state.evidence.since[everything].ravel().tolist(),
        ],
    }
    empty = packing.header(MonitorState.new(HOW))
    assert (empty["last_bucket"], empty["last_end"], empty["everything"]) == (None, None, [0.0, None])


def test_a_stream_is_its_classes_and_a_row_of_float64_for_each() -> None:
    state = known()
    packed = packing.streams(state)
    assert set(packed) == {"a", "b"}
    assert (packed["a"][0], packed["b"][0]) == ([0, 1, None], [0, 1, None, 5])
    for stream, (labels, text) in packed.items():
        expected = []
        for label in labels:
            row, e = state.rows[stream, label], state.evidence
            expected += [e.seen_at[row], e.heard[row], e.gap[row], *e.log_m[row], *e.since[row].ravel()]
        assert b64decode(text) == struct.pack(f"<{len(expected)}d", *expected)
    assert packing.streams(state, ["b", "nobody"]) == {"b": packed["b"]}
    assert packing.streams(state, []) == {}


def test_a_stream_has_changed_if_it_was_heard_or_any_column_of_its_evidence_moved_or_it_is_new() -> None:
    before = known()
    assert packing.changed(before, before) == []

    def moved(name: str, key: tuple, column: int | None = None) -> MonitorState:
        values = getattr(before.evidence, name).copy()
        values[before.rows[key] if column is None else (before.rows[key], column)] += 1.0
        return replace(before, evidence=replace(before.evidence, **{name: values}))

    assert packing.changed(before, moved("seen_at", ("b", 1))) == ["b"]
    assert packing.changed(before, moved("log_m", ("a", None), 6)) == ["a"]
    assert packing.changed(before, moved("log_m", EVERYTHING, 0)) == [], "everything together is in the header"
    after, _ = run([bucket(8, {("c", 0): law(0) * 100 // 1, ("a", 0): law(0) * 100 // 1})], HOW, before)
    assert packing.changed(before, after) == ["a", "c"]


@pytest.mark.parametrize("written", [1, 4, None])
def test_another_format_is_refused_in_a_whole_sentence(written: int | None) -> None:
    message = f"alert state of format {written} was found, expected 3: read it with its own release"
    head = {k: v for k, v in {**packing.header(known()), "format": written}.items() if v is not None}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        packing.unpacked(head, {})


def test_a_state_of_another_number_of_columns_is_not_read_as_this_one() -> None:
    with pytest.raises(ValueError, match="shape"):
        through_a_store(known(), columns=8)


def test_rows_are_made_for_the_streams_that_were_kept_alone() -> None:
    state = known()
    some = through_a_store(state, ["b"])
    assert list(some.rows) == [EVERYTHING, ("b", 0), ("b", 1), ("b", None), ("b", 5)]
    assert some.log_evidence(("b", 5)) == state.log_evidence(("b", 5))
    assert np.isfinite(some.evidence.log_m).all()
