"""What a record must be, and by which name it is rejected."""

from __future__ import annotations

import base64
import builtins
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import RecordError
from monitor.messages import REASONS, Contract, Record, decoders

ROW = np.array([0.5, -1.25, 3.0, 65504.0], "<f4")
NOW = 1_700_000_000_000
CONTRACT = Contract(4, model="resnet", max_bytes=4096, max_age_ms=10_000, max_ahead_ms=1000)
MODEL = ("ce_model", b"resnet")


def record(value, *headers, key=b"tenant", stamp=NOW, kind=None):
    content = (("content-type", kind.encode()),) if kind else ()
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
    "unknown-content-type": record(GOOD, MODEL, kind="image/png"),
    "undecodable": record(b"{", kind="application/json"),
    "wrong-model": record(GOOD, ("ce_model", b"vit")),
    "wrong-dtype": record(GOOD, MODEL, ("ce_dtype", b"int8")),
    "wrong-width": record(GOOD[:8], MODEL),
    "wrong-size": record(GOOD[:7], MODEL),
    "too-large": record(b"x" * 5000, MODEL),
    "too-old": record(GOOD, MODEL, ("ce_time", str(NOW - 10_001).encode())),
    "from-the-future": record(GOOD, MODEL, ("ce_time", str(NOW + 1001).encode())),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_record_is_rejected_by_name(reason):
    with pytest.raises(RecordError) as caught:
        CONTRACT.read(BAD[reason])
    assert caught.value.reason == reason
    assert caught.value.detail


def test_every_reason_has_a_record_that_shows_it():
    assert set(BAD) | {"non-finite"} == set(REASONS)  # finiteness is the scorer's


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (b"[1]", "application/json", "JSON list"),
        (b"{}", "application/json", "without 'embedding'"),
        (b'{"embedding": ["x"]}', "application/json", "no list of numbers"),
        (b'{"embedding_base64": "?"}', "application/json", "no base64"),
        (b'{"embedding": [1,2,3,4], "id": []}', "application/json", "id is list"),
        (b"\xc1", "application/msgpack", "no MessagePack"),
        (b"\x0a\xff", "application/protobuf", "no Embedding message"),
        (b"garbage", "application/vnd.apache.arrow.stream", "no Arrow IPC stream"),
    ],
)
def test_what_is_wrong_with_a_value_is_said(value, kind, said):
    with pytest.raises(RecordError, match=said) as caught:
        CONTRACT.read(record(value, MODEL, kind=kind))
    assert caught.value.reason == "undecodable"


@given(st.binary(max_size=200), st.sampled_from(KINDS))
def test_no_bytes_whatever_raise_anything_but_a_named_rejection(value, kind):
    reason = None
    try:
        CONTRACT.read(record(value, MODEL, kind=kind))
    except RecordError as error:
        reason = error.reason
    assert reason is None or reason in REASONS


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


def test_times_are_read_in_rfc_3339_and_never_run_ahead_of_the_record():
    (past,) = CONTRACT.read(record(GOOD, MODEL, ("ce_time", b"2023-11-14T22:13:19.500Z")))
    (ahead,) = CONTRACT.read(record(GOOD, MODEL, ("ce_time", b"2023-11-14T22:13:20.900Z")))
    assert past.time_ms == NOW - 500
    assert ahead.time_ms == NOW
