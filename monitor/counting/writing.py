"""Writes counts and next offsets to the store, and handles its answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from monitor.counting.ownership import Ownership
from monitor.errors import ReboundError
from monitor.store.counts import Batch
from monitor.store.protocol import Store

log = logging.getLogger(__name__)

LAST_BUCKET = 2**62

MOVED_SECONDS = 60.0
"""How often (in seconds) a line says how many samples were moved."""

REBOUND = (
    "this group was given other settings or another artifact while this process ran, and nothing more is written: "
    "restart it with the settings that the group has now"
)

MOVED = {
    "late": "were older than what has been judged and count in the bucket that is open now",
    "ahead": "were stamped later than the clock of Redis and count in the bucket of the present",
    "overflow": "are of streams beyond streams.limit and count together as one stream",
}
"""The texts about samples that were not counted in their own bucket or stream."""


class BatchWriter:
    """Writes batches for one worker.

    Args:
        store: counts and next offsets are written to it by one script.
        ownership: gives up the partitions that the store refuses.
        clock: seconds that only rise.
    """

    def __init__(self, store: Store, ownership: Ownership, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._ownership, self._clock = store, ownership, clock
        self._moved: dict[str, int] = {}
        self._moved_at = clock() - MOVED_SECONDS

    def write(self, batch: Batch) -> Batch | None:
        """Write the batch. Returns what was written, or ``None`` if the store refused a partition, to be claimed again.

        The store refuses buckets that are judged, buckets of the future and streams beyond the limit. Samples of these
        are moved, and the batch is written again.

        Raises:
            ReboundError: the group was given other settings.
            StoreError: the store does not answer or cannot write.
        """
        while True:
            reply = self._store.commit(batch)
            if reply.status == "closed":
                batch = batch.within(reply.bucket + 1, LAST_BUCKET)
            elif reply.status == "ahead":
                batch = batch.within(-1, reply.bucket)
            elif reply.status == "streams":
                batch = batch.overflowed(frozenset(reply.streams))
            elif reply.why == "rebound":
                raise ReboundError(REBOUND)
            elif reply.status == "refused":
                log.warning(
                    "%s: Redis refused a batch (%s); the partition is claimed again", reply.partition, reply.why
                )
                self._ownership.give_up(batch.progress)
                return None
            else:
                self._log_what_was_moved(batch)
                return batch

    def _log_what_was_moved(self, batch: Batch) -> None:
        """Log, at most once a minute, how many samples were not counted in their own bucket or stream."""
        for name, n in batch.sums.items():
            if name in MOVED:
                self._moved[name] = self._moved.get(name, 0) + n
        if self._moved and self._clock() - self._moved_at >= MOVED_SECONDS:
            partitions = ", ".join(sorted(str(p.partition) for p in batch.progress))
            for name, n in self._moved.items():
                log.warning("%d samples %s (now in %s)", n, MOVED[name], partitions)
            self._moved, self._moved_at = {}, self._clock()
