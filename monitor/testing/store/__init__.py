"""A clock that a test moves by hand, and a store in memory."""

from __future__ import annotations

from monitor.testing.store.base import FakeClock
from monitor.testing.store.counting import MemoryCounting
from monitor.testing.store.handling import MemoryHandling
from monitor.testing.store.judging import MemoryJudging
from monitor.testing.store.watching import MemoryWatching

__all__ = ["FakeClock", "MemoryStore"]


class MemoryStore(MemoryCounting, MemoryJudging, MemoryWatching, MemoryHandling):
    """A :class:`monitor.store.protocol.Store` in memory; see :class:`monitor.testing.store.base.MemoryBase`."""
