"""Reads the fields that self-describing formats have beside the vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.errors import RecordError
from monitor.messages.record import Payload
from monitor.messages.wanted import Wanted

FIELDS = ("id", "time", "model", "dtype", "dim")
"""The names of the fields."""


def check_model(document: Mapping[str, Any], name: str, wanted: Wanted) -> None:
    """If the field ``name`` names a model, check whether records of that model are scored at all."""
    model = document.get(name)
    if isinstance(model, str) and model:
        wanted.check_model(model)


def find_stream(document: Mapping[str, Any], wanted: Wanted) -> str | None:
    """Read the field that names the stream, from the document or from the ``parameters`` in it.

    Raises:
        RecordError: ``undecodable`` if the field is neither text nor a whole number.
    """
    if not wanted.stream_field:
        return None
    found = document.get(wanted.stream_field)
    if found is None and isinstance(document.get("parameters"), Mapping):
        found = document["parameters"].get(wanted.stream_field)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise RecordError(
            "undecodable",
            f"field {wanted.stream_field[:40]}, the stream, is {type(found).__name__}, expected text or a number",
        )
    return str(found)


def payload(document: Mapping[str, Any], vector: bytes, dtype: str | None, wanted: Wanted) -> Payload:
    """Read ``id``, ``time``, ``model``, ``dtype``, ``dim`` and the stream's field from a decoded map.

    Raises:
        RecordError: ``undecodable`` if a field has the wrong type.
    """
    for name, kinds in (
        ("id", (str, int)),
        ("time", (str, int)),
        ("model", (str,)),
        ("dtype", (str,)),
        ("dim", (int,)),
    ):
        value = document.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
            wanted_kinds = " or ".join(k.__name__ for k in kinds)
            raise RecordError("undecodable", f"{name} is {type(value).__name__}, expected {wanted_kinds}")
    return Payload(
        vector,
        dtype or document.get("dtype"),
        document.get("dim"),
        None if document.get("id") is None else str(document["id"]),
        document.get("time"),
        document.get("model"),
        find_stream(document, wanted),
    )
