"""Formats times, rates, names and links for the document."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from monitor.alerts.alert import moment
from monitor.math.intervals import interval

LONGEST_LINK = 1000
"""The longest link that is shown, in characters."""


def at(ms: float) -> str:
    """Write milliseconds since the epoch as RFC 3339; empty if it never happened."""
    return moment(ms / 1000) if 0 < ms < 253_402_300_799_000 else ""


def stream_id(name: str) -> str:
    """Return the id that stands for a stream in addresses, since its name may hold anything, even ``/`` or ``..``."""
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def rate_of(samples: float, flagged: float) -> dict[str, Any]:
    """Show a flag rate with its 95 % Clopper-Pearson interval; None if there are no samples."""
    low, high = interval(samples, flagged)
    rate = round(flagged / samples, 5) if samples else None
    counts = {"samples": round(samples), "flagged": round(flagged)}
    return {**counts, "rate": rate, "low": round(low, 5), "high": round(high, 5)}


def log10_of(natural: float) -> float | None:
    """Convert a natural logarithm to base ten; None if it is not finite."""
    return round(natural / math.log(10), 3) if math.isfinite(natural) else None


def finite(value: Any) -> float | None:
    """Return a number that JSON can hold; None if it is not finite."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def image_link(template: str, request: str) -> str:
    """Return the link to the image of a request; empty without a template, or if the id would change the host.

    Args:
        template: begins with ``http://`` or ``https://`` and holds ``{id}`` behind the host; any other makes no link.
        request: the request's id, as its sender chose it.
    """
    if request in ("", ".", "..") or not re.match(r"https?://[^/?#{}\\@\s]+[/?#]", template):
        return ""
    link = template.replace("{id}", quote(request.encode("utf-8", "backslashreplace"), safe=""))
    return link if len(link) <= LONGEST_LINK else ""


def count_of(fields: Mapping[str, str], name: str) -> int:
    """Read a number that is stored as text; 0 if it is not a number."""
    try:
        return int(float(fields.get(name) or 0))
    except ValueError:
        return 0
