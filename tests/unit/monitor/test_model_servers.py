"""What model servers write to Kafka: V2 responses in three encodings, alone or within CloudEvents."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from monitor.errors import RecordError, RecordSkippedError
from monitor.messages import Contract, Record
from monitor.messages.accepting import Rule
from monitor.messages.limits import Limits
from monitor.messages.names import StreamFrom

NOW = 1_700_000_000_000
ROWS = np.array([[0.5, -1.25, 3.0, 65504.0], [1.0, 2.0, 3.0, 4.0]], "<f4")
CONTRACT = Contract(4, limits=Limits(rows=8))
BY_PROTO = replace(CONTRACT, format="v2-protobuf")
JSON, CLOUD, PROTO = "application/json", "application/cloudevents+json", "application/vnd.inference.v2+protobuf"

# Serialized by the generated code of NVIDIA's own client (tritonclient 2.73.0), with logits beside the embedding.
BY_TRITON = {
    "raw": "CgZyZXNuZXQSATMaBXJlcS03IgoKBHNsb3QSAhAMIhAKBnRlbmFudBIGGgRhY21lIhIKBXJhdGlvEgkhAAAAAAAA4D8qEgoGbG9naXRzEg"
    "RGUDMyGgICASoiCgllbWJlZGRpbmcSBEZQMzIaAgIEIgsKBG5vdGUSAxoBeDIIAAAQQQAAAEEyIAAAAD8AAKC/AABAQADgf0cAAIA/AAAAQAAAQEAA"
    "AIBA",
    "typed": "CgZyZXNuZXQSATMaBXJlcS03IgoKBHNsb3QSAhAMIhAKBnRlbmFudBIGGgRhY21lIhIKBXJhdGlvEgkhAAAAAAAA4D8qGQoGbG9naXRz"
    "EgVJTlQ2NBoCAgEqBBoCAQIqOQoJZW1iZWRkaW5nEgRGUDMyGgICBCoiMiAAAAA/AACgvwAAQEAA4H9HAACAPwAAAEAAAEBAAACAQA==",
}


def record(value, *headers, kind=None, key=b"tenant"):
    content = (("content-type", kind.encode()),) if kind else ()
    return Record("t", 2, 7, NOW, key, value, (*content, *headers))


def output(data=None, shape=(2, 4), datatype="FP32", name="embedding", **more):
    found = {"name": name, "datatype": datatype, "shape": list(shape), **more}
    return found if data is None else {**found, "data": data}


def response(*outputs, **more):
    return {"model_name": "resnet", "model_version": "1", "id": "req-7", "outputs": list(outputs), **more}


def v2(*outputs, **more):
    return record(json.dumps(response(*outputs, **more)).encode(), kind=JSON)


def seen(found):
    return [(e.id, e.stream, bytes(e.vector)) for e in found]


def refused(contract, given, reason):
    with pytest.raises(RecordError) as caught:
        contract.read(given)
    assert (caught.value.reason, len(caught.value.detail) < 600) == (reason, True), caught.value.detail
    return caught.value.detail


BOTH = [("req-7#0", "tenant", ROWS[0].tobytes()), ("req-7#1", "tenant", ROWS[1].tobytes())]


# -- by hand, after the public definition: no code of the monitor's, and none of protobuf's ----------------------------


def number(n):
    return bytes([n]) if n < 0x80 else bytes([n & 0x7F | 0x80]) + number(n >> 7)


def part(at, content):
    content = content.encode() if isinstance(content, str) else content
    return number(at << 3 | 2) + number(len(content)) + content


def tensor(shape, datatype="FP32", contents=b"", name="embedding"):
    sizes = b"".join(number(n % 2**64) for n in shape)
    return part(5, part(1, name) + part(2, datatype) + part(3, sizes) + (part(5, contents) if contents else b""))


def message(*parts):
    return part(1, "resnet") + part(3, "req-7") + b"".join(parts)


# -- JSON --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [ROWS.ravel().tolist(), ROWS.tolist()], ids=["flat", "nested"])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16", "BF16"])
def test_each_row_of_a_response_is_an_embedding_whose_id_has_its_number(data, datatype):
    logits = output([1, 2], (2, 1), "INT64", "logits")
    assert seen(CONTRACT.read(v2(logits, output(data, datatype=datatype)))) == BOTH


def test_a_tensor_of_one_dimension_is_one_embedding():
    assert seen(CONTRACT.read(v2(output(ROWS[0].tolist(), (4,))))) == [("req-7", "tenant", ROWS[0].tobytes())]


def test_a_response_without_an_id_takes_that_of_the_event():
    value = json.dumps({"outputs": [output(ROWS.tolist())]}).encode()
    found = CONTRACT.read(record(value, ("ce_id", b"event-3"), kind=JSON))
    assert [e.id for e in found] == ["event-3#0", "event-3#1"]


def test_a_document_with_an_embedding_is_our_own_whatever_else_it_holds():
    value = json.dumps({"embedding": ROWS[0].tolist(), "outputs": []}).encode()
    assert CONTRACT.read(record(value, kind=JSON))[0].vector == ROWS[0].tobytes()


def test_the_output_that_the_settings_name_is_read():
    contract = replace(CONTRACT, output="pooled")
    both = v2(output(ROWS[::-1].ravel().tolist()), output(ROWS.ravel().tolist(), name="pooled"))
    assert seen(contract.read(both)) == BOTH


FLAT = ROWS.ravel().tolist()
WRONG = {
    "no output": (v2(), "missing-output", "'embedding' (messages.output) is not among none"),
    "another output": (v2(output(FLAT, name="logits")), "missing-output", "is not among 'logits'"),
    "twice": (v2(output(FLAT), output(FLAT)), "undecodable", "stands 2 times"),
    "outputs as text": (record(b'{"outputs": "x"}', kind=JSON), "undecodable", "'outputs' as a list"),
    "whole numbers": (v2(output([1] * 8, datatype="INT64")), "wrong-dtype", "INT64', expected one of FP32"),
    "datatype a list": (v2(output(FLAT, datatype=[])), "wrong-dtype", "'[]'"),
    "too few": (v2(output(FLAT[:7])), "wrong-shape", "has 7 elements, expected 8 of shape [2, 4]"),
    "ragged": (v2(output([FLAT[:4], FLAT[:3]])), "wrong-shape", "is not 2 lists of 4"),
    "negative": (v2(output(FLAT, (-2, -4))), "wrong-shape", "shape [-2, -4], expected [batch, D]"),
    "dynamic": (v2(output(FLAT, (-1, 4))), "wrong-shape", "shape [-1, 4]"),
    "nothing wide": (v2(output([], (2, 0))), "wrong-shape", "shape [2, 0]"),
    "no batch": (v2(output([], (0, 4))), "undecodable", "holds no embedding"),
    "three dimensions": (v2(output(FLAT, (2, 2, 2))), "wrong-shape", "shape [2, 2, 2]"),
    "no dimension": (v2(output([1], ())), "wrong-shape", "shape []"),
    "a million dimensions": (v2(output(FLAT, (1,) * 300_000)), "wrong-shape", "1, ...]"),
    "huge": (v2(output(FLAT, (10**60, 10**60))), "too-many-rows", "embeddings, expected at most 8"),
    "wide": (v2(output(FLAT, (2, 10**60))), "too-large", "expected at most 16000000 bytes"),
    "shape as text": (v2({**output(FLAT), "shape": "24"}), "wrong-shape", "shape str"),
    "booleans in shape": (v2(output(FLAT, (True, 4))), "wrong-shape", "shape [True, 4]"),
    "another width": (v2(output(FLAT[:6], (2, 3))), "wrong-width", "dim 3, expected 4"),
    "too many rows": (v2(output([1] * 36, (9, 4))), "too-many-rows", "9 embeddings, expected at most 8"),
    "booleans": (v2(output([True] * 8)), "undecodable", "it holds bool"),
    "lists too deep": (v2(output([[[1]] * 4] * 2)), "undecodable", "it holds list"),
    "no data": (v2(output()), "undecodable", "neither 'data' nor the parameter 'binary_data_size'"),
    "data as text": (v2(output("12345678")), "undecodable", "'data' of output 'embedding' is str"),
    "beyond float32": (v2(output([1e300] * 8, datatype="FP64")), "out-of-range", "beyond what float32 holds"),
    "id a list": (v2(output(FLAT), id=[]), "undecodable", "id is list"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_response_is_named(name):
    given, reason, said = WRONG[name]
    contract = replace(CONTRACT, max_bytes=2_000_000)
    assert said in refused(contract, given, reason)


# -- Triton's binary data ----------------------------------------------------------------------------------------------


def with_binary(document, *tails, length=None, kind="application/octet-stream"):
    front = json.dumps(document).encode()
    said = ("Inference-Header-Content-Length", str(len(front) if length is None else length).encode())
    return record(front + b"".join(tails), said, kind=kind)


@pytest.mark.parametrize("kind", [None, "application/octet-stream", JSON])
def test_tensors_behind_the_json_are_read_in_the_order_of_the_outputs(kind):
    document = response(
        output(shape=(2, 1), name="logits", parameters={"binary_data_size": 8}),
        output([1], (1,), "INT64", "count"),
        output(parameters={"binary_data_size": 32}),
    )
    assert seen(CONTRACT.read(with_binary(document, b"\xff" * 8, ROWS.tobytes(), kind=kind))) == BOTH


@pytest.mark.parametrize(("datatype", "dtype"), [("FP16", "<f2"), ("FP64", "<f8")])
def test_binary_tensors_of_other_datatypes_are_the_same_numbers(datatype, dtype):
    raw = ROWS.astype(dtype).tobytes()
    document = response(output(datatype=datatype, parameters={"binary_data_size": len(raw)}))
    assert seen(CONTRACT.read(with_binary(document, raw))) == BOTH


@pytest.mark.parametrize(
    ("size", "length", "reason", "said"),
    [
        (32, "²", "bad-header", "expected how many of the"),
        (32, 10**6, "bad-header", "expected how many of the"),
        (33, None, "undecodable", "ends at byte 33, 32 follow the JSON"),
        (31, None, "wrong-shape", "31 bytes, expected 32: float32 of shape [2, 4]"),
        (-1, None, "undecodable", "binary_data_size is '-1'"),
        (10**60, None, "undecodable", "32 follow the JSON"),
        ("32", None, "undecodable", "binary_data_size is '32'"),
    ],
)
def test_binary_data_that_is_not_as_it_says_is_named(size, length, reason, said):
    document = response(output(parameters={"binary_data_size": size}))
    assert said in refused(CONTRACT, with_binary(document, ROWS.tobytes(), length=length), reason)


# -- Protocol Buffers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_TRITON)
@pytest.mark.parametrize("kind", [None, "application/octet-stream", "application/protobuf", "application/x-protobuf"])
def test_what_triton_s_own_client_serializes_is_read_if_the_settings_say_so(name, kind):
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    assert seen(BY_PROTO.read(record(base64.b64decode(BY_TRITON[name]), kind=kind))) == BOTH


@pytest.mark.parametrize("name", BY_TRITON)
def test_a_content_type_of_its_own_names_the_message_under_any_settings(name):
    assert seen(CONTRACT.read(record(base64.b64decode(BY_TRITON[name]), kind=PROTO))) == BOTH


@pytest.mark.parametrize(("datatype", "dtype"), [("FP32", "<f4"), ("FP16", "<f2"), ("FP64", "<f8")])
def test_raw_contents_are_read_by_the_wire_format_as_it_is_written_down(datatype, dtype):
    value = message(
        tensor((2, 1), name="logits"),
        tensor((2, 4), datatype),
        part(6, b"12345678"),
        part(6, ROWS.astype(dtype).tobytes()),
    )
    assert seen(BY_PROTO.read(record(value))) == BOTH


def test_bfloat16_is_the_upper_half_of_float32():
    rows = np.array([[0.5, -1.25, 3.0, 1024.0]], "<f4")
    value = message(tensor((1, 4), "BF16"), part(6, (rows.view("<u4") >> 16).astype("<u2").tobytes()))
    assert seen(BY_PROTO.read(record(value))) == [("req-7", "tenant", rows.tobytes())]


@pytest.mark.parametrize(("datatype", "at", "form"), [("FP32", 6, "<8f"), ("FP64", 7, "<8d")])
def test_typed_contents_are_read_by_the_wire_format_as_it_is_written_down(datatype, at, form):
    value = message(tensor((2, 4), datatype, part(at, struct.pack(form, *FLAT))))
    assert seen(BY_PROTO.read(record(value))) == BOTH


@drawn(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_any_numbers_are_the_same_in_json_and_in_both_contents(numbers):
    row = np.array(numbers, "<f4")
    values = [
        v2(output(row.tolist(), (1, 4)), id=""),
        record(tensor((1, 4), "FP32", part(6, row.tobytes())), kind=PROTO),
        record(tensor((1, 4)) + part(6, row.tobytes()), kind=PROTO),
    ]
    assert [CONTRACT.read(value)[0].vector for value in values] == [row.tobytes()] * 3


WIRE = {
    "a field ends early": (message(tensor((2, 4)))[:-1], "undecodable", "ends early"),
    "no message": (b"garbage!", "undecodable", "not a"),
    "groups": (b"\x0b\x0c", "undecodable", "wire type 3 at byte 1"),
    "a number without end": (b"\xff" * 20, "undecodable", "no number at byte 0"),
    "too many parts": (part(5, b"") * 1025, "too-complex", "over 1024 fields"),
    "too few raw contents": (
        message(tensor((2, 4), name="a"), tensor((2, 4)), part(6, b"")), "undecodable", "1 raw_output_contents for 2",
    ),
    "raw too short": (message(tensor((2, 4)), part(6, b"1234")), "wrong-shape", "has 4 bytes, expected 32"),
    "half without raw": (message(tensor((2, 4), "FP16")), "undecodable", "is float16 without raw_output_contents"),
    "no contents": (message(tensor((2, 4))), "wrong-shape", "has 0 elements, expected 8"),
    "negative": (message(tensor((-1, 4)), part(6, b"")), "wrong-shape", "shape [-1, 4]"),
    "huge": (message(tensor((8, 2**62)), part(6, b"")), "too-large", "expected at most 16000000 bytes"),
    "strings": (message(tensor((2, 4), "BYTES")), "wrong-dtype", "'BYTES'"),
    "missing": (message(tensor((2, 4), name="logits")), "missing-output", "not among 'logits'"),
}  # fmt: skip


@pytest.mark.parametrize("name", WIRE)
def test_what_is_wrong_with_a_message_is_named(name):
    value, reason, said = WIRE[name]
    assert said in refused(BY_PROTO, record(value), reason)


# -- CloudEvents -------------------------------------------------------------------------------------------------------

RESPONSE, REQUEST = "org.kubeflow.serving.inference.response", "org.kubeflow.serving.inference.request"


def event(data=None, kind=JSON, **attributes):
    document = {"specversion": "1.0", "id": "event-3", "source": "http://kserve", "type": RESPONSE, **attributes}
    if kind is not None:
        document["datacontenttype"] = kind
    if isinstance(data, bytes):
        document["data_base64"] = base64.b64encode(data).decode()
    elif data is not None:
        document["data"] = data
    return document


def structured(*data, **attributes):
    return record(json.dumps(event(*data, **attributes)).encode(), kind=CLOUD)


def inner(kind):
    if kind == "raw":
        return structured(ROWS[0].tobytes(), "application/x-float32")
    if kind == "unspecific":
        return structured(ROWS[0].tobytes(), None)
    if kind == "protobuf":
        return structured(message(tensor((1, 4)), part(6, ROWS[0].tobytes())), PROTO)
    document = {"embedding": ROWS[0].tolist()} if kind == "json" else {"outputs": [output(ROWS[0].tolist(), (1, 4))]}
    if kind == "base64":
        return structured(json.dumps(document).encode(), "application/json; charset=utf-8")
    return structured(document, None if kind == "no content type" else JSON)


@pytest.mark.parametrize("kind", ["raw", "unspecific", "protobuf", "json", "v2", "base64", "no content type"])
def test_the_content_type_within_the_envelope_chooses_the_decoder(kind):
    (found,) = CONTRACT.read(inner(kind))
    assert (found.id, bytes(found.vector)) == ("req-7" if kind == "protobuf" else "event-3", ROWS[0].tobytes())


def test_attributes_of_the_envelope_stand_for_headers():
    half = ROWS[0].astype("<f2").tobytes()
    given = structured(
        half, "application/octet-stream", time="2023-11-14T22:13:19.500Z", dtype="float16", dim=4, model="m"
    )
    (found,) = replace(CONTRACT, model="m").read(given)
    assert (found.id, found.time_ms, bytes(found.vector)) == ("event-3", NOW - 500, ROWS[0].tobytes())
    assert "model 'm'" in refused(replace(CONTRACT, model="other"), given, "wrong-model")


def test_both_modes_of_one_event_are_the_same_embeddings():
    document = response(output(FLAT))
    del document["id"]
    binary = record(
        json.dumps(document).encode(),
        ("ce_id", b"event-3"), ("ce_type", RESPONSE.encode()), ("ce_inferenceservicename", b"flowers"), kind=JSON,
    )  # fmt: skip
    contract = replace(
        CONTRACT,
        stream_from=StreamFrom.parse("header:ce_inferenceservicename"),
        accept=(Rule.of({"ce_type": RESPONSE}),),
    )
    found = seen(contract.read(binary))
    assert found == [(f"event-3#{n}", "flowers", ROWS[n].tobytes()) for n in range(2)]
    assert seen(contract.read(structured(document, inferenceservicename="flowers"))) == found


ENVELOPES = {
    "nested": (structured(event({"embedding": FLAT[:4]}), CLOUD), "undecodable", "within another one"),
    "nested in base64": (structured(json.dumps(event()).encode(), CLOUD), "undecodable", "within another one"),
    "no data": (structured(), "undecodable", "'data' of the CloudEvent is missing"),
    "text": (structured("x"), "undecodable", "is str, expected a JSON object"),
    "both": (
        record(json.dumps({**event(b"x"), "data": {}}).encode(), kind=CLOUD),
        "undecodable",
        "both 'data' and 'data_base64'",
    ),
    "json for bytes": (structured({}, "application/msgpack"), "undecodable", "send 'data_base64'"),
    "not base64": (structured(None, JSON, data_base64="?"), "undecodable", "data_base64 is not base64"),
    "unknown": (structured(b"x", "image/png"), "unknown-content-type", "'image/png'"),
    "another version": (structured({}, specversion="0.3"), "undecodable", "'0.3', expected version 1.0"),
    "an attribute that is a list": (structured({}, time=[1]), "undecodable", "attribute time is list"),
    "content type a number": (structured(b"x", 7), "undecodable", "attribute datacontenttype is int"),
    "a list": (record(b"[]", kind=CLOUD), "undecodable", "JSON list"),
    "deep": (record(b'{"data":' * 40 + b"}" * 40, kind=CLOUD), "too-complex", "nests 40 deep"),
    "a long attribute": (structured({}, time="1" * 5000), "bad-header", "header time has 5000 bytes"),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_what_is_wrong_with_an_envelope_is_named(name):
    given, reason, said = ENVELOPES[name]
    assert said in refused(CONTRACT, given, reason)


def test_base64_that_becomes_more_than_is_allowed_is_refused_before_it_is_decoded():
    contract = replace(CONTRACT, limits=Limits(decoded_bytes=100))
    assert "characters, expected under 100" in refused(
        contract, structured(b"x" * 200, "application/msgpack"), "too-large"
    )


def test_attributes_cannot_pass_for_headers_that_describe_the_value():
    given = structured({"embedding": FLAT[:4]}, **{"content-type": "image/png", "inference-header-content-length": "1"})
    assert seen(CONTRACT.read(given)) == [("event-3", "tenant", ROWS[0].tobytes())]


# -- which records and which stream ------------------------------------------------------------------------------------


def test_requests_of_a_logger_are_skipped_before_anything_in_them_is_looked_at():
    contract = replace(CONTRACT, accept=(Rule.of({"ce_type": RESPONSE}),))
    request = {"inputs": [output([[1] * 3] * 3, (3, 3))]}
    kind = ("ce_type", REQUEST.encode())
    for given in (
        structured(request, type=REQUEST),
        structured("whatever", "image/png", type=REQUEST),
        structured(None, 7, time=[1], specversion="0.3", type=REQUEST),
        record(json.dumps(request).encode(), kind, kind=JSON),
        record(b"{", kind, kind=JSON),
        record(None, kind),
        record(b"x" * 2_000_000, kind, key=b"\xff"),
        record(ROWS[0].tobytes(), kind, ("ce_dim", b"x"), kind="image/png"),
        record(ROWS[0].tobytes()),
        record(ROWS[0].tobytes(), ("ce_type", b"\xff")),
        record(ROWS[0].tobytes(), ("ce_type", b"o" * 5000)),
    ):
        with pytest.raises(RecordSkippedError):
            contract.read(given)
    assert len(contract.read(record(ROWS[0].tobytes(), ("ce_type", RESPONSE.encode())))) == 1


def test_a_model_that_only_the_document_names_is_skipped_though_it_holds_no_embedding():
    contract = replace(CONTRACT, accept=(Rule.of({"model": ["resnet*", "vit"]}),))
    assert len(contract.read(v2(output(FLAT)))) == 2
    foreign = v2(output(FLAT, name="boxes"), model_name="detector")
    for given in (
        foreign,
        record(part(1, "detector") + tensor((2, 4), name="boxes"), kind=PROTO),
        v2(output(FLAT), model_name=None),
    ):
        with pytest.raises(RecordSkippedError):
            contract.read(given)
    refused(CONTRACT, foreign, "missing-output")
    assert refused(replace(CONTRACT, model="resnet"), foreign, "wrong-model")


def test_one_rule_has_to_fit_as_a_whole():
    rules = (Rule.of({"topic": "raw-*", "model": "a"}), Rule.of({"topic": "other", "CE_Type": ["x", "y"]}))
    contract = replace(CONTRACT, accept=rules)
    fits = {
        ("raw-1", "ce_model", b"a"): True, ("raw-1", "ce_type", b"x"): False, ("other", "ce_type", b"y"): True,
        ("other", "ce_model", b"a"): False, ("raw", "ce_model", b"a"): False,
    }  # fmt: skip
    for (topic, name, value), accepted in fits.items():
        given = record(ROWS[0].tobytes(), (name, value))._replace(topic=topic)
        assert contract.accepts(given, {name.removeprefix("ce_"): value}) is accepted
        if accepted:
            assert contract.read(given)
        else:
            with pytest.raises(RecordSkippedError):
                contract.read(given)


def test_a_record_whose_headers_cannot_be_read_is_rejected_and_not_passed_over_in_silence():
    contract = replace(CONTRACT, accept=(Rule.of({"ce_type": RESPONSE}),))
    refused(contract, record(ROWS[0].tobytes(), ("\0", b"")), "bad-header")


def test_the_canary_is_accepted_and_keeps_its_stream_under_any_settings():
    for stream_from in ("topic", "constant", "header:x", "field:x"):
        contract = replace(
            CONTRACT,
            format="v2-protobuf",
            accept=(Rule.of({"ce_type": RESPONSE}),),
            stream_from=StreamFrom.parse(stream_from),
        )
        (found,) = contract.read(record(ROWS[0].tobytes(), kind="application/x-float32", key=b"__canary__0f"))
        assert found.stream == "__canary__0f"


@pytest.mark.parametrize(
    ("given", "document", "stream"),
    [
        ("key", {}, "tenant"),
        ("topic", {}, "t"),
        ("constant", {}, "default"),
        ("header:ce_inferenceservicename", {}, "flowers"),
        ("header:X", {}, "default"),
        ("field:model_name", {}, "resnet"),
        ("field:tenant", {"parameters": {"tenant": "acme"}}, "acme"),
        ("field:tenant", {"parameters": {"tenant": 7}, "tenant": "first"}, "first"),
        ("field:tenant", {"parameters": {"tenant": 7}}, "7"),
        ("field:tenant", {"parameters": []}, "default"),
        ("field:tenant", {"tenant": "__overflow__"}, "~__overflow__"),
        ("field:tenant", {"tenant": "a\ud800"}, "a\\ud800"),
        ("field:tenant", {"tenant": ""}, "default"),
    ],
)
def test_the_settings_say_what_names_the_stream(given, document, stream):
    contract = replace(CONTRACT, stream_from=StreamFrom.parse(given))
    value = v2(output(FLAT), **document)
    value = value._replace(headers=(*value.headers, ("ce_inferenceservicename", b"flowers")))
    assert {e.stream for e in contract.read(value)} == {stream}


def test_parameters_of_a_protobuf_response_name_the_stream():
    value = record(base64.b64decode(BY_TRITON["raw"]), kind=PROTO)
    streams = {"field:tenant": "acme", "field:slot": "12", "field:model_version": "3", "field:ratio": "default"}
    for given, stream in streams.items():
        assert CONTRACT.read(value)[0].stream == "tenant"
        assert replace(CONTRACT, stream_from=StreamFrom.parse(given)).read(value)[0].stream == stream


def test_the_field_of_a_stream_is_found_in_every_format_that_has_fields():
    contract = replace(CONTRACT, stream_from=StreamFrom.parse("field:site"))
    msgpack = pytest.importorskip("msgpack", reason="msgpack is not installed")
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    packed = msgpack.packb({"embedding": ROWS[0].tobytes(), "site": "north"})
    assert contract.read(record(packed, kind="application/msgpack"))[0].stream == "north"
    table = pa.table(
        {"embedding": pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), 4), "site": ["north", None]}
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    arrow = record(sink.getvalue().to_pybytes(), kind="application/vnd.apache.arrow.stream")
    assert [e.stream for e in contract.read(arrow)] == ["north", "default"]
    assert contract.read(record(ROWS[0].tobytes()))[0].stream == "default"


def test_a_field_that_names_no_stream_is_refused():
    contract = replace(CONTRACT, stream_from=StreamFrom.parse("field:tenant"))
    for odd in ([], True, 1.5, {}):
        assert "field tenant" in refused(contract, v2(output(FLAT), tenant=odd), "undecodable")
    by_header = replace(CONTRACT, stream_from=StreamFrom.parse("header:site"))
    refused(by_header, record(ROWS[0].tobytes(), ("site", b"\xff")), "bad-header")
    refused(by_header, record(ROWS[0].tobytes(), ("site", b"x" * 5000)), "bad-header")
    assert replace(CONTRACT, stream_from=StreamFrom.parse("constant")).read(record(ROWS[0].tobytes(), key=b"\xff"))
