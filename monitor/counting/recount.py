"""A bounded range of a topic counted by the worker's own code, with no store behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from monitor.counting.counter import Counter, Owned, Read
from monitor.counting.scoring import Scored
from monitor.messages.record import Partition, Record
from monitor.store.counts import CountKey, samples_in


class Recount:
    """Adds up what batches would have added to a store.

    Args:
        counter: the worker's.

    Attributes:
        counts: bucket to ``(stream, class, cell)`` to samples.
        rejected: reason to records that cannot be scored.
        skipped: records that are not meant to be scored.
        records: all of them.
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
        """Count them; yields each part as it was read and scored, as many at once as memory has room for.

        Args:
            records: of each partition, in the order of its log, at least one.
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
