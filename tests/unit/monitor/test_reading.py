"""Reading a whole poll says of each record what the contract says of it alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import RecordError
from monitor.messages import Contract, Record, reading
from monitor.messages.reading import Reader, Rows

NOW = 1_700_000_000_000
ROW = np.array([0.5, -1.25, 3.0, 1.0], "<f4").tobytes()
NAMES = st.sampled_from(
    ["ce_id", "id", "CE_ID", "ce_time", "time", "ce_model", "model", "ce_dtype", "ce_dim", "dim", "content-type", "x"]
)
VALUES = st.sampled_from(
    [
        b"", b"x", b"\xff", None, b"resnet", b"float32", b"float16", b"int8", b"4", b"5", b"four",
        b"application/octet-stream", b"application/json", b"application/x-float32; v=1", b"image/png",
        b"2023-11-14T22:13:19.500Z", b"2001-01-01T00:00:00Z", b"2101-01-01T00:00:00Z", str(NOW - 5).encode(),
    ]
)  # fmt: skip
RECORDS = st.builds(
    Record,
    st.just("t"),
    st.integers(0, 2),
    st.integers(0, 99),
    st.just(NOW),
    st.sampled_from([None, b"", b"tenant", b"\xff\xfe", b"k" * 300]),
    st.sampled_from([None, b"", ROW, ROW, ROW, ROW[:8], ROW[:7], b"x" * 99, b"{"]),
    st.lists(st.tuples(NAMES, VALUES), max_size=5).map(tuple),
)
CONTRACTS = [Contract(4), Contract(4, model="resnet", max_bytes=64), Contract(4, max_bytes=15), Contract(8)]


def literally(contract, records):
    """One record after the other, by the contract."""
    rows, rejected = [], []
    for n, record in enumerate(records):
        try:
            rows += [(n, e.id, e.stream, e.time_ms, bytes(e.vector)) for e in contract.read(record)]
        except RecordError as error:
            rejected.append((record, error.reason, error.detail))
    return rows, rejected


def at_once(reader, records):
    rows = Rows()
    rejected = reader.read(records, rows)
    place = {id(r): n for n, r in enumerate(records)}
    whose = [place[id(rows.records[at])] for at in rows.record_of]
    found = zip(whose, rows.ids, rows.streams, rows.times_ms, map(bytes, rows.vectors), strict=True)
    return list(found), rejected


@given(st.lists(RECORDS, max_size=12), st.sampled_from(CONTRACTS))
def test_a_poll_read_at_once_is_every_record_read_by_the_contract(records, contract):
    reader = Reader(contract)
    expected = literally(contract, records)
    assert at_once(reader, records) == expected
    assert at_once(reader, records) == expected  # from what is remembered


def test_what_is_remembered_stays_small_where_nothing_repeats(monkeypatch):
    monkeypatch.setattr(reading, "REMEMBERED", 10)
    reader = Reader(Contract(4))
    for n in range(100):
        headers = ((f"h{n}", b""), ("ce_dim", b"4"), ("ce_time", str(NOW - n).encode()))
        found, rejected = at_once(reader, [Record("t", 0, n, NOW, b"tenant-%d" % n, ROW, headers)])
        assert (found, rejected) == ([(0, f"t:0:{n}", f"tenant-{n}", NOW - n, ROW)], [])
    assert max(len(reader._layouts), len(reader._streams), len(reader._times)) <= 10


def test_rows_that_are_added_follow_those_that_were_there():
    reader, rows = Reader(Contract(4)), Rows()
    for n in range(2):
        assert reader.read([Record("t", n, 7, NOW, None, ROW)], rows) == []
    assert rows.record_of == [0, 1]
    assert [rows.records[at].partition for at in rows.record_of] == [0, 1]
    assert len(rows) == 2


@pytest.mark.parametrize("header", ["traceparent", "ce_source"])
def test_headers_that_the_contract_does_not_look_at_cost_no_memory(header):
    reader = Reader(Contract(4))
    for n in range(50):
        at_once(reader, [Record("t", 0, n, NOW, None, ROW, ((header, b"%d" % n),))])
    (layout,) = reader._layouts.values()
    assert len(layout.plain) == 1
