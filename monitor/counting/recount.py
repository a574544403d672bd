"""Counts a bounded range of a topic with the worker's own code, but without a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from monitor.counting.counter import Counter, Owned, Read
from monitor.counting.scoring import Scored
from monitor.messages.record import Partition, Record
from monitor.store.counts import CountKey, samples_in


@dataclass(frozen=True)
class Part:
    """The counts of a piece of one partition's log.

    Attributes:
        counts: bucket to ``(stream, class, cell)`` to samples.
        bucket: the highest bucket that the piece reached, -1 for none.
        rejected: reason to records that cannot be scored.
        skipped: records that are not meant to be scored.
        records: all of them.
    """

    counts: Mapping[int, Mapping[CountKey, int]]
    bucket: int
    rejected: Mapping[str, int]
    skipped: int
    records: int


class Recount:
    """Adds up what the batches would have added to a store.

    Args:
        counter: the worker's; None if only parts are joined that were counted elsewhere.

    Attributes:
        counts: bucket to ``(stream, class, cell)`` to samples.
        rejected: reason to records that cannot be scored.
        skipped: number of records that are not meant to be scored.
        records: number of all records.
    """

    def __init__(self, counter: Counter | None = None) -> None:
        self._counter = counter
        self._reached: dict[Partition, int] = {}
        self.counts: dict[int, dict[CountKey, int]] = {}
        self.rejected: dict[str, int] = {}
        self.skipped = 0
        self.records = 0

    @property
    def samples(self) -> int:
        """How many samples were counted."""
        return samples_in(self.totals())

    def totals(self) -> dict[CountKey, int]:
        """Counts summed over buckets."""
        summed: dict[CountKey, int] = {}
        for cells in self.counts.values():
            _add(summed, cells)
        return summed

    def add(self, records: Mapping[Partition, list[Record]]) -> Iterator[tuple[Read, Scored]]:
        """Count records. Yields each part after it was read and scored, as many records at once as memory has room for.

        Args:
            records: records by partition, in the order of its log, at least one each.
        """
        assert self._counter is not None  # noqa: S101  those who add records gave one
        while records:
            owned = {p: Owned(0, chunk[0].offset, self._reached.get(p, -1)) for p, chunk in records.items()}
            read = self._counter.read(records)
            scored = self._counter.score(read)
            batch, _ = self._counter.count(read, scored, owned)
            for bucket, cells in batch.counts.items():
                _add(self.counts.setdefault(bucket, {}), cells)
            _sum(self.rejected, batch.rejected)
            self.skipped += len(read.rows.skipped)
            self.records += sum(map(len, read.records.values()))
            self._reached |= {step.partition: step.bucket for step in batch.progress}
            yield read, scored
            records = {p: [r for r in records[p] if r.offset >= at] for p, at in read.left.items()}

    def part(self, partition: Partition) -> Part:
        """All that was counted, if it came from this partition alone."""
        return Part(self.counts, self._reached.get(partition, -1), self.rejected, self.skipped, self.records)

    def join(self, partition: Partition, part: Part) -> None:
        """Add the next piece of a partition's log, as if its records had been counted here.

        Buckets of a partition only rise. So what the piece, which knew nothing of the log before it, counted in a
        bucket below the one that the log had reached belongs to that one.

        Args:
            partition: whose pieces are joined in the order of its log.
            part: what :meth:`part` gave.
        """
        reached = self._reached.get(partition, -1)
        for bucket, cells in part.counts.items():
            _add(self.counts.setdefault(max(bucket, reached), {}), cells)
        _sum(self.rejected, part.rejected)
        self.skipped += part.skipped
        self.records += part.records
        self._reached[partition] = max(part.bucket, reached)


def _add(into: dict[CountKey, int], cells: Mapping[CountKey, int]) -> None:
    for key, n in cells.items():
        into[key] = into.get(key, 0) + n


def _sum(into: dict[str, int], more: Mapping[str, int]) -> None:
    for name, n in more.items():
        into[name] = into.get(name, 0) + n
