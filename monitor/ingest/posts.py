"""Reads posts as events: CloudEvents in binary, structured and batched mode, and plain posts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from monitor.errors import PostError
from monitor.ingest.event import MAX_VALUE, Event, check_attributes
from monitor.ingest.structured import read_batch, read_event
from monitor.messages.limits import Limits

PREFIX = "ce-"
STRUCTURED, BATCH = "application/cloudevents", "application/cloudevents-batch"
UNSTATED = "application/octet-stream"
"""The content type of a post that does not name one: raw float32, as in the monitor."""

Headers = Sequence[tuple[bytes, bytes]]
"""HTTP headers, with names in any case."""


@dataclass(frozen=True)
class Accepted:
    """Which posts are accepted.

    Attributes:
        content_types: media types of data, in lower case.
        source: the CloudEvents source of plain posts, which have none.
        type: the CloudEvents type of plain posts.
        id_headers: the first of these headers that a plain post has is its id.
        beside: headers that are needed to read some servers' data. They are passed on.
        max_batch: how many events a batch may have.
        limits: limits on JSON.
    """

    content_types: frozenset[str]
    source: str = "ood-ingest"
    type: str = "embedding"
    id_headers: tuple[str, ...] = ("x-request-id",)
    beside: tuple[str, ...] = ("inference-header-content-length",)
    max_batch: int = 1000
    limits: Limits = field(default_factory=Limits)


def read_post(headers: Headers, body: bytes, accepted: Accepted) -> list[Event]:
    """Read the events of one post, at least one.

    Args:
        headers: of the request.
        body: of the request.
        accepted: which posts are accepted.

    Raises:
        PostError: 400, 413 or 415, with what came and what was expected.
    """
    named = _by_name(headers)
    given = named.get("content-type", "").strip() or UNSTATED
    media = media_type(given)
    if media == f"{BATCH}+json":
        events = read_batch(body, accepted.limits, accepted.max_batch)
        if not events:
            raise PostError(400, "the batch is empty, expected at least one event")
    elif media == f"{STRUCTURED}+json":
        events = [read_event(body, accepted.limits)]
    elif media.startswith(STRUCTURED):
        raise PostError(415, f"{media[:100]!r}: CloudEvents are read from JSON, expected {STRUCTURED}+json")
    elif any(name.startswith(PREFIX) for name in named):
        events = [_binary(named, given, body, accepted)]
    else:
        events = [_plain(named, given, body, accepted)]
    for event in events:
        _check_data(event, accepted)
    return events


def media_type(content_type: str) -> str:
    """Return a media type without parameters, in lower case."""
    return content_type.split(";", maxsplit=1)[0].strip().lower()


def _by_name(headers: Headers) -> dict[str, str]:
    """Return headers by lower-case name, decoded as latin-1, which keeps every byte."""
    found: dict[str, str] = {}
    for raw, value in headers:
        name = raw.decode("latin-1").lower()
        if name in found and (name == "content-type" or name.startswith(PREFIX)):
            raise PostError(400, f"header {name[:60]} is given twice, expected it once")
        found[name] = value.decode("latin-1")
    return found


def _check_data(event: Event, accepted: Accepted) -> None:
    media = media_type(event.content_type)
    if media not in accepted.content_types:
        known = ", ".join(sorted(accepted.content_types))
        raise PostError(415, f"content type {media[:100]!r} is not accepted, expected one of: {known}")
    if not event.data:
        raise PostError(400, "the post carries no data, expected an embedding or an answer of a model server")


def _binary(named: dict[str, str], content_type: str, body: bytes, accepted: Accepted) -> Event:
    attributes = {
        name.removeprefix(PREFIX): _decode(value, name) for name, value in named.items() if name.startswith(PREFIX)
    }
    if "datacontenttype" in attributes:
        raise PostError(400, "header ce-datacontenttype is given, expected Content-Type in its place")
    check_attributes(attributes, f"header {PREFIX}")
    return Event(attributes, content_type, body, _beside(named, accepted))


def _plain(named: dict[str, str], content_type: str, body: bytes, accepted: Accepted) -> Event:
    given = next((named[h] for h in accepted.id_headers if named.get(h)), "")
    name = _decode(given, "the id", percent=False) if given else content_id(content_type, body)
    attributes = {"specversion": "1.0", "id": name, "source": accepted.source, "type": accepted.type}
    check_attributes(attributes, "")
    return Event(attributes, content_type, body, _beside(named, accepted))


def content_id(content_type: str, body: bytes) -> str:
    """Make an id for a post without one. The same post gets the same id, so that repeats can be recognized."""
    return hashlib.sha256(content_type.encode("latin-1", "replace") + b"\0" + body).hexdigest()[:32]


def _beside(named: dict[str, str], accepted: Accepted) -> dict[str, str]:
    found = {name: named[name] for name in accepted.beside if named.get(name)}
    for name, value in found.items():
        if len(value) > MAX_VALUE:
            raise PostError(400, f"header {name} is longer than {MAX_VALUE} bytes")
    return found


_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def _decode(value: str, name: str, *, percent: bool = True) -> str:
    """Decode a header's value as CloudEvents encode it: perhaps in quotes, with percent-encoding."""
    quoted = _QUOTED.fullmatch(value)
    if quoted and percent:
        value = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
    raw = value.encode("latin-1")
    try:
        return (unquote_to_bytes(raw) if percent else raw).decode("utf-8")
    except UnicodeDecodeError:
        raise PostError(400, f"header {name[:60]} is not UTF-8, expected percent-encoded UTF-8") from None
