"""The types of counting: batches of counts, and the store's replies to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from monitor.messages.record import Partition
from monitor.store.partitions import Progress

CountKey = tuple[str, int, int]
"""``(stream, predicted class, cell)``. Each sample is counted once for each expert, in the cell of :func:`cell_of`."""

CELLS = 7
"""How many conformal cells one expert has."""


def cell_of(expert: int, cell: int) -> int:
    """Number of an expert's conformal cell: the first expert has the cells 0 to 6, the next 7 to 13, and so on."""
    return expert * CELLS + cell


def samples_in(cells: Mapping[CountKey, int]) -> int:
    """How many samples were counted. Every expert has counted each of them, so the cells of the first are enough."""
    return sum(n for (_, _, cell), n in cells.items() if cell < CELLS)


def by_key(counts: Mapping[CountKey, int], cells: int) -> dict[tuple[str, int], list[int]]:
    """Group the counts of a bucket by ``(stream, class)``: samples in each cell, one expert after the other."""
    table: dict[tuple[str, int], list[int]] = {}
    for (stream, predicted, cell), n in counts.items():
        table.setdefault((stream, predicted), [0] * cells)[cell] += n
    return table


@dataclass(frozen=True)
class Example:
    """A sample to show to people. ``expert`` is the one that finds it most OOD; empty if there is only one."""

    confidence: float
    id: str
    predicted: int
    partition: Partition
    offset: int
    expert: str = ""


OVERFLOW = "__overflow__"
"""Samples of further streams are counted under this name once the limit of streams is reached."""


FORGOTTEN = "__forgotten__"
"""The totals of forgotten streams are kept under this name."""


@dataclass
class Batch:
    """Everything that one batch adds to the store.

    Attributes:
        progress: of each partition with records in the batch.
        counts: samples by ``(stream, class, cell)``, by bucket.
        rejected: number of records that cannot be scored, by reason.
        examples: the most OOD samples of each bucket and stream, the most OOD first.
        sums: further numbers, which the store adds up forever. ``late`` are samples counted in a later bucket than
            their own. ``ahead`` are samples whose time lies ahead of the store's clock. ``overflow`` are samples
            counted under :data:`OVERFLOW`. ``skipped`` are skipped records.
    """

    progress: list[Progress] = field(default_factory=list)
    counts: dict[int, dict[CountKey, int]] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    examples: dict[tuple[int, str], list[Example]] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """How many samples the batch counts."""
        return sum(map(samples_in, self.counts.values()))

    def totals(self) -> dict[CountKey, int]:
        """The counts, summed over the buckets."""
        summed: dict[CountKey, int] = {}
        for cells in self.counts.values():
            for key, n in cells.items():
                summed[key] = summed.get(key, 0) + n
        return summed

    def within(self, first: int, last: int) -> Batch:
        """Return the batch with samples before bucket ``first`` moved into it, and those after ``last`` into ``last``.

        The samples moved to a later bucket are added to ``late``, those moved to an earlier one to ``ahead``.
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
        """Return the batch with the samples of ``streams`` counted under :data:`OVERFLOW`."""
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
    """The store's reply to a batch. It is written only if the status is ``ok`` or ``repeat``.

    Attributes:
        status: ``ok``: written now. ``repeat``: it was written before. ``closed``: the buckets up to ``bucket`` take
            no more counts: move samples past it and send again. ``ahead``: the buckets after ``bucket`` lie ahead of
            the store's clock: move samples to it and send again. ``streams``: there is no room for ``streams``: count
            them together and send again. ``refused``: see ``why``.
        bucket: the last closed bucket, or the last one allowed.
        streams: the streams that the limit has no room for.
        partition: the partition that was refused and must be claimed again.
        why: ``fenced``: another worker has claimed it. ``moved``, ``wiped``: its stored offset is another one, or is
            gone. ``rebound``: the group has other settings now.
        now_ms: time by the store's clock; 0 if it is not known.
    """

    status: Literal["ok", "repeat", "closed", "ahead", "streams", "refused"]
    bucket: int = -1
    streams: tuple[str, ...] = ()
    partition: Partition | None = None
    why: str = ""
    now_ms: int = 0
