"""Turns records into what one batch adds: read them by the contract, score, count. Needs no broker and no store."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from monitor.counting.bad_share import Share
from monitor.counting.models import Models
from monitor.counting.routing import Router
from monitor.counting.scoring import Scored
from monitor.counting.telling import Told
from monitor.errors import RecordError
from monitor.messages.record import Partition, Record
from monitor.messages.rows import Rejected, Rows
from monitor.messages.times import arrival
from monitor.store.counts import Batch, Example, cell_of
from monitor.store.partitions import Progress


@dataclass(frozen=True)
class Read:
    """The records of one poll after they were read.

    Attributes:
        records: records by partition, in the order of its log, at least one each.
        rows: their vectors, one partition after the other.
        spans: the range of each partition's vectors in ``rows``.
        rejected: records that the contract rejects.
        left: partitions that were read in part so that memory stays bounded, with the offset to continue at.
        now_ms: the time at which they were read; None when old records are read again.
    """

    records: Mapping[Partition, list[Record]]
    rows: Rows
    spans: Mapping[Partition, slice]
    rejected: Rejected
    left: Mapping[Partition, int] = field(default_factory=dict)
    now_ms: int | None = None


Ints = npt.NDArray[np.int64]

_Places = tuple[Ints, Ints]
"""Offsets, ascending, and the highest bucket that was reached up to each."""


@dataclass(frozen=True)
class Owned:
    """A claimed partition.

    Attributes:
        epoch: fencing token.
        next: the next offset to count.
        bucket: the highest bucket counted.
        gap_at: an offset that came too early once; -1 if there is none.
        topic_id: id of the topic that the offsets belong to; empty if the broker has no ids.
        skip: the offsets ``[from, to)`` are counted already.
        share: the share of recent records that could not be scored.
    """

    epoch: int
    next: int
    bucket: int
    gap_at: int = -1
    topic_id: str = ""
    skip: tuple[int, int] = (0, 0)
    share: Share = field(default_factory=Share)

    @property
    def due(self) -> int:
        """The offset that is expected next."""
        return self.skip[1] if self.skip[0] <= self.next < self.skip[1] else self.next


class Counter:
    """Turns records into a batch in three steps: :meth:`read`, :meth:`score` and :meth:`count`.

    Args:
        models: the contracts that records are checked against, and the scorers.
        bucket_ms: width of a bucket.
        examples: how many of the most OOD samples to keep for each stream and bucket.
        window: about how many recent records of a partition the share of bad ones covers.
    """

    def __init__(self, models: Models, bucket_ms: int, examples: int, window: int = 2000) -> None:
        self._router = Router(models)
        self._magnitude = models.first.contract.limits.magnitude
        self._bucket_ms, self._examples, self._window = bucket_ms, examples, window
        self._turn = 0
        self._told = Told()

    def read(self, records: Mapping[Partition, list[Record]], now_ms: int | None = None) -> Read:
        """Read records by the contract, as many as memory has room for.

        If records hold very many embeddings each, the poll is read in part, and the rest must be polled again. No
        partition is left out for long: each has its share, and they take turns to be first.

        Args:
            records: records by partition, in the order of its log, at least one each.
            now_ms: the time now; None when old records are read again.
        """
        rows, rejected, spans = Rows(), [], {}
        taken: dict[Partition, list[Record]] = {}
        left: dict[Partition, int] = {}
        waiting = sum(map(len, records.values()))
        for n, (p, chunk) in enumerate(self._in_turn(records)):
            waiting -= len(chunk)
            room = self._router.room - len(rows)
            first, before = len(rows), rows.taken
            if room > 0:
                share = max(1, room // (len(records) - n), room - waiting)
                rejected += self._router.read(chunk, rows, now_ms, share)
            read = rows.taken - before
            if read:
                taken[p], spans[p] = chunk[:read], slice(first, len(rows))
            if read < len(chunk):
                left[p] = chunk[read].offset
        return Read(taken, rows, spans, rejected, left, now_ms)

    def _in_turn(self, records: Mapping[Partition, list[Record]]) -> list[tuple[Partition, list[Record]]]:
        """Return the partitions, with another one first each time."""
        chunks = list(records.items())
        self._turn = (self._turn + 1) % max(1, len(chunks))
        return chunks[self._turn :] + chunks[: self._turn]

    def score(self, read: Read) -> Scored:
        """Score the rows. This is the only step that takes long. It uses only the scorers, so any thread may do it."""
        return self._router.score(read.rows, self._magnitude)

    def count(self, read: Read, scored: Scored, owned: Mapping[Partition, Owned]) -> tuple[Batch, Rejected]:
        """Count the scored rows. Returns what they add, and the records that cannot be scored.

        Args:
            read: the result of :meth:`read`.
            scored: the result of :meth:`score`.
            owned: the position of each of these partitions.
        """
        whole, holed = usable_rows(read.rows, scored, self._magnitude)
        rejected = [*read.rejected, *holed]
        passed_over = self._passed_over([*read.rows.skipped, *(record for record, _, _ in rejected)], read.now_ms)
        buckets, last = self._buckets(read, whole, owned, passed_over)
        batch = Batch(examples=self._worst(read.rows, scored, whole, buckets))
        streams = read.rows.streams
        keys = zip(
            buckets[whole].tolist(),
            streams if len(whole) == len(streams) else [streams[n] for n in whole.tolist()],
            scored.predicted[whole].tolist(),
            map(tuple, scored.cells[whole].tolist()),
            strict=True,
        )
        for (bucket, stream, predicted, cells), n in collections.Counter(keys).items():
            counts = batch.counts.setdefault(bucket, {})
            for key in ((stream, predicted, cell_of(expert, cell)) for expert, cell in enumerate(cells)):
                counts[key] = counts.get(key, 0) + n
        self._told.rejected(rejected)
        batch.rejected = dict(collections.Counter(reason for _, reason, _ in rejected))
        if read.rows.skipped:
            batch.sums["skipped"] = len(read.rows.skipped)
        if read.rows.ahead_ms >= self._bucket_ms:
            batch.sums["ahead"] = read.rows.ahead
        bad = collections.Counter((r.topic, r.partition) for r, _, _ in rejected)
        passed = collections.Counter((r.topic, r.partition) for r in read.rows.skipped)
        for p, chunk in read.records.items():
            place = (p.topic, p.number)
            share = owned[p].share.after(len(chunk) - passed[place], bad[place], self._window)
            move = Progress(p, owned[p].epoch, owned[p].next, chunk[-1].offset + 1, last[p], share.read, share.bad)
            batch.progress.append(move)
        return batch, rejected

    def _buckets(
        self, read: Read, whole: Ints, owned: Mapping[Partition, Owned], passed_over: Mapping[Partition, _Places]
    ) -> tuple[Ints, dict[Partition, int]]:
        """The bucket of each row, and the highest of each partition.

        Buckets of a partition only rise, in the order of its log: nothing is late within a partition. A record that
        is not scored moves its partition on as well, from its own place in the log, else it would hold every bucket
        open. So it makes no difference to any row how a log was cut into polls.
        """
        buckets = np.full(len(read.rows), -1, np.int64)
        buckets[whole] = np.array(read.rows.times_ms, np.int64)[whole] // self._bucket_ms
        last = {}
        for p, span in read.spans.items():
            own = np.maximum(buckets[span], owned[p].bucket)
            last[p] = owned[p].bucket
            if p in passed_over:
                places, reached = passed_over[p]
                records, record_of = read.rows.records, read.rows.record_of
                offsets = np.array([records[n].offset for n in record_of[span]], np.int64)
                before = np.searchsorted(places, offsets)
                own = np.maximum(own, np.concatenate([[-1], reached])[before])
                last[p] = max(last[p], int(reached[-1]))
            risen = np.maximum.accumulate(own)
            buckets[span] = risen
            if len(risen):
                last[p] = max(last[p], int(risen[-1]))
        return buckets, last

    def _passed_over(self, records: Iterable[Record], now_ms: int | None) -> dict[Partition, _Places]:
        """Offsets of each partition's records that are not scored, ascending, and the highest bucket up to each."""
        found: dict[Partition, list[tuple[int, int]]] = {}
        for record in records:
            try:
                bucket = arrival(record.timestamp_ms, now_ms) // self._bucket_ms
            except RecordError:  # it has no time, and there is no clock to give it one
                continue
            found.setdefault(Partition(record.topic, record.partition), []).append((record.offset, bucket))
        tables = {p: np.array(sorted(places), np.int64) for p, places in found.items()}
        return {p: (table[:, 0], np.maximum.accumulate(table[:, 1])) for p, table in tables.items()}

    def _worst(self, rows: Rows, scored: Scored, whole: Ints, buckets: Ints) -> dict[tuple[int, str], list[Example]]:
        """Return the least confident rows of each stream and bucket, the least confident first."""
        found: dict[tuple[int, str], list[Example]] = {}
        if not self._examples:
            return found
        order = whole[np.argsort(scored.confidence[whole], kind="stable")].tolist()
        for n, bucket in zip(order, buckets[order].tolist(), strict=True):
            kept = found.setdefault((bucket, rows.streams[n]), [])
            if len(kept) < self._examples:
                r = rows.records[rows.record_of[n]]
                p = Partition(r.topic, r.partition)
                confidence, predicted = float(scored.confidence[n]), int(scored.predicted[n])
                by = self._router.name_expert(rows, n, int(scored.expert[n]))
                kept.append(Example(confidence, rows.ids[n], predicted, p, r.offset, by))
        return found


def usable_rows(rows: Rows, scored: Scored, magnitude: float) -> tuple[Ints, Rejected]:
    """Return the rows that count, in order, and the records that do not: a record counts whole or not at all."""
    usable = scored.usable
    if usable.all():
        return np.arange(len(rows)), []
    record_of = np.array(rows.record_of, np.int64)
    refused: Rejected = []
    for at in np.unique(record_of[~usable]).tolist():
        mine = record_of == at
        infinite, bad = ~scored.finite[mine], ~usable[mine]
        reason = "non-finite" if infinite.any() else "out-of-range"
        wrong = infinite if infinite.any() else bad
        where = "" if len(bad) == 1 else f" in {wrong.sum()} of {len(bad)} rows, the first {int(wrong.argmax())}"
        what = "NaN or Inf" if infinite.any() else "numbers that are too large"
        detail = f"{what}{where}, expected finite numbers from {-magnitude:g} to {magnitude:g}"
        refused.append((rows.records[at], reason, detail))
    return np.flatnonzero(~np.isin(record_of, record_of[~usable])), refused
