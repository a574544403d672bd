"""An event from HTTP, after it was checked and before it becomes a Kafka record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.errors import PostError, RecordError
from monitor.messages.times import parse_time

REQUIRED = ("specversion", "id", "source", "type")
"""The attributes that every CloudEvent has."""

MAX_ATTRIBUTES = 48
"""How many attributes an event may have: a worker refuses more than 64 headers (``messages.max_headers``)."""

MAX_NAME, MAX_VALUE = 40, 4096
"""Limits on the characters of an attribute's name, and on the bytes of its value."""

_NAME = re.compile(rf"[a-z0-9]{{1,{MAX_NAME}}}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        attributes: CloudEvents attributes by name, without ``datacontenttype``.
        content_type: content type of the data, as given.
        data: the payload.
        beside: HTTP headers that are needed to read the data, by lower-case name.
    """

    attributes: Mapping[str, str]
    content_type: str
    data: bytes
    beside: Mapping[str, str] = field(default_factory=dict)


def check_attributes(attributes: Mapping[str, str], place: str) -> None:
    """Check attributes against CloudEvents 1.0 and our limits.

    Args:
        attributes: the attributes by name.
        place: names an attribute in messages, such as ``header ce-``.

    Raises:
        PostError: 400. The message names the wrong attribute.
    """
    if len(attributes) > MAX_ATTRIBUTES:
        raise PostError(400, f"{len(attributes)} attributes, expected at most {MAX_ATTRIBUTES}")
    for name, value in attributes.items():
        _check_attribute(name, value, place)
    for name in REQUIRED:
        if not attributes.get(name):
            raise PostError(400, f"{place}{name} is missing: a CloudEvent has specversion, id, source and type")
    if attributes["specversion"] != "1.0":
        raise PostError(400, f"{place}specversion is {attributes['specversion'][:20]!r}, expected '1.0'")
    if "time" in attributes:
        try:
            parse_time(attributes["time"])
        except RecordError as error:
            raise PostError(400, f"{place}time: {error.detail}") from None


def _check_attribute(name: str, value: str, place: str) -> None:
    if not _NAME.fullmatch(name):
        expected = f"a name of 1 to {MAX_NAME} small letters a to z and digits"
        raise PostError(400, f"{place}{name[:MAX_NAME]!r}: expected {expected}")
    if len(value.encode("utf-8", "surrogatepass")) > MAX_VALUE:
        raise PostError(400, f"{place}{name} is longer than {MAX_VALUE} bytes")
    if _CONTROL.search(value) or not _encodes(value):
        raise PostError(400, f"{place}{name} holds a control character or is not text")


def _encodes(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
