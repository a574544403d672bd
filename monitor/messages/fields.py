"""The fields that self-describing formats carry beside the vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.errors import RecordError
from monitor.messages.record import Payload

FIELDS = ("id", "time", "model", "dtype", "dim")
"""Names of the fields."""


def payload(document: Mapping[str, Any], vector: bytes, dtype: str | None) -> Payload:
    """Take ``id``, ``time``, ``model``, ``dtype`` and ``dim`` from a decoded map.

    Raises:
        RecordError: ``undecodable`` if one has the wrong type.
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
            wanted = " or ".join(k.__name__ for k in kinds)
            raise RecordError("undecodable", f"{name} is {type(value).__name__}, expected {wanted}")
    return Payload(
        vector,
        dtype or document.get("dtype"),
        document.get("dim"),
        None if document.get("id") is None else str(document["id"]),
        document.get("time"),
        document.get("model"),
    )
