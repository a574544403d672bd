"""Rate-limited log lines: each kind is logged at once, then at most once a minute with how often it happened."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

EVERY_SECONDS = 60.0


class Complaints:
    """Writes rate-limited log lines.

    Args:
        log: the logger.
        clock: gives monotonic seconds.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def warn(self, kind: str, text: str, times: int = 1) -> None:
        """Log ``text``, unless this kind was logged less than a minute ago."""
        now = self._clock()
        with self._lock:
            held = self._held.get(kind, 0)
            if kind in self._last and now - self._last[kind] < EVERY_SECONDS:
                self._held[kind] = held + times
                return
            self._last[kind], self._held[kind] = now, 0
        more = f" ({held} more of these since the last such line)" if held else ""
        self._log.warning("%s%s", text, more)

    def settle(self, kind: str, text: str) -> None:
        """Log that a problem is over, if one was logged. The next problem is then logged at once."""
        with self._lock:
            if self._last.pop(kind, None) is None:
                return
            self._held.pop(kind, None)
        self._log.warning("%s", text)
