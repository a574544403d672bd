"""Reads the event times that senders write, and decides the time at which a record counts."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import Any

from monitor.errors import RecordError

LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999. Larger numbers are not times."""

MAX_CHARACTERS = 64
"""How many characters a time may have."""

_FRACTION = re.compile(r"\.([0-9]+)")


def now_ms() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def parse_time(given: Any) -> int:
    """Read milliseconds since the epoch from RFC 3339 text (CloudEvents) or from a whole number of milliseconds.

    Raises:
        RecordError: ``bad-time``.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        return _possible(given)
    text = str(given)
    if len(text) > MAX_CHARACTERS:
        raise RecordError("bad-time", f"a time of {len(text)} characters, expected RFC 3339 or milliseconds")
    if text.isascii() and text.isdigit():
        return _possible(int(text))
    try:
        # Python 3.10 reads three or six digits of a second alone; Go and .NET write as many as there are, up to nine.
        digits = _FRACTION.sub(lambda found: f".{found[1][:6]:0<6}", text)
        moment = datetime.fromisoformat(digits.replace("Z", "+00:00"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return _possible(round(moment.timestamp() * 1000))
    except (ValueError, OverflowError):
        raise RecordError("bad-time", f"time {text!r}, expected RFC 3339 such as 2026-01-31T12:00:00Z") from None


def _possible(time_ms: int) -> int:
    if not -LATEST_MS <= time_ms <= LATEST_MS:
        shown = str(time_ms) if abs(time_ms) < 10**30 else "a number of over 30 digits"
        raise RecordError("bad-time", f"time {shown}, expected milliseconds since 1970 up to the year 9999")
    return time_ms


def arrival(timestamp_ms: int | None, now_ms: int | None) -> int:
    """Return the time at which a record counts as arrived: its timestamp, but never later than now.

    A record without a timestamp (-1 in Kafka) counts as arrived now.

    Args:
        timestamp_ms: the record's timestamp, if it has one.
        now_ms: the time now; None when old records are read again.

    Raises:
        RecordError: ``bad-time`` if there is neither a timestamp nor a time now.
    """
    if isinstance(timestamp_ms, int) and timestamp_ms >= 0:
        return min(timestamp_ms, LATEST_MS if now_ms is None else now_ms)
    if now_ms is None:
        raise RecordError("bad-time", f"timestamp {timestamp_ms}, expected milliseconds since 1970")
    return now_ms


def within(time_ms: int, timestamp_ms: int | None, arrived_ms: int, max_age_ms: int, max_ahead_ms: int) -> int:
    """Return the event time that counts. It is never later than the arrival of the record.

    A timestamp ahead of the clock makes no record too old or too new, because the sender's clock is then as
    wrong about the event time as about the timestamp.

    Raises:
        RecordError: ``too-old`` or ``from-the-future``.
    """
    if time_ms < arrived_ms - max_age_ms:
        raise RecordError(
            "too-old",
            f"{(arrived_ms - time_ms) / 1000:.0f} s behind the record's timestamp, expected at most "
            f"{max_age_ms / 1000:.0f} s",
        )
    latest = max(arrived_ms, timestamp_ms if isinstance(timestamp_ms, int) else 0)
    if time_ms > latest + max_ahead_ms:
        raise RecordError(
            "from-the-future",
            f"{(time_ms - latest) / 1000:.0f} s before the record's timestamp, expected at most "
            f"{max_ahead_ms / 1000:.0f} s",
        )
    # A clock that runs ahead must not hold back its partition's bucket.
    return max(0, min(time_ms, arrived_ms))
