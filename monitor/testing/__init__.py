"""Test doubles that keep the contracts of the real parts: a store, a broker with consumer groups, a clock.

They are public: use them to test what you build on the monitor. ``tests/contract`` runs one suite over them and over
real servers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from monitor.testing.broker import MemoryBroker, MemoryDeadLetters, MemorySource
from monitor.testing.deliveries import MemoryDeliveries
from monitor.testing.store import FakeClock, MemoryStore

__all__ = [
    "FakeClock",
    "MemoryBroker",
    "MemoryDeadLetters",
    "MemoryDeliveries",
    "MemorySource",
    "MemoryStore",
    "outage",
]


@contextmanager
def outage(part: MemoryStore | MemoryBroker) -> Iterator[None]:
    """Make a part unavailable within the ``with`` block."""
    part.away = True
    try:
        yield
    finally:
        part.away = False
