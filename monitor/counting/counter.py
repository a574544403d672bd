"""From records to what one batch adds: read by the contract, score, count. No broker, no store."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.counting.scoring import Scored, Scorer
from monitor.messages.contract import Contract
from monitor.messages.reading import Reader, Rejected, Rows
from monitor.messages.record import Partition, Record
from monitor.store.protocol import Batch, CountKey, Example, Progress


@dataclass(frozen=True)
class Read:
    """A poll that was read.

    Attributes:
        records: of each partition, in the order of its log, at least one.
        rows: their vectors, partition by partition.
        spans: where the vectors of each partition lie in ``rows``.
        rejected: records that the contract refuses.
    """

    records: Mapping[Partition, list[Record]]
    rows: Rows
    spans: Mapping[Partition, slice]
    rejected: Rejected


Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Owned:
    """A claimed partition.

    Attributes:
        epoch: fencing token.
        next: offset to count next.
        bucket: highest bucket counted.
        gap_at: an offset that came too early once, -1 for none.
        topic_id: of the topic that the offsets are of, empty if the broker has none.
        skip: offsets ``[from, to)`` that are counted already.
    """

    epoch: int
    next: int
    bucket: int
    gap_at: int = -1
    topic_id: str = ""
    skip: tuple[int, int] = (0, 0)

    @property
    def due(self) -> int:
        """The offset that is read next."""
        return self.skip[1] if self.skip[0] <= self.next < self.skip[1] else self.next


class Counter:
    """Turns records into a batch: :meth:`read`, :meth:`score`, :meth:`count`, each with what the one before gave.

    Args:
        contract: what a record must be.
        scorer: embeddings to cells.
        bucket_ms: width of a bucket.
        examples: most OOD samples kept per stream and bucket.
    """

    def __init__(self, contract: Contract, scorer: Scorer, bucket_ms: int, examples: int) -> None:
        self._reader, self._scorer = Reader(contract), scorer
        self._bucket_ms, self._examples = bucket_ms, examples

    def read(self, records: Mapping[Partition, list[Record]]) -> Read:
        """Hold records to the contract.

        Args:
            records: of each partition, in the order of its log, at least one.
        """
        rows, rejected, spans = Rows(), [], {}
        for p, chunk in records.items():
            first = len(rows)
            rejected += self._reader.read(chunk, rows)
            spans[p] = slice(first, len(rows))
        return Read(records, rows, spans, rejected)

    def score(self, read: Read) -> Scored:
        """The only part that takes long; it touches nothing but the scorer, so any thread may do it."""
        return self._scorer.score(read.rows.vectors)

    def count(self, read: Read, scored: Scored, owned: Mapping[Partition, Owned]) -> tuple[Batch, Rejected]:
        """What the records add, and those that cannot be scored.

        Args:
            read: by :meth:`read`.
            scored: by :meth:`score`.
            owned: where each of these partitions stands.
        """
        whole, holed = _whole(read.rows, scored)
        buckets, last = self._buckets(read, whole, owned)
        batch = Batch(examples=self._worst(read.rows, scored, whole, buckets))
        streams = read.rows.streams
        keys = zip(
            buckets[whole].tolist(),
            streams if len(whole) == len(streams) else [streams[n] for n in whole.tolist()],
            scored.predicted[whole].tolist(),
            scored.cell[whole].tolist(),
            strict=True,
        )
        for (bucket, *key), n in collections.Counter(keys).items():
            cells: dict[CountKey, int] = batch.counts.setdefault(bucket, {})
            cells[key[0], key[1], key[2]] = n
        rejected = [*read.rejected, *holed]
        self._move_on(rejected, last)
        batch.rejected = dict(collections.Counter(reason for _, reason, _ in rejected))
        batch.progress = [
            Progress(p, owned[p].epoch, owned[p].next, chunk[-1].offset + 1, last[p])
            for p, chunk in read.records.items()
        ]
        return batch, rejected

    def _buckets(self, read: Read, whole: Ints, owned: Mapping[Partition, Owned]) -> tuple[Ints, dict[Partition, int]]:
        """The bucket of each row, and the highest of each partition; rows that do not count move nothing."""
        buckets = np.full(len(read.rows), -1, np.int64)
        buckets[whole] = np.array(read.rows.times_ms, np.int64)[whole] // self._bucket_ms
        last = {}
        for p, span in read.spans.items():
            # Buckets of a partition only rise, in the order of its log: nothing is late within a partition.
            risen = np.maximum.accumulate(np.maximum(buckets[span], owned[p].bucket))
            buckets[span] = risen
            last[p] = int(risen[-1]) if len(risen) else owned[p].bucket
        return buckets, last

    def _move_on(self, rejected: Rejected, last: dict[Partition, int]) -> None:
        """A record that cannot be scored moves its partition on too, else it would hold every bucket open."""
        for record, _, _ in rejected:
            p = Partition(record.topic, record.partition)
            if record.timestamp_ms and record.timestamp_ms > 0:
                last[p] = max(last[p], record.timestamp_ms // self._bucket_ms)

    def _worst(self, rows: Rows, scored: Scored, whole: Ints, buckets: Ints) -> dict[tuple[int, str], list[Example]]:
        """The least confident rows of each stream and bucket, the worst first."""
        found: dict[tuple[int, str], list[Example]] = {}
        if not self._examples:
            return found
        order = whole[np.argsort(scored.confidence[whole], kind="stable")].tolist()
        for n, bucket in zip(order, buckets[order].tolist(), strict=True):
            kept = found.setdefault((bucket, rows.streams[n]), [])
            if len(kept) < self._examples:
                r = rows.records[rows.record_of[n]]
                p = Partition(r.topic, r.partition)
                kept.append(Example(float(scored.confidence[n]), rows.ids[n], int(scored.predicted[n]), p, r.offset))
        return found


def _whole(rows: Rows, scored: Scored) -> tuple[Ints, Rejected]:
    """The rows that count, ascending, and the records that do not: a record is scored whole or not at all."""
    if scored.finite.all():
        return np.arange(len(rows)), []
    record_of = np.array(rows.record_of, np.int64)
    refused: Rejected = []
    for at in np.unique(record_of[~scored.finite]).tolist():
        bad = ~scored.finite[record_of == at]
        first = int(bad.argmax())
        where = "" if len(bad) == 1 else f" in {bad.sum()} of {len(bad)} rows, the first {first}"
        refused.append((rows.records[at], "non-finite", f"NaN or Inf{where}, expected finite numbers"))
    return np.flatnonzero(~np.isin(record_of, record_of[~scored.finite])), refused
