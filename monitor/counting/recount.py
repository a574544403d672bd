"""Counts a bounded range of a topic with the worker's own code, but without a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from monitor.counting.counter import Counter, Owned, Read
from monitor.counting.scoring import Scored
from monitor.messages.record import Partition, Record
from monitor.store.counts import CountKey, samples_in


class Recount:
    """Adds up what the batches would have added to a store.

    Args:
        counter: a worker's counter.

    Attributes:
        counts: bucket to ``(stream, class, cell)`` to samples.
        rejected: reason to records that cannot be scored.
        skipped: number of records that are not meant to be scored.
        records: number of all records.
    """

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._owned: dict[Partition, Owned] = {}
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
        while records:
            for p, chunk in records.items():
                self._owned.setdefault(p, Owned(0, chunk[0].offset, -1))
            read = self._counter.read(records)
            scored = self._counter.score(read)
            batch, _ = self._counter.count(read, scored, self._owned)
            for bucket, cells in batch.counts.items():
                _add(self.counts.setdefault(bucket, {}), cells)
            for reason, n in batch.rejected.items():
                self.rejected[reason] = self.rejected.get(reason, 0) + n
            self.skipped += len(read.rows.skipped)
            self.records += sum(map(len, read.records.values()))
            for step in batch.progress:
                self._owned[step.partition] = Owned(0, step.next, step.bucket)
            yield read, scored
            records = {p: [r for r in records[p] if r.offset >= at] for p, at in read.left.items()}


def _add(into: dict[CountKey, int], cells: Mapping[CountKey, int]) -> None:
    for key, n in cells.items():
        into[key] = into.get(key, 0) + n
