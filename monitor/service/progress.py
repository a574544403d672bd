"""Notes on whether a process does its work and whether a restart would help. Any thread may read them."""

from __future__ import annotations

import time
from collections.abc import Callable

PROGRESS_SECONDS = 60.0
"""If the poll loop has not come round for this many seconds, it makes no progress, and the heartbeat stops."""

STANDBY_SECONDS = 30.0
"""A process that still has no partition this many seconds after its first poll stands by for those that have."""


class Progress:
    """Remembers when the loop of a process last came round, and when it last judged.

    Args:
        trouble: gives what keeps the worker from its records now; empty if nothing does.
        judges: whether this process judges now.
        watches: whether the watching thread is alive.
        monotonic: a clock that only goes forward, in seconds.
    """

    def __init__(
        self,
        trouble: Callable[[], str],
        judges: Callable[[], bool],
        watches: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trouble, self._judges, self._watches, self._monotonic = trouble, judges, watches, monotonic
        self._stepped = self._judged = monotonic()
        self._first: float | None = None
        self._joined = self._ends = False

    def begin_round(self, partitions: int) -> None:
        """Note that the poll loop came round, and how many partitions this process has claimed."""
        self._stepped = self._monotonic()
        self._first = self._stepped if self._first is None else self._first
        self._joined = self._joined or partitions > 0 or self._stepped - self._first >= STANDBY_SECONDS

    def note_judged(self) -> None:
        """Note that all closed buckets were judged, or that another process judges."""
        self._judged = self._monotonic()

    @property
    def ends(self) -> bool:
        """Whether the process is being stopped."""
        return self._ends

    def end(self) -> None:
        """Note that the process is being stopped."""
        self._ends = True

    @property
    def moves(self) -> bool:
        """Whether the poll loop makes progress."""
        return self._monotonic() - self._stepped < PROGRESS_SECONDS

    def healthy(self) -> str:
        """A sentence on why a restart would help; empty if it would not.

        It would not if Redis or Kafka cannot be reached.
        """
        waited, judged = self._monotonic() - self._stepped, self._monotonic() - self._judged
        if waited >= PROGRESS_SECONDS:
            return f"the loop that counts has not come round for {waited:.0f} seconds: restart this process"
        if not self._watches():
            return "the thread that watches the monitor itself has ended: restart this process"
        if self._judges() and judged >= PROGRESS_SECONDS and not self._trouble():
            return f"this process holds the right to judge and has not judged for {judged:.0f} seconds: restart it"
        return ""

    def ready(self) -> str:
        """A sentence on why the process does not do its work now; empty if it does, or if it stands by."""
        if self._ends:
            return "this process is being stopped"
        if self._first is None:
            return "this process starts, and has not asked Kafka for records yet"
        waits = "" if self._joined else "this process has joined its group, and has no partition yet"
        return self.healthy() or self._trouble() or waits
