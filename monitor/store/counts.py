"""What is counted: claims of partitions, batches, and the answers to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from monitor.messages.record import Partition

CountKey = tuple[str, int, int]
"""``(stream, predicted class, cell)``. A sample is counted once for each expert, in :func:`cell_of`."""

CELLS = 7
"""Conformal cells of one expert."""


def cell_of(expert: int, cell: int) -> int:
    """Where an expert's conformal cell is counted: those of the first expert are 0 to 6, those of the next 7 to 13."""
    return expert * CELLS + cell


def samples_in(cells: Mapping[CountKey, int]) -> int:
    """How many samples were counted; every expert has counted each of them, so the first one tells."""
    return sum(n for (_, _, cell), n in cells.items() if cell < CELLS)


@dataclass(frozen=True)
class Claim:
    """A partition taken over.

    Attributes:
        epoch: fencing token; a later claim of the same partition has a higher one.
        next: offset to read on from.
        bucket: highest bucket counted so far, -1 for none.
        fresh: nothing was stored before.
        topic_ids: ids of the topic that the offsets are of, the latest first; empty if none is known.
        skip: offsets ``[from, to)`` of this log that are counted already.
        read, bad: recent records, and those of them that could not be scored, as :class:`Progress` left them.
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
    """A partition set to another offset without anything being counted: its log is not the one it was.

    Attributes:
        partition: whose log it is.
        epoch: of the claim; a later owner refuses the move.
        start: where the partition must stand now.
        next: offset to read on from.
        topic_id: of the log that ``next`` is an offset of.
        skip: offsets ``[from, to)`` of that log that are counted already.
    """

    partition: Partition
    epoch: int
    start: int
    next: int
    topic_id: str
    skip: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Progress:
    """What one batch moves a partition by: the records of offsets ``[start, next)`` are in the batch.

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
class Example:
    """A sample worth showing to a person; ``expert`` takes it for the most OOD, empty if there is only one."""

    confidence: float
    id: str
    predicted: int
    partition: Partition
    offset: int
    expert: str = ""


OVERFLOW = "__overflow__"
"""The stream under which samples are counted whose own stream the limit has no room for."""


FORGOTTEN = "__forgotten__"
"""The name under which the totals of streams are kept that were forgotten."""


@dataclass
class Batch:
    """Everything one batch adds.

    Attributes:
        progress: of each partition that has records in it.
        counts: bucket to ``(stream, class, cell)`` to samples.
        rejected: reason to records that cannot be scored.
        examples: bucket and stream to the most OOD samples, the worst first.
        sums: further numbers that are added up in the store for good: ``late`` samples counted in a later bucket than
            their own, ``ahead`` samples whose time lies ahead of the store's clock, ``overflow`` samples counted
            under :data:`OVERFLOW`, ``skipped`` records.
    """

    progress: list[Progress] = field(default_factory=list)
    counts: dict[int, dict[CountKey, int]] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    examples: dict[tuple[int, str], list[Example]] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """How many samples it counts."""
        return sum(map(samples_in, self.counts.values()))

    def totals(self) -> dict[CountKey, int]:
        """Counts summed over buckets."""
        summed: dict[CountKey, int] = {}
        for cells in self.counts.values():
            for key, n in cells.items():
                summed[key] = summed.get(key, 0) + n
        return summed

    def within(self, first: int, last: int) -> Batch:
        """The same batch with every bucket before ``first`` or after ``last`` counted in that one.

        Samples that are moved later are added to ``late``, samples that are moved earlier to ``ahead``.
        """
        sums = dict(self.sums)
        for bucket, cells in self.counts.items():
            name = "late" if bucket < first else "ahead" if bucket > last else ""
            if name:
                sums[name] = sums.get(name, 0) + samples_in(cells)

        def moved(bucket: int) -> int:
            return min(max(bucket, first), last)

        # A partition keeps its own bucket: it tells whether the partition brings only what is closed already.
        progress = [replace(p, bucket=min(p.bucket, last)) for p in self.progress]
        return self._renamed(moved, lambda stream: stream, progress, sums)

    def overflowed(self, streams: Collection[str]) -> Batch:
        """The same batch with the samples of ``streams`` counted under :data:`OVERFLOW`."""
        moved = sum(samples_in({k: n for k, n in cells.items() if k[0] in streams}) for cells in self.counts.values())
        sums = {**self.sums, "overflow": self.sums.get("overflow", 0) + moved}
        return self._renamed(
            lambda bucket: bucket, lambda stream: OVERFLOW if stream in streams else stream, self.progress, sums
        )

    def _renamed(
        self,
        bucket_of: Callable[[int], int],
        stream_of: Callable[[str], str],
        progress: list[Progress],
        sums: dict[str, int],
    ) -> Batch:
        counts: dict[int, dict[CountKey, int]] = {}
        for bucket, cells in self.counts.items():
            target = counts.setdefault(bucket_of(bucket), {})
            for (stream, predicted, cell), n in cells.items():
                key = (stream_of(stream), predicted, cell)
                target[key] = target.get(key, 0) + n
        examples: dict[tuple[int, str], list[Example]] = {}
        for (bucket, stream), found in self.examples.items():
            kept = examples.setdefault((bucket_of(bucket), stream_of(stream)), [])
            most = max(len(kept), len(found))
            kept[:] = sorted([*kept, *found], key=lambda e: e.confidence)[:most]
        return Batch(progress, counts, self.rejected, examples, sums)


@dataclass(frozen=True)
class Reply:
    """The store's answer to a batch. Only ``ok`` and ``repeat`` mean that it is written.

    Attributes:
        status: ``ok``: it is written now. ``repeat``: it was written before. ``closed``: buckets up to ``bucket`` take
            no more counts, move past it and send again. ``ahead``: buckets after ``bucket`` lie ahead of the store's
            clock, move to it and send again. ``streams``: there is no room for ``streams``, count them together and
            send again. ``refused``: see ``why``.
        bucket: the last closed one, or the last one allowed.
        streams: that the limit has no room for.
        partition: the one that is refused and must be claimed again.
        why: ``fenced`` by a newer owner, ``moved``, ``wiped``, or ``rebound``: the group has other settings by now.
        now_ms: the store's clock, 0 if it does not say.
    """

    status: Literal["ok", "repeat", "closed", "ahead", "streams", "refused"]
    bucket: int = -1
    streams: tuple[str, ...] = ()
    partition: Partition | None = None
    why: str = ""
    now_ms: int = 0


@dataclass(frozen=True)
class PartitionState:
    """A partition as stored; all times by the store's clock.

    Attributes:
        epoch: fencing token of its owner.
        next: offset to count next.
        bucket: highest bucket counted, -1 for none.
        at_ms: when it last moved.
        seen_ms: when its owner last reported it, 0 for never.
        lag: records behind its end, as its owner last reported; -1 if it has not read any of it yet.
        behind_ms: since when its owner has been behind by more than a batch or two, 0 if it is not.
        late_ms: since when it has brought only records of buckets that are closed already, 0 if it does not.
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
    """What a worker reports of one of its partitions.

    Attributes:
        epoch: the fencing token of its claim.
        lag: records between where it stands and the end of the log; -1 if the end is not known yet.
        behind: whether that is more than it takes in the next batch or two.
    """

    epoch: int
    lag: int
    behind: bool


def partitions_of(
    topics: Collection[str], partitions: Mapping[Partition, PartitionState]
) -> dict[Partition, PartitionState]:
    """Those of these topics: a group remembers partitions of topics that it reads no more. No topic means all."""
    return {p: state for p, state in partitions.items() if not topics or p.topic in topics}
