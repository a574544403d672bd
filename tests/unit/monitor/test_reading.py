"""Reading a whole poll says of each record what the contract says of it alone."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import RecordError, RecordSkippedError
from monitor.messages import Contract, Record, plain, reading
from monitor.messages.accepting import Rule
from monitor.messages.limits import Limits
from monitor.messages.names import StreamFrom
from monitor.messages.reading import Reader
from monitor.messages.rows import Rows
from monitor.messages.text import printable

NOW = 1_700_000_000_000
ROW = np.array([0.5, -1.25, 3.0, 1.0], "<f4").tobytes()
NAMES = st.sampled_from(
    [
        "ce_id",
        "id",
        "CE_ID",
        "ce_time",
        "time",
        "ce_model",
        "model",
        "ce_dtype",
        "ce_dim",
        "dim",
        "content-type",
        "x",
        "ce_type",
        "Inference-Header-Content-Length",
        "site",
    ]
)
VALUES = st.sampled_from(
    [
        b"", b"x", b"\xff", None, b"resnet", b"float32", b"float16", b"int8", b"4", b"5", b"four",
        b"application/octet-stream", b"application/json", b"application/cloudevents+json", b"application/protobuf",
        b"response", b"request", b"__canary__1", b"7", b"application/x-float32; v=1", b"image/png",
        "²".encode(), b"1" * 400, b"i" * 300, b"v" * 5000,
        b"2023-11-14T22:13:19.500Z", b"2001-01-01T00:00:00Z", b"2101-01-01T00:00:00Z", str(NOW - 5).encode(),
    ]
)  # fmt: skip
TENSOR = {"name": "embedding", "datatype": "FP32", "shape": [2, 4], "data": [1, 2, 3, 4] * 2}
RESPONSE = {"model_name": "resnet", "parameters": {"site": "north"}, "outputs": [TENSOR]}
DOCUMENTS = [
    json.dumps(document).encode()
    for document in (
        RESPONSE, {**RESPONSE, "model_name": "vit", "outputs": []}, {"embedding": [1, 2, 3, 4], "site": "north"},
        {"type": "response", "data": RESPONSE}, {"type": "request", "site": "south", "data": "x"},
        {"type": "response", "site": 7, "data_base64": base64.b64encode(ROW).decode()}, {"site": []},
    )
]  # fmt: skip
RECORDS = st.builds(
    Record,
    st.sampled_from(["t", "u"]),
    st.integers(0, 2),
    st.integers(0, 99),
    st.sampled_from([NOW, NOW, NOW + 5000, -1, None]),
    st.sampled_from([None, b"", b"tenant", b"\xff\xfe", b"k" * 300, b"__overflow__", b"__canary__0"]),
    st.sampled_from([None, b"", ROW, ROW, ROW, ROW[:8], ROW[:7], b"x" * 99, b"{", *DOCUMENTS]),
    st.lists(st.tuples(NAMES, VALUES), max_size=5).map(tuple),
)
RULES = [{"ce_type": "response"}, {"topic": "t"}, {"topic": "*", "model": ["res*", "x"]}, {"x": "*"}, {"site": "7"}]
SETTINGS = st.builds(
    Contract,
    st.sampled_from([4, 4, 4, 8]),
    st.sampled_from(["", "", "resnet"]),
    st.sampled_from(["default", "other"]),
    st.sampled_from([1000, 1000, 64, 15]),
    other_models=st.sampled_from(["reject", "skip"]),
    limits=st.sampled_from([Limits(), Limits(headers=3, header_bytes=8, id_length=5, stream_length=40, rows=1)]),
    format=st.sampled_from(["raw", "raw", "json", "v2-json", "v2-protobuf", "cloudevents", "msgpack"]),
    stream_from=st.sampled_from(["key", "topic", "constant", "header:site", "header:ce_type", "field:site"]).map(
        StreamFrom.parse
    ),
    accept=st.lists(st.sampled_from(RULES), max_size=2).map(lambda rules: tuple(Rule.of(rule) for rule in rules)),
)
CONTRACTS = [Contract(4), Contract(4, model="resnet", max_bytes=64), Contract(4, max_bytes=15), Contract(8)]


def literally(contract, records):
    """One record after the other, by the contract."""
    rows, rejected, skipped = [], [], []
    for n, record in enumerate(records):
        try:
            rows += [(n, e.id, e.stream, e.time_ms, bytes(e.vector)) for e in contract.read(record, NOW)]
        except RecordSkippedError:
            skipped.append(n)
        except RecordError as error:
            if error.reason == "wrong-model" and contract.other_models == "skip":
                skipped.append(n)
            else:
                rejected.append((record, error.reason, printable(error.detail, reading.DETAIL)))
    ahead = [records[n].timestamp_ms - NOW for n in {row[0] for row in rows} if (records[n].timestamp_ms or 0) > NOW]
    return rows, rejected, skipped, (len(ahead), max(ahead, default=0))


def at_once(reader, records):
    rows = Rows()
    rejected = reader.read(records, rows, NOW)
    place = {id(r): n for n, r in enumerate(records)}
    whose = [place[id(rows.records[at])] for at in rows.record_of]
    found = zip(whose, rows.ids, rows.streams, rows.times_ms, map(bytes, rows.vectors), strict=True)
    return list(found), rejected, [place[id(r)] for r in rows.skipped], (rows.ahead, rows.ahead_ms)


@given(st.lists(RECORDS, max_size=12), st.sampled_from(CONTRACTS))
def test_a_poll_read_at_once_is_every_record_read_by_the_contract(records, contract):
    reader = Reader(contract)
    expected = literally(contract, records)
    assert at_once(reader, records) == expected
    assert at_once(reader, records) == expected  # from what is remembered


@settings(max_examples=400)
@given(st.lists(RECORDS, max_size=12), SETTINGS)
def test_a_poll_read_at_once_is_every_record_read_by_the_contract_under_any_settings(records, contract):
    reader = Reader(contract)
    expected = literally(contract, records)
    assert at_once(reader, records) == expected
    assert at_once(reader, records) == expected  # from what is remembered


@pytest.mark.parametrize(
    ("chosen", "taken"),
    [
        ({"stream_from": "header:site"}, [("north", 0), ("default", 1), ("north", 2), ("default", 3)]),
        ({"stream_from": "topic"}, [("t", 0), ("t", 1), ("u", 2), ("u", 3)]),
        ({"stream_from": "constant"}, [("default", n) for n in range(4)]),
        ({"accept": {"topic": "u"}}, [("k", 2), ("k", 3)]),
        ({"accept": {"site": "n*"}, "stream_from": "topic"}, [("t", 0), ("u", 2)]),
    ],
)
def test_raw_vectors_need_no_literal_reading_under_other_settings(chosen, taken, monkeypatch):
    stream_from = StreamFrom.parse(chosen.get("stream_from", "key"))
    accept = (Rule.of(chosen["accept"]),) if "accept" in chosen else ()
    reader = Reader(Contract(4, stream_from=stream_from, accept=accept))
    literal, seen = reader._literal, []
    monkeypatch.setattr(reader, "_literal", lambda record, *rest: seen.append(record) or literal(record, *rest))
    site = (("site", b"north"),)
    records = [Record("tu"[n // 2], 0, n, NOW, b"k", ROW, () if n % 2 else site) for n in range(4)]
    rows = Rows()
    assert reader.read(records, rows, NOW) == []
    assert [(stream, r.offset) for stream, r in zip(rows.streams, rows.records, strict=True)] == taken
    assert seen == rows.skipped  # only those


@pytest.mark.parametrize(
    ("stream_from", "headers"),
    [
        ("header:site", [(("site", b"s" * 5000),)]),
        ("header:site", [(("site", b"\xff"),)]),
        ("key", [(("Inference-Header-Content-Length", None),), (("Inference-Header-Content-Length", b"3"),)]),
    ],
)
def test_headers_that_take_a_raw_vector_from_the_fast_path(stream_from, headers):
    contract = Contract(4, stream_from=StreamFrom.parse(stream_from))
    records = [Record("t", 0, n, NOW, b"k", ROW, some) for n, some in enumerate(headers)]
    expected = literally(contract, records)
    assert expected[1][-1][0] == records[-1]  # it is rejected
    assert at_once(Reader(contract), records) == expected


def test_what_is_remembered_stays_small_where_nothing_repeats(monkeypatch):
    monkeypatch.setattr(plain, "REMEMBERED", 10)
    reader = Reader(Contract(4))
    for n in range(100):
        headers = ((f"h{n}", b""), ("ce_dim", b"4"), ("ce_time", str(NOW - n).encode()))
        found, rejected, *_ = at_once(reader, [Record("t", 0, n, NOW, b"tenant-%d" % n, ROW, headers)])
        assert (found, rejected) == ([(0, f"t:0:{n}", f"tenant-{n}", NOW - n, ROW)], [])
    assert max(len(reader._plain._layouts), len(reader._plain._streams), len(reader._plain._times)) <= 10


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
    (layout,) = reader._plain._layouts.values()
    assert len(layout.plain) == 1


class Unforeseen(Contract):
    """A contract with a fault in it."""

    def read(self, record, now_ms=None):
        if record.offset == 3:
            raise {0: KeyError, 1: MemoryError, 2: RecursionError, 3: AssertionError}[record.partition]("what")
        return super().read(record, now_ms)


@pytest.mark.parametrize("partition", range(4))
def test_a_fault_that_nobody_foresaw_costs_its_own_record_alone(partition):
    rows = Rows()
    records = [Record("t", partition, n, NOW, None, ROW[:-1] if n == 3 else ROW) for n in range(6)]
    ((record, reason, detail),) = Reader(Unforeseen(4)).read(records, rows)
    assert (record.offset, reason) == (3, "undecodable")
    assert detail.startswith("unforeseen ")
    assert "Error: what (test_reading.py:" in detail or "Error: 'what' (test_reading.py:" in detail
    assert [r.offset for r in rows.records] == [0, 1, 2, 4, 5]


def test_being_told_to_stop_is_no_fault_of_a_record():
    class Stopped(Contract):
        def read(self, record, now_ms=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Reader(Stopped(4)).read([Record("t", 0, 0, NOW, None, b"x")], Rows())


def test_another_model_s_records_are_passed_over_if_asked_and_are_not_rejected():
    records = [Record("t", 0, n, NOW, None, ROW, (("ce_model", b"vit" if n % 2 else b"resnet"),)) for n in range(6)]
    rows = Rows()
    assert Reader(Contract(4, model="resnet", other_models="skip")).read(records, rows) == []
    assert [r.offset for r in rows.skipped] == [1, 3, 5]
    assert [r.offset for r in rows.records] == [0, 2, 4]
    rejected = Reader(Contract(4, model="resnet")).read(records, Rows())
    assert [(r.offset, reason) for r, reason, _ in rejected] == [(n, "wrong-model") for n in (1, 3, 5)]


def test_another_model_s_records_are_passed_over_whatever_is_in_them():
    vit = (("ce_model", b"vit"),)
    records = [Record("t", 0, n, NOW, b"\xff", value, vit) for n, value in enumerate([None, b"", b"{", b"x" * 10**6])]
    rows = Rows()
    assert Reader(Contract(4, model="resnet", other_models="skip", max_bytes=99)).read(records, rows) == []
    assert rows.skipped == records


def test_records_stamped_ahead_of_the_clock_count_now_and_are_counted_as_ahead():
    text = (("content-type", b"application/json"),)
    values = [(ROW, ()), (b'{"embedding":[1,2,3,4]}', text), (ROW, ())]
    records = [Record("t", 0, n, NOW + 1000 * n, None, value, headers) for n, (value, headers) in enumerate(values)]
    rows = Rows()
    assert Reader(Contract(4)).read(records, rows, NOW) == []
    assert rows.times_ms == [NOW] * 3
    assert (rows.ahead, rows.ahead_ms) == (2, 2000)


def test_reading_stops_once_there_is_no_room_and_says_how_far_it_came():
    many = b'{"embedding":[1,2,3,4]}'
    records = [
        Record("t", 0, n, NOW, None, many if n % 3 else ROW, (("content-type", b"application/json"),) if n % 3 else ())
        for n in range(20)
    ]
    reader, rows = Reader(Contract(4)), Rows()
    at = 0
    while at < 20:
        part = Rows()
        assert reader.read(records[at:], part, NOW, room=6) == []
        assert len(part) == min(6, 20 - at)
        at += part.taken
        rows.ids += part.ids
    assert rows.ids == [f"t:0:{n}" for n in range(20)]


def test_names_that_senders_choose_are_not_kept_in_memory_if_they_are_long():
    reader = Reader(Contract(4))
    for n in range(20):
        name, key, model = "n" * 50_000 + str(n), b"k" * 50_000 + b"%d" % n, b"m" * 3000 + b"%d" % n
        at_once(reader, [Record("t", 0, n, NOW, key, ROW, ((name, b""), ("ce_model", model)))])
        at_once(reader, [Record("t", 0, n, NOW, key, ROW, (("ce_model", model), ("ce_time", b"9" * 3000)))])
    assert reader._plain._streams == reader._plain._times == {}
    assert all(not layout.plain for layout in reader._plain._layouts.values())
    assert max(sum(map(len, names)) for names in reader._plain._layouts) < 2000


def test_what_is_remembered_of_headers_stays_small_however_senders_mix_them():
    reader = Reader(Contract(4))
    for n in range(700):
        for model in range(3):
            headers = ((f"h{n}", b""), ("ce_model", b"%d" % (n * 100 + model)))
            at_once(reader, [Record("t", 0, n, NOW, None, ROW, headers)])
        at_once(reader, [Record("t", 0, n, NOW, None, ROW, (("ce_model", b"x%d" % n),))])
    assert len(reader._plain._layouts) <= plain.LAYOUTS
    assert max(len(layout.plain) for layout in reader._plain._layouts.values()) <= plain.PLAIN
