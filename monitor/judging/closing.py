"""Decides which buckets may be judged: which partitions keep a bucket open, and for how long."""

from __future__ import annotations

from collections.abc import Iterable

from monitor.judging.ages import age_of
from monitor.store.partitions import PartitionState

SEEN_MS = 15_000
"""If no worker has reported a partition for this long, nobody reads it."""


def closable(
    partitions: Iterable[PartitionState],
    leads: tuple[int, int],
    *,
    now_ms: int,
    bucket_ms: int,
    idle_ms: int,
    since_ms: int = 0,
) -> int:
    """Return the last bucket that may be judged.

    A partition keeps its current bucket and all later ones open as long as it receives records or has records left to
    read. Three kinds of partition keep nothing open. One has been read to its end and has received nothing for
    ``idle_ms``. The records of another all belong to buckets that were judged already. The third was overtaken by
    other partitions more than ``hold_ms`` ago. No bucket closes before its end by the store's clock. A time that lies
    ahead of that clock was noted before the clock was set back, and is as old as it lies ahead.

    Args:
        partitions: their states, as stored.
        leads: the highest bucket that any partition had reached ``hold_ms`` ago, and the highest reached by now; -1 if
            there is none.
        now_ms: time by the store's clock.
        bucket_ms: width of a bucket.
        idle_ms: see above.
        since_ms: when this process began to judge. Before that, perhaps no worker was there to read.
    """
    holding = [
        p.bucket
        for p in partitions
        if not p.late_ms and (min(age_of(p.at_ms, now_ms), now_ms - since_ms) < idle_ms or _has_more(p, now_ms))
    ]
    reached_long_ago, reached = leads
    free = min(holding) - 1 if holding else reached
    return min(max(free, reached_long_ago), now_ms // bucket_ms - 1)


def is_set_back(closed: int, now_ms: int, bucket_ms: int) -> bool:
    """Whether the store's clock was set back behind a bucket that is closed, so that it would close none for long.

    This happens if the clock is corrected, or if another server with another clock takes over.
    """
    return closed > now_ms // bucket_ms + 1


def find_lead(waited_ms: int, longest_ms: int) -> int:
    """By how much (ms) the store's clock is ahead of the clock of the buckets, negative if it is behind.

    Args:
        waited_ms: how long ago a bucket ended by the store's clock when it was judged.
        longest_ms: how long a bucket may wait to be judged. If it waited longer, or has not ended yet, then the clocks
            differ, or what was read is old.
    """
    return 0 if 0 <= waited_ms <= longest_ms else waited_ms


def _has_more(p: PartitionState, now_ms: int) -> bool:
    """Whether a live worker still has records of this partition to read."""
    return age_of(p.seen_ms, now_ms) < SEEN_MS and (p.behind_ms > 0 or p.lag < 0)
