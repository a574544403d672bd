"""Event times as senders write them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from monitor.errors import RecordError


def parse_time(given: Any) -> int:
    """Milliseconds since the epoch from RFC 3339 text (CloudEvents) or a whole number of milliseconds."""
    if isinstance(given, int) or (isinstance(given, str) and given.isdigit()):
        return int(given)
    try:
        moment = datetime.fromisoformat(str(given).replace("Z", "+00:00"))
    except ValueError:
        raise RecordError("bad-header", f"time {given!r}, expected RFC 3339 such as 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1000)
