"""From records to what one batch adds: read by the contract, score, count. No broker, no store."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from monitor.counts import Batch, Example, Partition, Progress
from monitor.errors import BadShareError, RecordError
from monitor.messages.contract import Contract, Embedding, Record
from monitor.scorer import Scored, Scorer

Accepted = list[tuple[Record, list[Embedding]]]
Rejected = list[tuple[Record, str, str]]
"""``(record, reason, detail)``."""


@dataclass(frozen=True)
class Owned:
    """A claimed partition.

    Attributes:
        epoch: fencing token.
        next: offset to count next.
        bucket: highest bucket counted.
        gap_at: an offset that came too early once, -1 for none.
    """

    epoch: int
    next: int
    bucket: int
    gap_at: int = -1


class Counter:
    """Turns records into a batch.

    Args:
        contract: what a record must be.
        scorer: embeddings to cells.
        bucket_ms: width of a bucket.
        examples: most OOD samples kept per stream and bucket.
    """

    def __init__(self, contract: Contract, scorer: Scorer, bucket_ms: int, examples: int) -> None:
        self._contract, self._scorer = contract, scorer
        self._bucket_ms, self._examples = bucket_ms, examples

    def count(
        self, records: Mapping[Partition, list[Record]], owned: Mapping[Partition, Owned]
    ) -> tuple[Batch, Rejected]:
        """What the records add, and those that cannot be scored.

        Args:
            records: of each partition, in the order of its log, at least one.
            owned: where each of these partitions stands.
        """
        accepted, rejected = self._read(records)
        scored = self._scorer.score([e.vector for _, rows in accepted for e in rows])
        batch = Batch()
        buckets = {p: owned[p].bucket for p in records}
        at = 0
        for record, rows in accepted:
            span = range(at, at + len(rows))
            at += len(rows)
            bad = [n for n in span if not scored.finite[n]]
            if bad:  # a record is scored whole or not at all
                where = "" if len(rows) == 1 else f" in {len(bad)} of {len(rows)} rows, the first {bad[0] - span[0]}"
                rejected.append((record, "non-finite", f"NaN or Inf{where}, expected finite numbers"))
                continue
            for n, e in zip(span, rows, strict=True):
                self._add(batch, buckets, record, e, scored, n)
        batch.examples = {key: self._worst(found) for key, found in batch.examples.items() if self._examples}
        for _, reason, _ in rejected:
            batch.rejected[reason] = batch.rejected.get(reason, 0) + 1
        batch.progress = [
            Progress(p, owned[p].epoch, owned[p].next, chunk[-1].offset + 1, buckets[p]) for p, chunk in records.items()
        ]
        return batch, rejected

    def _read(self, records: Mapping[Partition, list[Record]]) -> tuple[Accepted, Rejected]:
        accepted: Accepted = []
        rejected: Rejected = []
        for record in (r for chunk in records.values() for r in chunk):
            try:
                accepted.append((record, self._contract.read(record)))
            except RecordError as error:
                rejected.append((record, error.reason, error.detail))
        return accepted, rejected

    def _add(
        self, batch: Batch, buckets: dict[Partition, int], record: Record, e: Embedding, scored: Scored, n: int
    ) -> None:
        p = Partition(record.topic, record.partition)
        # Buckets of a partition only rise, in the order of its log: nothing is late within a partition.
        bucket = buckets[p] = max(buckets[p], e.time_ms // self._bucket_ms)
        key = (e.stream, int(scored.predicted[n]), int(scored.cell[n]))
        cells = batch.counts.setdefault(bucket, {})
        cells[key] = cells.get(key, 0) + 1
        example = Example(float(scored.confidence[n]), e.id, key[1], p, record.offset)
        batch.examples.setdefault((bucket, e.stream), []).append(example)

    def _worst(self, found: list[Example]) -> list[Example]:
        return sorted(found, key=lambda x: x.confidence)[: self._examples]


class BadShare:
    """The share of recent records that could not be scored.

    Args:
        limit: stop above it.
        window: recent records over which it is taken, about.
    """

    def __init__(self, limit: float, window: int) -> None:
        self._limit, self._window = limit, window
        self._taken: deque[tuple[int, int]] = deque()

    def take(self, records: int, bad: int) -> None:
        """Add a batch.

        Raises:
            BadShareError: to stop rather than drain the topic into the dead letters.
        """
        self._taken.append((records, bad))
        total = sum(n for n, _ in self._taken)
        while len(self._taken) > 1 and total - self._taken[0][0] >= self._window:
            total -= self._taken.popleft()[0]
        refused = sum(b for _, b in self._taken)
        if refused > self._limit * max(total, self._window):
            raise BadShareError(
                f"{refused} of the last {total} records cannot be scored, over the limit of {self._limit:.0%} of "
                f"{self._window}: this batch was not taken; check the publisher and the artifact, or raise "
                "dead_letters.max_share"
            )
