"""The types of owning partitions: claims, positions, and what is stored and reported about each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from monitor.messages.record import Partition


@dataclass(frozen=True)
class Claim:
    """The store's answer when a worker claims a partition.

    Attributes:
        epoch: fencing token; a later claim of the same partition has a higher one.
        next: the next offset to read.
        bucket: the highest bucket counted so far; -1 if there is none.
        fresh: True if nothing was stored for this partition before.
        topic_ids: ids of the topic that the offsets belong to, the latest first; empty if none is known.
        skip: the offsets ``[from, to)`` of this log are counted already.
        read, bad: number of recent records, and how many of them could not be scored, see :class:`Progress`.
    """

    epoch: int
    next: int
    bucket: int
    fresh: bool
    topic_ids: tuple[str, ...] = ()
    skip: tuple[int, int] = (0, 0)
    read: float = 0.0
    bad: float = 0.0


@dataclass(frozen=True)
class Move:
    """Sets a partition to another offset without counting anything, because its log is no longer the same one.

    Attributes:
        partition: the partition.
        epoch: of the claim. If there was a later claim, the move is refused.
        start: the stored offset must be this one.
        next: the next offset to read.
        topic_id: id of the topic whose log ``next`` belongs to.
        skip: the offsets ``[from, to)`` of that log are counted already.
    """

    partition: Partition
    epoch: int
    start: int
    next: int
    topic_id: str
    skip: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Progress:
    """How far a batch moves a partition: it holds the records with offsets ``[start, next)``.

    ``read`` and ``bad`` are recent records of the partition and how many of them could not be scored
    (:class:`monitor.counting.bad_share.Share`), kept so that a restart does not forget them.
    """

    partition: Partition
    epoch: int
    start: int
    next: int
    bucket: int
    read: float = 0.0
    bad: float = 0.0


@dataclass(frozen=True)
class PartitionState:
    """The stored state of a partition. All times are by the store's clock.

    Attributes:
        epoch: fencing token of its owner.
        next: the next offset to count.
        bucket: the highest bucket counted; -1 if there is none.
        at_ms: when a record of it was last counted.
        seen_ms: when its owner last reported it; 0 if never.
        lag: records left to read, as its owner last reported; -1 if the owner has not read any of it yet.
        behind_ms: since when its owner has been behind by more than a batch or two; 0 if it is not.
        late_ms: since when it has brought only records of closed buckets; 0 if it does not.
    """

    epoch: int
    next: int
    bucket: int
    at_ms: int
    seen_ms: int = 0
    lag: int = 0
    behind_ms: int = 0
    late_ms: int = 0


@dataclass(frozen=True)
class Seen:
    """A worker's report about one of its partitions.

    Attributes:
        epoch: the fencing token of its claim.
        lag: records left to read before the end of the log; -1 if the end is not known yet.
        behind: whether that is more than the next batch or two.
    """

    epoch: int
    lag: int
    behind: bool


def partitions_of(
    topics: Collection[str], partitions: Mapping[Partition, PartitionState]
) -> dict[Partition, PartitionState]:
    """Select the partitions of these topics; if ``topics`` is empty, all.

    A group remembers topics it no longer reads.
    """
    return {p: state for p, state in partitions.items() if not topics or p.topic in topics}
