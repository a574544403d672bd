"""Valid messages of every decoder, and ways to spoil them in value, header, key, time, length, nesting and type."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Callable

import msgpack
import numpy as np
import pyarrow as pa

from monitor.messages import Record
from monitor.messages.decoders import v2_protobuf
from monitor.messages.decoders.protobuf import message_class
from tests.fuzz import corpus
from tests.monitor_support import WIDTH, embeddings

NOW = 1_700_000_000_000
ROWS = embeddings(64, seed=3, ood=0.2)
ARROW = "application/vnd.apache.arrow.stream"
JSON, CLOUD = "application/json", "application/cloudevents+json"
V2_JSON, V2_PROTO = "application/vnd.inference.v2+json", "application/vnd.inference.v2+protobuf"
PACKED, PROTO, RAW = "application/msgpack", "application/protobuf", "application/octet-stream"
KINDS = (RAW, JSON, CLOUD, PACKED, PROTO, ARROW, V2_JSON, V2_PROTO)


def row(rng: random.Random) -> np.ndarray:
    return ROWS[rng.randrange(len(ROWS))]


def fields(rng: random.Random) -> dict:
    found = {"id": f"r{rng.randrange(10**6)}", "time": NOW - rng.randrange(10_000), "dim": WIDTH, "dtype": "float32"}
    return {name: value for name, value in found.items() if rng.random() < 0.6}


def stream_of(table: pa.Table, rows: int = 3, **options) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue().to_pybytes()


def vectors(n: int, width: int = WIDTH, kind: str = "f4") -> pa.Array:
    flat = np.resize(ROWS, n * width).astype(kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), width)


def arrow_value(rng: random.Random) -> bytes:
    n = rng.randrange(1, 6)
    columns = {"embedding": vectors(n, kind=rng.choice(["f4", "f2"]))}
    if rng.random() < 0.7:
        kind = rng.choice([pa.string(), pa.large_string()])
        columns["id"] = pa.array([f"a{k}" for k in range(n)], kind)
    if rng.random() < 0.5:
        kind = rng.choice([pa.int64(), pa.timestamp("ms"), pa.timestamp("ms", "Europe/Berlin")])
        columns["time"] = pa.array([NOW - k for k in range(n)], kind)
    if rng.random() < 0.3:
        columns["note"] = pa.array(["x"] * n)
    return stream_of(pa.table(columns))


def response(rng: random.Random) -> dict:
    """A V2 response as JSON."""
    n = rng.randrange(1, 5)
    rows = [row(rng).tolist() for _ in range(n)]
    shape, data = [n, WIDTH], rows if rng.random() < 0.3 else [number for one in rows for number in one]
    if n == 1 and rng.random() < 0.5:
        shape, data = [WIDTH], rows[0]
    found = {"name": "embedding", "datatype": rng.choice(["FP32", "FP64", "FP16"]), "shape": shape, "data": data}
    logits = {"name": "logits", "datatype": "FP32", "shape": [n, 2], "data": [0.5] * 2 * n}
    document = {"model_name": "m", "outputs": rng.choice([[found], [logits, found]])}
    return {**document, "id": "v2", "parameters": {"a": 1}} if rng.random() < 0.5 else document


def v2_message(rng: random.Random) -> bytes:
    """A V2 response as Protocol Buffers."""
    n = rng.randrange(1, 5)
    message = v2_protobuf.message_class()(model_name="m", id=rng.choice(["", "v2"]))
    datatype, dtype = rng.choice([("FP32", "<f4"), ("FP64", "<f8"), ("FP16", "<f2")])
    rows = np.stack([row(rng) for _ in range(n)]).astype(dtype)
    message.outputs.add(name="logits", datatype="FP32", shape=[n, 2])
    output = message.outputs.add(name="embedding", datatype=datatype, shape=[n, WIDTH])
    if datatype == "FP16" or rng.random() < 0.5:
        message.raw_output_contents.extend([bytes(8 * n), rows.tobytes()])
    else:
        numbers = output.contents.fp32_contents if datatype == "FP32" else output.contents.fp64_contents
        numbers.extend(rows.ravel().tolist())
    return message.SerializeToString()


def envelope(vector: np.ndarray, beside: dict, rng: random.Random) -> dict:
    """A CloudEvents envelope around one of several formats."""
    found = {"specversion": "1.0", "id": "e", "source": "/s", "type": rng.choice(["response", "request"])}
    choice = rng.randrange(4)
    if choice == 0:
        return {**found, "data": {**beside, "embedding": vector.tolist()}}
    if choice == 1:
        return {**found, "datacontenttype": JSON, "data": response(rng)}
    kind, value = (RAW, vector.tobytes()) if choice == 2 else (V2_PROTO, v2_message(rng))
    return {**found, "datacontenttype": kind, "data_base64": base64.b64encode(value).decode()}


def value_of(kind: str, rng: random.Random) -> bytes:
    vector, beside = row(rng), fields(rng)
    if kind == RAW:
        return vector.tobytes()
    if kind == JSON:
        if rng.random() < 0.3:
            return json.dumps({**beside, "embedding_base64": base64.b64encode(vector.tobytes()).decode()}).encode()
        return json.dumps({**beside, "embedding": vector.tolist()}).encode()
    if kind == CLOUD:
        return json.dumps(envelope(vector, beside, rng)).encode()
    if kind == V2_JSON:
        return json.dumps(response(rng)).encode()
    if kind == V2_PROTO:
        return v2_message(rng)
    if kind == PACKED:
        return msgpack.packb({**beside, "note": [1, {"a": []}], "embedding": vector.tobytes()})
    if kind == PROTO:
        texts = {k: v if k == "dim" else str(v) for k, v in beside.items()}
        return message_class()(**texts, embedding=vector.tobytes()).SerializeToString()
    return arrow_value(rng)


def valid(kind: str, rng: random.Random, offset: int = 0) -> Record:
    headers = [("content-type", kind.encode())] if kind != RAW or rng.random() < 0.5 else []
    if rng.random() < 0.6:
        headers.append((rng.choice(["ce_id", "id", "CE_ID"]), b"h%d" % rng.randrange(1000)))
    if rng.random() < 0.4:
        headers.append(("ce_time", rng.choice([b"2023-11-14T22:13:19.500Z", str(NOW - 7).encode()])))
    if rng.random() < 0.3:
        headers.append(("traceparent", b"00-%032x" % rng.getrandbits(100)))
    key = rng.choice([None, b"tenant-a", b"tenant-b", "größe".encode()])
    return Record("t", 0, offset, NOW - rng.randrange(1000), key, value_of(kind, rng), tuple(headers))


NUMBERS = [0, 1, -1, 7, 8, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, 2**63 - 1, -(2**63)]
TEXTS = [
    b"", b"x", b"\xff\xfe", b"\xed\xa0\x80", "²".encode(), b"1" * 400, b"9" * 18, b"-1", b"NaN", b"nan", b"Infinity",
    b"1e400", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"2023-11-14", b"+010000-01-01T00:00:00Z",
    b"2023-11-14T22:13:20.123456789Z", b"2001-01-01T00:00:00Z", b"float16", b"bfloat16", b"float64", b"\x1b[2J",
    "\u202edeppals\u2066".encode(), b"a\nb\r", b"__overflow__", b"__canary__0", b"~x", b"None", b"#header",
    b"\x00", b"k" * 5000, "ü".encode() * 3000, b"0x10", b"1_0", "８".encode(), b"8", *(kind.encode() for kind in KINDS),
]  # fmt: skip
STAMPS = [None, -1, -2, -(2**63), 0, 1, NOW, NOW + 1, NOW + 3_600_000, 2**53, 2**63 - 1, 10**30]
NAMES = [
    "ce_id", "id", "ce_time", "time", "ce_model", "ce_dtype", "ce_dim", "dim", "content-type", "Content-Type", "x",
    "inference-header-content-length", "ce_type", "", "\0", "\u202e", "n" * 3000, "\ud800", "dead-letter-reason",
]  # fmt: skip
ODD = [
    None, True, False, 0, -1, 2**63, -(2**63), 1.5, float("nan"), float("inf"), -3e38, 3.5e38, 1e300, "", "x", "\ud800",
    "a\x1b[2J\n", "i" * 500, [], {}, [[]], [1, 2], ["1"] * WIDTH, [True] * WIDTH, [None] * WIDTH, [[1.0]] * WIDTH,
    [0.5] * WIDTH, [-3e38] * WIDTH, [1e300] * WIDTH, {"embedding": [1]}, [10**100] * WIDTH,
]  # fmt: skip


def flip(value: bytes, rng: random.Random) -> bytes:
    spoiled = bytearray(value)
    for _ in range(rng.choice([1, 1, 2, 8])):
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def overwrite(value: bytes, rng: random.Random) -> bytes:
    form, size = rng.choice([("<i", 4), ("<q", 8), (">i", 4), (">q", 8), ("<b", 1)])
    number = rng.choice(NUMBERS)
    number = (number + 2 ** (8 * size - 1)) % 2 ** (8 * size) - 2 ** (8 * size - 1)
    at = rng.randrange(max(1, len(value) - size + 1)) // (4 if rng.random() < 0.7 else 1) * 4
    return value[:at] + struct.pack(form, number) + value[at + size :]


def cut(value: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.randrange(len(value) + 1) for _ in range(2))
    return rng.choice([value[:a], value[a:], value[:a] + value[b:], value[:b] + value[a:], value[a:b]])


def splice(value: bytes, rng: random.Random) -> bytes:
    other = value_of(rng.choice(KINDS), rng)
    return value[: rng.randrange(len(value) + 1)] + other[rng.randrange(len(other) + 1) :]


def nest(value: bytes, rng: random.Random) -> bytes:
    n = rng.choice([1, 5, 40, 2000, 100_000])
    a, b = rng.choice([(b"[", b"]"), (b'{"embedding":', b"}"), (b"\x91", b""), (b"\x81\xa1a", b""), (b"\x0b", b"\x0c")])
    return a * n + value + rng.choice([b * n, b""])


def digits(value: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(value) + 1)
    return value[:at] + rng.choice([b"1", b"9", b"0", b"1e"]) * rng.choice([3, 201, 401, 5000, 100_000]) + value[at:]


def retyped(value: bytes, rng: random.Random) -> bytes:
    """A message whose fields have the wrong types."""
    document = {**fields(rng), "embedding": row(rng).tolist()}
    for _ in range(rng.choice([1, 1, 2])):
        document[rng.choice(["id", "time", "model", "dtype", "dim", "embedding", "data", "embedding_base64", "x"])] = (
            rng.choice(ODD)
        )
    if rng.random() < 0.5:
        return json.dumps(document).encode()
    try:
        return msgpack.packb({**document, "embedding": row(rng).tobytes(), rng.choice(["id", 3]): rng.choice(ODD)})
    except (ValueError, TypeError, OverflowError):
        return msgpack.packb({"embedding": rng.choice([1.5, "x", msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2)])})


def odd_arrow(value: bytes, rng: random.Random) -> bytes:
    """Arrow streams that are whole and not what the contract says."""
    one, text = vectors(2), pa.array(["a", "b"])
    choice = rng.randrange(1, 16)
    if choice == 1:
        return stream_of(pa.table([one, one], names=["embedding", "embedding"]))
    if choice == 2:
        return stream_of(pa.table({"embedding": one, "id": text.dictionary_encode()}))
    odd = {
        3: {"embedding": pa.array([[1.0] * WIDTH, None], pa.list_(pa.float32(), WIDTH))},
        4: {"embedding": pa.array([[1.0] * WIDTH, [None] * WIDTH], pa.list_(pa.float32(), WIDTH))},
        5: {"embedding": pa.array([[1.0] * WIDTH], pa.list_(pa.float32()))},
        6: {"embedding": pa.array([[], []], pa.list_(pa.float32(), 0))},
        7: {"embedding": vectors(2, kind="f8")},
        8: {"embedding": vectors(0)},
        9: {"embedding": one, "id": pa.array([None, "x"]), "time": pa.array([None, NOW])},
        10: {"embedding": one, "id": pa.array([b"\xff", b""])},
        11: {"embedding": one, "time": pa.array([2**62, -(2**62)], pa.timestamp("s", "Nowhere/None"))},
        12: {"embedding": one, "time": pa.array(["²", "x" * 300])},
        13: {"embedding": one, "note": pa.array([{"a": 1}, {"a": 2}])},
        14: {"embedding": one, "n": pa.nulls(2)},
        15: {"embedding": vectors(rng.choice([3, 20_000]), width=rng.choice([1, WIDTH]))},
    }[choice]
    return stream_of(pa.table(odd), **({"compression": "lz4"} if rng.random() < 0.2 else {}))


def odd_response(value: bytes, rng: random.Random) -> bytes:
    """V2 documents and envelopes whose parts are not what they should be."""
    document = response(rng)
    output = document["outputs"][-1]
    for _ in range(rng.choice([1, 1, 2])):
        choice = rng.randrange(5)
        if choice == 0:
            output[rng.choice(["name", "datatype", "shape", "data", "parameters"])] = rng.choice(ODD)
        elif choice == 1:
            output["shape"] = [rng.choice([*NUMBERS, 10**60]) for _ in range(rng.choice([0, 1, 2, 3, 4000]))]
        elif choice == 2:
            one, times = rng.choice([(0.5, 55_000), ([0.5], 40_000), ([], 70_000), ([0.5] * WIDTH, 3000)])
            output["data"] = [one] * times
        elif choice == 3:
            document[rng.choice(["id", "model_name", "outputs", "parameters", "embedding"])] = rng.choice(ODD)
        else:
            one, times = rng.choice(
                [(output, 1), (output, 2), ({}, 10_000), ({"name": "embedding"}, 10_000), (1, 10_000)]
            )
            document["outputs"] = [one] * times
    if rng.random() < 0.5:
        return json.dumps(document).encode()
    event = {"specversion": rng.choice(["1.0", "1.0", *ODD]), "datacontenttype": rng.choice([JSON, CLOUD, PROTO, *ODD])}
    inner = json.dumps(document).encode()
    data = rng.choice(
        [{"data": document}, {"data_base64": base64.b64encode(inner).decode()}, {"data": rng.choice(ODD)}]
    )
    return json.dumps({**event, **data, rng.choice(["id", "time", "dim", "model", "x"]): rng.choice(ODD)}).encode()


def odd_message(value: bytes, rng: random.Random) -> bytes:
    """V2 messages of many parts, odd shapes and bytes that do not belong there."""
    message = v2_protobuf.message_class().FromString(v2_message(rng))
    choice = rng.randrange(6)
    if choice == 0:
        del message.outputs[-1].shape[:]
        sizes = [rng.choice(NUMBERS) % 2**63 * rng.choice([1, -1]) for _ in range(rng.choice([0, 1, 2, 3, 50_000]))]
        message.outputs[-1].shape.extend(sizes)
    elif choice == 1:
        message.raw_output_contents.append(b"x" * rng.choice([0, 1, 900_000]))
    elif choice == 2:
        return rng.choice([b"\x2a\x00", b"\x32\x00", b"\x22\x00", b"\x2a\x02\x2a\x00", b"\x08\x01"]) * 149_000
    elif choice == 3:
        return b"\x2a" * 100_000 + message.SerializeToString()
    elif choice == 4:
        message.outputs[-1].contents.fp32_contents.extend([float("nan")] * rng.choice([1, 60_000]))
    else:
        message.outputs[-1].datatype = rng.choice(["", "INT8", "BYTES", "FP16", "BF16", "f" * 5000])
    return message.SerializeToString()


VALUES: list[Callable[[bytes, random.Random], bytes]] = [
    flip, flip, overwrite, overwrite, cut, splice, nest, digits, retyped, odd_arrow, odd_response,
    odd_message,
]  # fmt: skip


def spoil_headers(record: Record, rng: random.Random) -> Record:
    headers = list(record.headers)
    added = (rng.choice(NAMES), rng.choice([None, *TEXTS]))
    choice = rng.randrange(6)
    if choice == 0 and headers:
        headers.pop(rng.randrange(len(headers)))
    elif choice == 1 and headers:
        headers[rng.randrange(len(headers))] = added
    elif choice == 2:
        headers += [(f"h{n}", b"v") for n in range(rng.choice([10, 63, 64, 65, 500]))]
    elif choice == 3:
        headers.append((rng.choice(NAMES), b"v" * rng.choice([300, 5000, 1_000_000])))
    else:
        headers.append(added)
    return record._replace(headers=tuple(headers))


def spoil(record: Record, rng: random.Random) -> Record:
    """The record with one thing changed."""
    choice = rng.random()
    if choice < 0.6:
        value = record.value or b"\0"
        changed = (
            rng.choice(VALUES)(value, rng) if rng.random() > 0.02 else rng.choice([None, b"", value[:25] * 40_000])
        )
        record = record._replace(value=changed and changed[:1_200_000])
        if rng.random() < 0.1:
            kind = rng.choice(KINDS).encode()
            others = tuple(h for h in record.headers if h[0] != "content-type")
            record = record._replace(headers=(("content-type", kind), *others))
        return record
    if choice < 0.85:
        return spoil_headers(record, rng)
    if choice < 0.93:
        return record._replace(key=rng.choice(TEXTS))
    return record._replace(timestamp_ms=rng.choice(STAMPS))


KIND_OF = {
    retyped: (JSON, PACKED),
    odd_arrow: (ARROW,),
    odd_response: (JSON, V2_JSON, CLOUD),
    odd_message: (V2_PROTO,),
}
KEPT = corpus.load()


def draw(rng: random.Random, offset: int) -> tuple[Record, bool]:
    """A record, and whether it is as its sender meant it."""
    record = valid(rng.choice(KINDS), rng, offset)
    if rng.random() < 0.1:
        return record, True
    if rng.random() < 0.02:
        record = KEPT[rng.choice(list(KEPT))]._replace(offset=offset)
        return (record if rng.random() < 0.2 else spoil(record, rng)), False
    if rng.random() < 0.12:  # types and whole Arrow streams under the content type that reads them
        maker = rng.choice(list(KIND_OF))
        kind = rng.choice(KIND_OF[maker])
        return record._replace(value=maker(b"", rng), headers=(("content-type", kind.encode()),)), False
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        record = spoil(record, rng)
    return record, False
