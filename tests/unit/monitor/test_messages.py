"""What a record must be, and by which name it is rejected."""

from __future__ import annotations

import base64
import builtins
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import RecordError
from monitor.messages import REASONS, Contract, Record, decoders, json_limits
from monitor.messages.limits import Limits
from monitor.messages.names import StreamFrom
from monitor.messages.reading import Reader
from monitor.messages.reasons import ADVICE
from monitor.messages.rows import Rows

ROW = np.array([0.5, -1.25, 3.0, 65504.0], "<f4")
NOW = 1_700_000_000_000
CONTRACT = Contract(4, model="resnet", max_bytes=4096, max_age_ms=10_000, max_ahead_ms=1000, limits=Limits(rows=8))
MODEL = ("ce_model", b"resnet")


def record(value, *headers, key=b"tenant", stamp=NOW, kind=None):
    content = (("content-type", kind.encode()),) if kind is not None else ()
    return Record("t", 2, 7, stamp, key, value, (*content, *headers))


def arrow(ids=("x", "y"), rows=2, kind=None):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    flat = pa.array(np.tile(ROW, rows).astype(kind or "f4"))
    table = pa.table({"embedding": pa.FixedSizeListArray.from_arrays(flat, 4), "id": list(ids)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def encoded(kind):
    common = {"id": "x", "model": "resnet", "dtype": "float32", "dim": 4}
    if kind == "application/octet-stream":
        return record(ROW.tobytes(), MODEL, ("ce_id", b"x"))
    if kind == "application/json":
        return record(json.dumps({**common, "embedding": ROW.tolist()}).encode(), kind=kind)
    if kind == "application/cloudevents+json":
        data = {"embedding_base64": base64.b64encode(ROW.tobytes()).decode()}
        return record(json.dumps({**common, "data": data}).encode(), kind=kind)
    if kind == "application/msgpack":
        msgpack = pytest.importorskip("msgpack", reason="msgpack is not installed")
        return record(msgpack.packb({**common, "embedding": ROW.tobytes()}), kind=kind)
    if kind == "application/protobuf":
        pytest.importorskip("google.protobuf", reason="protobuf is not installed")
        from monitor.messages.decoders.protobuf import message_class

        return record(message_class()(**common, embedding=ROW.tobytes()).SerializeToString(), kind=kind)
    return record(arrow(["x"], 1), MODEL, kind="application/vnd.apache.arrow.stream")


KINDS = [
    "application/octet-stream", "application/json", "application/cloudevents+json", "application/msgpack",
    "application/protobuf", "application/vnd.apache.arrow.stream",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_embedding(kind):
    (found,) = CONTRACT.read(encoded(kind))
    assert (found.id, found.stream, found.time_ms, bytes(found.vector)) == ("x", "tenant", NOW, ROW.tobytes())


def test_every_decoder_in_the_folder_is_known():
    assert set(KINDS) <= set(decoders.known())


def test_an_arrow_record_holds_many_embeddings():
    found = CONTRACT.read(record(arrow(), MODEL, kind="application/vnd.apache.arrow.stream"))
    assert [e.id for e in found] == ["x", "y"]
    assert all(e.vector == ROW.tobytes() for e in found)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_widens_exactly(dtype):
    row = np.array([0.5, -1.25, 3.0, 1024.0], "<f4")
    value = row.astype("<f2").tobytes() if dtype == "float16" else (row.view("<u4") >> 16).astype("<u2").tobytes()
    (found,) = CONTRACT.read(record(value, MODEL, ("ce_dtype", dtype.encode())))
    assert found.vector == row.tobytes()


@given(st.lists(st.floats(width=16, allow_nan=False), min_size=4, max_size=4))
def test_float16_bytes_are_the_same_numbers(values):
    row = np.array(values, "<f2")
    (found,) = CONTRACT.read(record(row.tobytes(), MODEL, ("ce_dtype", b"float16")))
    assert (np.frombuffer(found.vector, "<f4") == row.astype("<f4")).all()


GOOD = ROW.tobytes()
BAD = {
    "empty-value": record(None, MODEL),
    "bad-key": record(GOOD, MODEL, key=b"\xff\xfe"),
    "bad-header": record(GOOD, MODEL, ("ce_dim", b"four")),
    "bad-time": record(GOOD, MODEL, ("ce_time", "²".encode())),
    "unknown-content-type": record(GOOD, MODEL, kind="image/png"),
    "undecodable": record(b"{", kind="application/json"),
    "too-complex": record(b"[" * 33 + b"]" * 33, kind="application/json"),
    "wrong-model": record(GOOD, ("ce_model", b"vit")),
    "missing-output": record(b'{"outputs":[],"model_name":"resnet"}', kind="application/json"),
    "wrong-shape": record(
        b'{"outputs":[{"name":"embedding","datatype":"FP32","shape":[2],"data":[1]}],"model_name":"resnet"}',
        kind="application/json",
    ),
    "wrong-dtype": record(GOOD, MODEL, ("ce_dtype", b"int8")),
    "wrong-width": record(GOOD[:8], MODEL),
    "wrong-size": record(GOOD[:7], MODEL),
    "out-of-range": record(b'{"model":"resnet","embedding":[1e300,0,0,0]}', kind="application/json"),
    "too-large": record(b"x" * 5000, MODEL),
    "too-many-rows": record(arrow(["x"] * 9, 9), MODEL, kind="application/vnd.apache.arrow.stream"),
    "too-old": record(GOOD, MODEL, ("ce_time", str(NOW - 10_001).encode())),
    "from-the-future": record(GOOD, MODEL, ("ce_time", str(NOW + 1001).encode())),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_record_is_rejected_by_name(reason):
    with pytest.raises(RecordError) as caught:
        CONTRACT.read(BAD[reason])
    assert caught.value.reason == reason
    assert caught.value.detail


@pytest.mark.parametrize("kind", [";charset=utf-8", " ; x", ";", ";\u00ac"])
def test_a_content_type_of_parameters_only_names_no_type(kind):
    """Some sender wrote something there: its bytes are not taken for raw float32 by chance."""
    bad = record(GOOD, MODEL, kind=kind)
    with pytest.raises(RecordError) as caught:
        CONTRACT.read(bad)
    assert caught.value.reason == "unknown-content-type"
    rows = Rows()
    ((_, reason, _),) = Reader(CONTRACT).read([bad], rows, NOW)
    assert (reason, len(rows)) == ("unknown-content-type", 0)


@pytest.mark.parametrize("kind", ["", "  "])
def test_an_empty_content_type_is_none(kind):
    assert len(CONTRACT.read(record(GOOD, MODEL, kind=kind))) == 1


def test_every_reason_has_a_record_that_shows_it_and_advice():
    assert set(BAD) | {"non-finite"} == set(REASONS)  # finiteness is the scorer's
    assert set(ADVICE) == set(REASONS)


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (b"[1]", "application/json", "JSON list"),
        (b"{}", "application/json", "without 'embedding'"),
        (b'{"embedding": ["x"]}', "application/json", "it holds str"),
        (b'{"embedding": [true,1,1,1]}', "application/json", "it holds bool"),
        (b'{"embedding": [null,1,1,1]}', "application/json", "it holds NoneType"),
        (b'{"embedding": [[1,1],[1,1]]}', "application/json", "it holds list"),
        (b'{"embedding_base64": "?"}', "application/json", "not base64"),
        (b'{"embedding": [1,2,3,4], "id": []}', "application/json", "id is list"),
        ('{"embedding": [1,2,3,4]}'.encode("utf-16"), "application/json", "not JSON in UTF-8"),
        (b"\xc1", "application/msgpack", "without a map"),
        (b"\x81\xa9embedding\x80", "application/msgpack", "embedding is a list, a map"),
        (b"\x80\x80", "application/msgpack", "1 bytes follow"),
        (b"\x0a\xff", "application/protobuf", "not an Embedding message"),
        (b"garbage", "application/vnd.apache.arrow.stream", "not an Arrow IPC stream"),
        (b"", "application/vnd.apache.arrow.stream", "without a value"),
    ],
)
def test_what_is_wrong_with_a_value_is_said(value, kind, said):
    with pytest.raises(RecordError, match=said) as caught:
        CONTRACT.read(record(value, MODEL, kind=kind))
    assert caught.value.reason in ("undecodable", "empty-value")


@pytest.mark.parametrize(
    "time",
    ["²", "1" * 400, "9" * 18, "-1", "NaN", "9999-12-31T23:59:59-23:59", "x" * 2000, "2023-13-01T00:00:00Z"],
)
def test_a_time_that_is_none_is_named_whatever_it_is(time):
    with pytest.raises(RecordError) as caught:
        CONTRACT.read(record(GOOD, MODEL, ("ce_time", time.encode())))
    assert caught.value.reason == "bad-time"
    assert len(caught.value.detail) < 200


def test_whole_numbers_are_numbers():
    (found,) = CONTRACT.read(record(b'{"model":"resnet","embedding":[1,2,-3,0]}', kind="application/json"))
    assert np.frombuffer(found.vector, "<f4").tolist() == [1, 2, -3, 0]


@pytest.mark.parametrize("text", [r'"[[[[[["', r'"\\"', r'"\"[[[["', r'"\\\"[[[["', '"' + "1" * 300 + '"'])
def test_brackets_and_digits_within_text_are_not_nesting_and_not_numbers(text):
    value = b'{"model":"resnet","id":%s,"embedding":[1,2,3,4]}' % text.encode()
    contract = replace(CONTRACT, limits=Limits(depth=3, digits=20, id_length=1000))
    (found,) = contract.read(record(value, kind="application/json"))
    assert found.id == json.loads(text)


@pytest.mark.parametrize("value", [rb'{"a":"\\","b":[[[[1]]]]}', rb'["\\\"",[[[[1', b'{"id":' + b"1" * 21 + b"}"])
def test_nesting_and_digits_outside_of_text_are_seen_behind_any_quotes(value):
    with pytest.raises(RecordError) as caught:
        json_limits.check(value, Limits(depth=3, digits=20))
    assert caught.value.reason == "too-complex"


def test_long_names_are_cut_and_stay_distinct():
    one, two = (CONTRACT.read(record(GOOD, MODEL, ("ce_id", b"i" * 5000 + end)))[0].id for end in (b"a", b"b"))
    assert len(one) == len(two) == 200
    assert one != two
    assert one.startswith("iiii")
    streams = {StreamFrom().of_key(b"k" * 5000 + end, "default", 200) for end in (b"a", b"b", b"a")}
    assert sorted(map(len, streams)) == [200, 200]


@pytest.mark.parametrize("name", ["__overflow__", "__forgotten__", "__", "~__overflow__", "~"])
def test_a_stream_with_a_name_of_the_monitor_s_own_is_counted_under_another(name):
    assert StreamFrom().of_key(name.encode(), "default", 200) == f"~{name}"


def test_the_canary_comes_through_the_topic_under_its_own_name():
    assert StreamFrom().of_key(b"__canary__0f", "default", 200) == "__canary__0f"


def test_an_id_that_is_not_valid_unicode_is_kept_with_escapes():
    value = b'{"model":"resnet","id":"a\\ud800","embedding":[1,2,3,4]}'
    (found,) = CONTRACT.read(record(value, kind="application/json"))
    assert found.id == "a\\ud800"
    found.id.encode("utf-8")


def test_too_many_headers_are_refused_and_long_ones_that_nobody_reads_are_not():
    many = tuple((f"h{n}", b"") for n in range(64))
    with pytest.raises(RecordError, match="65 headers, expected at most 64"):
        CONTRACT.read(record(GOOD, MODEL, *many))
    with pytest.raises(RecordError, match="header dtype has 5000 bytes"):
        CONTRACT.read(record(GOOD, MODEL, ("ce_dtype", b"x" * 5000)))
    assert CONTRACT.read(record(GOOD, MODEL, ("baggage", b"x" * 500_000)))


@pytest.mark.parametrize("stamp", [None, -1, -(2**63)])
def test_a_record_without_a_timestamp_arrives_now(stamp):
    (found,) = CONTRACT.read(record(GOOD, MODEL, stamp=stamp), NOW)
    assert found.time_ms == NOW
    (earlier,) = CONTRACT.read(record(GOOD, MODEL, ("ce_time", str(NOW - 5).encode()), stamp=stamp), NOW)
    assert earlier.time_ms == NOW - 5
    with pytest.raises(RecordError) as caught:
        CONTRACT.read(record(GOOD, MODEL, stamp=stamp))
    assert caught.value.reason == "bad-time"


@pytest.mark.parametrize("ahead", [1, 55 * 60_000, 10**30])
def test_a_timestamp_ahead_of_the_clock_counts_now_and_is_never_refused(ahead):
    (found,) = CONTRACT.read(record(GOOD, MODEL, stamp=NOW + ahead), NOW)
    assert found.time_ms == NOW
    same = ("ce_time", str(min(NOW + ahead, 10**14)).encode())  # the sender's clock is as wrong in both
    (found,) = CONTRACT.read(record(GOOD, MODEL, same, stamp=NOW + ahead), NOW)
    assert found.time_ms == NOW
    (right,) = CONTRACT.read(record(GOOD, MODEL, ("ce_time", str(NOW - 7).encode()), stamp=NOW + ahead), NOW)
    assert right.time_ms == NOW - 7


def test_an_arrow_stream_says_no_more_than_the_contract_needs():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")

    def refused(table, **options):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(table)
        with pytest.raises(RecordError) as caught:
            CONTRACT.read(record(sink.getvalue().to_pybytes(), MODEL, kind="application/vnd.apache.arrow.stream"))
        return caught.value.detail

    rows = pa.FixedSizeListArray.from_arrays(pa.array(np.tile(ROW, 2)), 4)
    text = pa.array(["a", "b"])
    assert "compressed" in refused(pa.table({"embedding": rows}), compression="zstd")
    assert "stands twice" in refused(pa.table([rows, rows], names=["embedding", "embedding"]))
    assert "dictionary" in refused(pa.table({"embedding": rows, "id": text.dictionary_encode()}))
    assert "expected a flat one" in refused(pa.table({"embedding": rows, "x": pa.array([{"a": 1}] * 2)}))
    assert "expected a fixed-size list" in refused(pa.table({"embedding": pa.array([[1.0]] * 2)}))
    assert "extension" in refused(
        pa.table({"embedding": pa.FixedShapeTensorArray.from_numpy_ndarray(np.tile(ROW, (2, 1)))})
    )
    assert "no embedding" in refused(pa.table({"embedding": rows}).slice(0, 0))
    nulls = pa.array([[1.0, 2.0, 3.0, None]] * 2, pa.list_(pa.float32(), 4))
    assert "holds nulls" in refused(pa.table({"embedding": nulls}))


def test_the_manual_lists_every_reason_with_what_to_do():
    text = (Path(__file__).parents[3] / "docs" / "monitor.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 4]
    assert {f"| `{r}` | {REASONS[r]} | {ADVICE[r]} |" for r in REASONS} <= set(rows)


def test_a_missing_library_is_named_with_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "msgpack":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RecordError, match="pip install msgpack"):
        CONTRACT.read(record(b"\x80", MODEL, kind="application/msgpack"))


def test_a_record_without_key_id_or_time_gets_the_defaults():
    (found,) = Contract(4).read(record(GOOD, key=None))
    assert (found.stream, found.id, found.time_ms) == ("default", "t:2:7", NOW)


@pytest.mark.parametrize("fraction", [".5", ".50", ".500", ".5000", ".500000", ".5000004", ".500000499"])
def test_a_fraction_of_a_second_may_have_any_number_of_digits(fraction):
    (found,) = CONTRACT.read(record(GOOD, MODEL, ("ce_time", f"2023-11-14T22:13:19{fraction}Z".encode())))
    assert found.time_ms == NOW - 500


def test_times_are_read_in_rfc_3339_and_never_run_ahead_of_the_record():
    (past,) = CONTRACT.read(record(GOOD, MODEL, ("ce_time", b"2023-11-14T22:13:19.500Z")))
    (ahead,) = CONTRACT.read(record(GOOD, MODEL, ("ce_time", b"2023-11-14T22:13:20.900Z")))
    assert past.time_ms == NOW - 500
    assert ahead.time_ms == NOW
