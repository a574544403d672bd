"""Adds up a replay: counts by the worker's own code, and the flags in the order of each log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from monitor.config import MonitorConfig
from monitor.counting.counter import Counter, Read, usable_rows
from monitor.counting.models import Models
from monitor.counting.recount import Part, Recount
from monitor.counting.scoring import Scored
from monitor.math.flag_order import FlagOrder
from monitor.math.state import Bucket
from monitor.messages.record import Partition, Record
from monitor.store.counts import by_key


@dataclass(frozen=True)
class TalliedPart:
    """The part of one piece of a partition's log: its counts, and its flags in order, by stream."""

    part: Part
    order: Mapping[str, FlagOrder]


class Tally:
    """The sums of a replay. They do not depend on how the logs are cut into polls or pieces.

    Args:
        config: settings of the monitor that would be armed.
        models: the contracts that records are checked against, and the scorers.
        cells: how many cells all experts have together.
        flag_cells: samples in an expert's cells below this are flagged.
    """

    def __init__(self, config: MonitorConfig, models: Models, cells: int, flag_cells: int) -> None:
        self.recount = Recount(Counter(models, config.bucket_ms, 0))
        self._orders: dict[Partition, dict[str, FlagOrder]] = {}
        self._cells, self._flag_cells = cells, flag_cells
        self._width, self._magnitude = config.bucket_ms / 1000, models.first.contract.limits.magnitude

    @property
    def order(self) -> dict[str, FlagOrder]:
        """The flags in order, by stream: pairs of neighbours within a partition, since partitions have no order."""
        found: dict[str, FlagOrder] = {}
        for _, streams in sorted(self._orders.items()):
            for stream, flags in streams.items():
                found[stream] = found.get(stream, FlagOrder()).beside(flags)
        return dict(sorted(found.items()))

    def add(self, records: Mapping[Partition, list[Record]]) -> Iterator[Read]:
        """Counts records and notes their flags; yields each part after it was counted."""
        for read, scored in self.recount.add(records):
            self._order_flags(read, scored)
            yield read

    def _order_flags(self, read: Read, scored: Scored) -> None:
        """Note which samples were flagged, by any expert."""
        whole, _ = usable_rows(read.rows, scored, self._magnitude)
        flagged = scored.cells.min(axis=1) < self._flag_cells
        for p, span in read.spans.items():
            flags: dict[str, list[bool]] = {}
            for n in whole[(whole >= span.start) & (whole < span.stop)].tolist():
                flags.setdefault(read.rows.streams[n], []).append(bool(flagged[n]))
            kept = self._orders.setdefault(p, {})
            for stream, run in flags.items():
                kept[stream] = kept.get(stream, FlagOrder()).then(run)

    def part(self, partition: Partition) -> TalliedPart:
        """Everything that was added, if it came from this partition alone."""
        return TalliedPart(self.recount.part(partition), self._orders.get(partition, {}))

    def join(self, partition: Partition, piece: TalliedPart) -> None:
        """Add the next piece of a partition's log."""
        self.recount.join(partition, piece.part)
        kept = self._orders.setdefault(partition, {})
        for stream, flags in piece.order.items():
            kept[stream] = kept.get(stream, FlagOrder()).followed_by(flags)

    def closed(self) -> Iterator[Bucket]:
        """Buckets in order of event time."""
        for b, counts in sorted(self.recount.counts.items()):
            yield Bucket(b, b * self._width, (b + 1) * self._width, by_key(counts, self._cells))

    def classes(self) -> dict[int, list[int]]:
        """Samples in each cell of every expert, by predicted class over all streams."""
        table: dict[int, list[int]] = {}
        for (_, label), cells in by_key(self.recount.totals(), self._cells).items():
            kept = table.setdefault(label, [0] * self._cells)
            for k, n in enumerate(cells):
                kept[k] += n
        return dict(sorted(table.items()))

    def words(self) -> str:
        """How many records were read, and what happened to them."""
        r = self.recount
        refused = ", ".join(f"{n} {reason}" for reason, n in sorted(r.rejected.items()))
        total = sum(r.rejected.values())
        return (
            f"{r.records:,} records read, {r.samples:,} samples judged, {total:,} records rejected"
            + (f" ({refused})" if refused else "")
            + (f", {r.skipped:,} skipped" if r.skipped else "")
        )
