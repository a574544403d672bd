"""Decodes CloudEvents in structured mode: a JSON object with the event's attributes and ``data`` or ``data_base64``.

The envelope is opened before it is known whether the record is scored at all, since that may depend on its attributes
(:meth:`monitor.messages.contract.Contract.read`). The data in it is then read as in binary mode: the attributes stand
for the headers ``ce_*``, and ``datacontenttype`` chooses the decoder. An envelope within an envelope is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from monitor.errors import RecordError
from monitor.messages import documents
from monitor.messages.documents import Document
from monitor.messages.limits import Limits
from monitor.messages.record import Payload
from monitor.messages.wanted import Wanted

CONTENT_TYPES = ("application/cloudevents+json",)
FORMAT = "cloudevents"
NOT_ATTRIBUTES = ("data", "data_base64", "datacontenttype")
OF_THE_VALUE = ("content-type", "inference-header-content-length")
"""Headers that describe the bytes of the envelope itself, not the data in it."""


def decode(_value: bytes | Document, _headers: Mapping[str, bytes], _wanted: Wanted) -> list[Payload]:
    """Refuse an envelope inside another envelope.

    Raises:
        RecordError: ``undecodable``.
    """
    raise RecordError("undecodable", "a CloudEvents envelope within another one, expected an embedding")


def open_envelope(value: bytes, headers: Mapping[str, bytes], limits: Limits) -> tuple[Document, dict[str, bytes]]:
    """Parse the envelope. Returns it with the headers for its data: its attributes, then the record's headers.

    The data is read later (:func:`read_data`), because the attributes may show that the record is to be skipped.

    Raises:
        RecordError: ``undecodable`` or ``too-complex``.
    """
    envelope = documents.load(value, limits, "the attributes of a CloudEvent")
    found = {name: given for name, given in headers.items() if name not in OF_THE_VALUE}
    for name, given in envelope.items():
        if name not in NOT_ATTRIBUTES and name.isascii() and name.isalnum() and _is_attribute(given):
            found[name.lower()] = _as_text(given).encode("utf-8", "backslashreplace")
    kind = envelope.get("datacontenttype")
    if isinstance(kind, str):
        found["content-type"] = kind.encode("utf-8", "backslashreplace")
    elif "data" in envelope:
        found["content-type"] = b"application/json"
    return envelope, found


def read_data(envelope: Document, limits: Limits) -> bytes | Document:
    """Return the data of an envelope as bytes or as a JSON object.

    Raises:
        RecordError: ``undecodable`` or ``too-large``.
    """
    if envelope.get("specversion", "1.0") != "1.0":
        raise RecordError("undecodable", f"CloudEvents {str(envelope['specversion'])[:20]!r}, expected version 1.0")
    for name, given in envelope.items():
        wrong = not isinstance(given, str) if name == "datacontenttype" else not _is_attribute(given)
        if name not in ("data", "data_base64") and given is not None and wrong:
            raise RecordError(
                "undecodable",
                f"attribute {name[:40]} is {type(given).__name__}, expected text, a whole number or a boolean",
            )
    if "data" in envelope and "data_base64" in envelope:
        raise RecordError("undecodable", "a CloudEvent with both 'data' and 'data_base64', expected one of them")
    if "data_base64" in envelope:
        return documents.unpack_base64(envelope["data_base64"], "data_base64", limits)
    data = envelope.get("data")
    if not isinstance(data, dict):
        got = "is missing" if "data" not in envelope else f"is {type(data).__name__}"
        raise RecordError(
            "undecodable", f"'data' of the CloudEvent {got}, expected a JSON object, or 'data_base64' for other formats"
        )
    return data


def _is_attribute(given: object) -> bool:
    return isinstance(given, str | int)  # a boolean is an integer in Python


def _as_text(given: object) -> str:
    return str(given).lower() if isinstance(given, bool) else str(given)
