"""Which buckets may be judged: what holds one open, for how long, and by whose clock."""

from __future__ import annotations

from collections.abc import Iterable

from monitor.store.counts import PartitionState

SEEN_MS = 15_000
"""A partition that no worker has reported for so long is not read by anybody."""


def closable(
    partitions: Iterable[PartitionState],
    leads: tuple[int, int],
    *,
    now_ms: int,
    bucket_ms: int,
    idle_ms: int,
    since_ms: int = 0,
) -> int:
    """The last bucket that may be judged.

    A bucket waits for every partition that still moves, or that has more to read: below the least bucket among those.
    Three kinds hold nothing open: a partition that is read to its end and moved nothing for ``idle_ms``; one that
    brings only what has been judged already; and one that others passed longer ago than the caller's ``hold_ms``.
    Nothing closes ahead of the store's clock.

    Args:
        partitions: as stored.
        leads: highest open bucket that was reached ``hold_ms`` ago, and the highest reached at all; -1 for none.
        now_ms: the store's clock.
        bucket_ms: width of a bucket.
        idle_ms: see above.
        since_ms: when the watching began: before it, nobody may have been there to move a partition.
    """
    holding = [
        p.bucket
        for p in partitions
        if not p.late_ms and (now_ms - max(p.at_ms, since_ms) < idle_ms or _has_more(p, now_ms))
    ]
    reached_long_ago, reached = leads
    free = min(holding) - 1 if holding else reached
    return min(max(free, reached_long_ago), now_ms // bucket_ms - 1)


def _has_more(p: PartitionState, now_ms: int) -> bool:
    """Whether a worker that is there has yet to read it, or is far from its end."""
    return now_ms - p.seen_ms < SEEN_MS and (p.behind_ms > 0 or p.lag < 0)
