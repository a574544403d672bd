"""Tells the store once a second that a worker is alive, and how far behind its partitions are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from monitor.counting.counter import Owned
from monitor.counting.trouble import Trouble
from monitor.counting.writing import REBOUND
from monitor.errors import ReboundError
from monitor.messages.record import Partition
from monitor.store.partitions import Seen
from monitor.store.protocol import Store

EVERY_SECONDS = 1.0


class Heartbeat:
    """The reports of one worker.

    Args:
        store: takes the reports.
        name: the name of the worker.
        max_records: how many records a poll gives at most. A partition that is more than two polls behind is lagging.
        now_ms: milliseconds since the epoch by the clock of this process.
        clock: seconds that only rise.

    Attributes:
        store_leads_ms: by how much the clock of the store is ahead of ``now_ms``.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        max_records: int,
        now_ms: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._name, self._far_behind = store, name, 2 * max_records
        self._now_ms, self._clock = now_ms, clock
        self._due = clock()
        self.store_leads_ms = 0

    @property
    def is_due(self) -> bool:
        """Whether the last report is a second old."""
        return self._clock() >= self._due

    def beat(self, owned: Mapping[Partition, Owned], ends: Mapping[Partition, int], trouble: Trouble) -> None:
        """Report these partitions, of which the log ends at ``ends`` if that is known, and what is wrong, if anything.

        Raises:
            ReboundError: the group was given other settings.
            StoreUnavailableError: the store does not answer.
        """
        self._due = self._clock() + EVERY_SECONDS
        seen = {
            p: Seen(o.epoch, lag := max(0, ends[p] - o.next) if p in ends else -1, lag > self._far_behind)
            for p, o in owned.items()
        }
        now = self._store.report(self._name, json.dumps({"partitions": len(seen), **trouble.report()}), seen)
        if not now:
            raise ReboundError(REBOUND)
        self.store_leads_ms = now - self._now_ms()
