"""Reads CloudEvents in JSON: one (``application/cloudevents+json``) or a list (``...-batch+json``)."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from monitor.errors import PostError, RecordError
from monitor.ingest.event import Event, check_attributes
from monitor.messages import json_limits
from monitor.messages.limits import Limits

JSON = "application/json"


def read_event(body: bytes, limits: Limits) -> Event:
    """Read one event in JSON.

    Raises:
        PostError: 400.
    """
    return _event(_parse(body, limits), "")


def read_batch(body: bytes, limits: Limits, most: int) -> list[Event]:
    """Read a list of events in JSON.

    Args:
        body: of the post.
        limits: limits on JSON.
        most: how many events a post may hold.

    Raises:
        PostError: 400, naming the first wrong event; 413 if there are too many.
    """
    found = _parse(body, limits)
    if not isinstance(found, list):
        raise PostError(400, f"the batch is a JSON {_kind(found)}, expected a list of CloudEvents")
    if len(found) > most:
        raise PostError(413, f"{len(found)} events in one batch, expected at most {most}")
    return [_event(one, f"event {n}: ") for n, one in enumerate(found)]


def _parse(body: bytes, limits: Limits) -> Any:
    try:
        json_limits.check(body, limits)
        return json.loads(body.decode("utf-8-sig"))
    except RecordError as error:
        raise PostError(400, error.detail) from None
    except RecursionError:
        raise PostError(400, "the body nests too deep for JSON") from None
    except ValueError as error:
        raise PostError(400, f"the body is not JSON in UTF-8: {error}") from None


def _event(given: Any, which: str) -> Event:
    if not isinstance(given, dict):
        raise PostError(400, f"{which}a JSON {_kind(given)} was got, expected an object with specversion, id, source")
    texts = {
        name: _text(value, f"{which}attribute {name[:40]!r}") for name, value in given.items() if name not in _DATA
    }
    attributes = {name: text for name, text in texts.items() if text is not None}
    content_type = attributes.pop("datacontenttype", JSON)
    check_attributes(attributes, f"{which}attribute ")
    return Event(attributes, content_type, _data(given, content_type, which))


_DATA = frozenset({"data", "data_base64"})


def _text(value: Any, place: str) -> str | None:
    """Return an attribute's canonical text; ``None`` if it is absent."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and -(2**31) <= value < 2**31:
        return str(value)
    raise PostError(400, f"{place} is a JSON {_kind(value)}, expected text, true, false or a whole number of 32 bits")


def _data(given: dict[str, Any], content_type: str, which: str) -> bytes:
    if "data" in given and "data_base64" in given:
        raise PostError(400, f"{which}data and data_base64 are both given, expected one of them")
    if "data_base64" in given:
        try:
            return base64.b64decode(given["data_base64"], validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise PostError(400, f"{which}data_base64 is not base64") from None
    data = given.get("data")
    if data is None:
        return b""
    try:
        if isinstance(data, str) and not _is_json(content_type):
            return data.encode("utf-8")
        return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:  # not a number of JSON, or half a surrogate pair
        raise PostError(
            400, f"{which}data holds what JSON cannot: NaN, a number beyond doubles, half a character"
        ) from None


def _is_json(content_type: str) -> bool:
    media = content_type.split(";", maxsplit=1)[0].strip().lower()
    return media == JSON or media.endswith("+json")


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "object"}
    return names.get(type(value), "null")
