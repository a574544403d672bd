"""Times, rates, names and links as the document holds them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from monitor.alerts.alert import moment
from monitor.math.lifecycle import interval

LONGEST_LINK = 1000
"""A longer link is left out."""


def at(ms: float) -> str:
    """Milliseconds since the epoch as RFC 3339; empty for never."""
    return moment(ms / 1000) if 0 < ms < 253_402_300_799_000 else ""


def ms_of(text: str) -> int:
    """The same back; 0 if it is none."""
    try:
        return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
    except ValueError:
        return 0


def stream_id(name: str) -> str:
    """What names a stream in addresses: a name may hold anything, ``/`` and ``..`` included."""
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def rate_of(samples: float, flagged: float) -> dict[str, Any]:
    """A flag rate with its 95 % Clopper-Pearson interval; None without samples."""
    low, high = interval(samples, flagged)
    rate = round(flagged / samples, 5) if samples else None
    counts = {"samples": round(samples), "flagged": round(flagged)}
    return {**counts, "rate": rate, "low": round(low, 5), "high": round(high, 5)}


def log10_of(natural: float) -> float | None:
    """A natural logarithm as one of base ten; None if it is not finite."""
    return round(natural / math.log(10), 3) if math.isfinite(natural) else None


def finite(value: Any) -> float | None:
    """A number that JSON can hold; None if it is none."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def image_link(template: str, request: str) -> str:
    """Where the image of a request is; empty without a template, or if the id would lead somewhere else.

    Args:
        template: begins with ``http://`` or ``https://`` and holds ``{id}`` behind the host; any other makes no link.
        request: its id, as the sender chose it.
    """
    if request in ("", ".", "..") or not re.match(r"https?://[^/?#{}\\@\s]+[/?#]", template):
        return ""
    link = template.replace("{id}", quote(request.encode("utf-8", "backslashreplace"), safe=""))
    return link if len(link) <= LONGEST_LINK else ""


def count_of(fields: Mapping[str, str], name: str) -> int:
    """A number that is kept as text; 0 if it is none."""
    try:
        return int(float(fields.get(name) or 0))
    except ValueError:
        return 0
