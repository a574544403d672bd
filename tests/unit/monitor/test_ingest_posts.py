"""A post over HTTP becomes the record that the CloudEvents bindings say, or one sentence about what is wrong."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import PostError
from monitor.ingest.binding import KeyFrom, to_message
from monitor.ingest.posts import Accepted, read_post
from monitor.messages import Contract, Record

TYPES = frozenset({"application/json", "application/octet-stream", "application/vnd.inference.v2+json"})
ACCEPTED = Accepted(TYPES, max_batch=5)
STRUCTURED = [(b"content-type", b"application/cloudevents+json")]
BATCH = [(b"content-type", b"application/cloudevents-batch+json")]
REQUIRED = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='"'), min_size=1, max_size=30).filter(
    lambda t: t == t.strip()
)
NAMES = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda n: n not in {*REQUIRED, "time", "data", "datacontenttype"}
)


def binary(attributes, content_type="application/json"):
    headers = [(f"Ce-{name.title()}".encode(), quote(value).encode()) for name, value in attributes.items()]
    return [*headers, (b"Content-Type", content_type.encode())]


def refused(headers, body):
    with pytest.raises(PostError) as caught:
        read_post(headers, body, ACCEPTED)
    assert "\n" not in caught.value.sentence
    return caught.value.status


def record(message):
    return Record("t", 0, 0, message.timestamp_ms, message.key, message.value, tuple(message.headers))


@given(st.dictionaries(NAMES, TEXTS, max_size=8), TEXTS, st.binary(min_size=1, max_size=50))
def test_binary_mode_keeps_every_attribute_and_every_byte(extra, name, body):
    attributes = {**REQUIRED, "id": name, **extra}
    (event,) = read_post(binary(attributes), body, ACCEPTED)
    headers = dict(to_message(event, None, 5).headers)
    assert headers == {
        "content-type": b"application/json",
        **{f"ce_{k}": v.encode() for k, v in attributes.items()},
    }
    assert event.data == body


@given(
    st.dictionaries(NAMES, TEXTS, max_size=8), st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=9)
)
def test_structured_batched_and_binary_mode_make_the_same_record(extra, numbers):
    attributes, data = {**REQUIRED, **extra}, {"embedding": numbers}
    text = json.dumps(data, separators=(",", ":")).encode()
    (sent,) = read_post(binary(attributes), text, ACCEPTED)
    document = {**attributes, "datacontenttype": "application/json", "data": data}
    structured = [(b"content-type", b"application/cloudevents+json; charset=utf-8")]
    batched = [(b"content-type", b"application/cloudevents-batch+json")]
    in_base64 = {**attributes, "datacontenttype": "application/json", "data_base64": base64.b64encode(text).decode()}
    (one,) = read_post(structured, json.dumps(document).encode(), ACCEPTED)
    (other,) = read_post(structured, json.dumps(in_base64).encode(), ACCEPTED)
    many = read_post(batched, json.dumps([document] * 3).encode(), ACCEPTED)
    assert [one, other, *many] == [sent] * 5


def taken_or_refused(headers, body):
    try:
        return read_post(headers, body, ACCEPTED)
    except PostError as error:
        return error


@given(
    st.lists(st.tuples(st.sampled_from([b"content-type", b"ce-id", b"ce-time", b"ce-specversion", b"x"]), st.binary())),
    st.binary(),
)
def test_whatever_is_posted_is_taken_or_refused_in_one_sentence(headers, body):
    found = taken_or_refused(headers, body)
    if isinstance(found, PostError):
        assert found.status in (400, 413, 415)
        assert found.sentence
    else:
        assert all(to_message(event, KeyFrom().key(event, headers), 0).value for event in found)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_json_is_called_a_cloudevent_is_taken_or_refused(document):
    for kind in (b"application/cloudevents+json", b"application/cloudevents-batch+json"):
        found = taken_or_refused([(b"content-type", kind)], json.dumps(document).encode())
        assert isinstance(found, list) or found.status in (400, 413, 415)


def test_a_plain_post_gets_the_id_of_its_header_or_one_of_its_content():
    body = b"\0\0\x80\x3f"
    (named,) = read_post([(b"X-Request-ID", b"r1")], body, ACCEPTED)
    (first,), (repeat,), (other,) = (read_post([], b, ACCEPTED) for b in (body, body, body * 2))
    assert named.attributes["id"] == "r1"
    assert first.attributes["id"] == repeat.attributes["id"] != other.attributes["id"]
    assert first.content_type == "application/octet-stream"


def test_the_record_of_a_post_is_read_by_the_monitor_with_its_id_time_and_stream():
    attributes = {**REQUIRED, "id": "r 7", "time": "2026-01-31T12:00:00Z", "inferenceservicename": "resnet"}
    headers = binary(attributes)
    (event,) = read_post(headers, b'{"embedding": [1, 2]}', ACCEPTED)
    key = KeyFrom(("inferenceservicename",)).key(event, headers)
    (embedding,) = Contract(2).read(record(to_message(event, key, 1_769_860_801_000)))
    assert (embedding.id, embedding.stream, embedding.time_ms) == ("r 7", "resnet", 1_769_860_800_000)


def test_what_triton_says_of_its_binary_data_goes_along():
    headers = [(b"Inference-Header-Content-Length", b"11"), (b"content-type", b"application/vnd.inference.v2+json")]
    (event,) = read_post(headers, b"{}", ACCEPTED)
    assert ("inference-header-content-length", b"11") in to_message(event, None, 0).headers


@pytest.mark.parametrize(
    ("key_from", "expected"),
    [
        (KeyFrom(), b"p"),
        (KeyFrom(("absent", "tenant")), b"acme"),
        (KeyFrom((), ("x-tenant",)), b"header"),
        (KeyFrom(("absent",), ("absent",)), None),
    ],
)
def test_the_key_is_the_first_of_the_attributes_and_then_of_the_headers_that_is_there(key_from, expected):
    headers = [*binary({**REQUIRED, "partitionkey": "p", "tenant": "acme"}), (b"X-Tenant", b"header")]
    (event,) = read_post(headers, b"{}", ACCEPTED)
    assert key_from.key(event, headers) == expected


def test_a_long_key_is_cut_as_the_publisher_cuts_it_and_stays_distinct():
    headers = [binary({**REQUIRED, "partitionkey": "k" * 900 + end}) for end in "ab"]
    keys = [KeyFrom().key(read_post(h, b"{}", ACCEPTED)[0], h) for h in headers]
    assert keys[0] != keys[1]
    assert max(map(len, keys)) <= 200


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ([(b"content-type", b"text/html")], b"x", 415),
        ([(b"content-type", b"application/cloudevents+xml")], b"x", 415),
        (binary(REQUIRED, "text/csv"), b"x", 415),
        ([(b"ce-id", b"1")], b"x", 400),
        (binary({**REQUIRED, "specversion": "0.3"}), b"{}", 400),
        (binary({**REQUIRED, "time": "yesterday"}), b"{}", 400),
        (binary({**REQUIRED, "datacontenttype": "a/b"}), b"{}", 400),
        (binary({**REQUIRED, "a_b": "1"}), b"{}", 400),
        (binary({**REQUIRED, "long": "x" * 5000}), b"{}", 400),
        (binary({**REQUIRED, **{f"a{n}": "1" for n in range(60)}}), b"{}", 400),
        ([*binary(REQUIRED), (b"ce-id", b"2")], b"{}", 400),
        ([*binary(REQUIRED), (b"ce-x", b"\xff")], b"{}", 400),
        ([*binary(REQUIRED), (b"ce-x", b"a%0Ab")], b"{}", 400),
        (binary(REQUIRED), b"", 400),
        (BATCH, b"[]", 400),
        (BATCH, json.dumps([REQUIRED] * 6).encode(), 413),
        (STRUCTURED, b"[" * 100_000, 400),
        (STRUCTURED, json.dumps({**REQUIRED, "data": 1, "data_base64": ""}).encode(), 400),
        (STRUCTURED, json.dumps(REQUIRED)[:-1].encode() + b', "data": 1e999}', 400),
    ],
)
def test_what_is_wrong_is_refused_with_its_status(headers, body, status):
    assert refused(headers, body) == status
