"""Counts and offsets. A batch is written by one script, so both change together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from monitor.errors import StoreUnavailableError
from monitor.messages.record import Partition
from monitor.store.counts import OVERFLOW, Batch, CountKey, Reply
from monitor.store.partitions import Claim, Move, PartitionState, Seen
from monitor.testing.store.base import MemoryBase


class MemoryCounting(MemoryBase):
    """Counts and offsets. A batch is written by one script, so both change together."""

    def claim(self, first: Mapping[Partition, int], topic_id: str = "", partitions: int = 0) -> dict[Partition, Claim]:
        """Claim partitions."""
        self._reach()
        claims = {}
        for p, offset in first.items():
            old = self._partitions.get(p)
            kept = old or PartitionState(0, offset, -1, 0)
            if old is None:
                self._topic_ids[p] = (topic_id,) if topic_id else ()
                self._skips[p] = (0, 0)
                if partitions:
                    self._at_start.setdefault(p.topic, partitions)
            self._partitions[p] = replace(kept, epoch=kept.epoch + 1, at_ms=self._clock())
            self._gone.discard(p)
            claims[p] = Claim(
                kept.epoch + 1,
                kept.next,
                kept.bucket,
                old is None,
                self._topic_ids.get(p, ()),
                self._skips[p],
                *self._shares.get(p, (0.0, 0.0)),
            )
        return claims

    def move(self, move: Move) -> bool:
        """Set a partition to another offset."""
        self._reach()
        p, stored = move.partition, self._partitions.get(move.partition)
        if stored is None or stored.epoch != move.epoch:
            return False
        ids = self._topic_ids[p]
        if stored.next == move.next and (not move.topic_id or ids[:1] == (move.topic_id,)):
            return True
        if stored.next != move.start:
            return False
        self._partitions[p] = replace(stored, next=move.next)
        self._skips[p] = move.skip if move.skip[0] < move.skip[1] else (0, 0)
        if move.topic_id:
            self._topic_ids[p] = (move.topic_id, *(i for i in ids if i != move.topic_id))[:8]
        return True

    def note_topic(self, topic: str, topic_id: str, partitions: int) -> None:
        """Note how many partitions a topic has."""
        self._reach()
        older = {p for p, ids in self._topic_ids.items() if ids and ids[0] != topic_id}
        self._gone |= {p for p in older if p.topic == topic and p.number >= partitions}

    def partitions_at_start(self, topic: str) -> int:
        """How many partitions the topic had when this group first claimed one."""
        self._reach()
        return self._at_start.get(topic, 0)

    def commit(self, batch: Batch) -> Reply:
        """Write counts and offsets together, or nothing."""
        self._reach()
        reply = self._judge(batch)
        if reply.status == "ok":
            self._write(batch)
        if self.lose_replies:
            self.lose_replies -= 1
            raise StoreUnavailableError("the answer was lost")
        return reply

    def _judge(self, batch: Batch) -> Reply:
        return self._judge_owner(batch) or self._judge_place(batch)

    def _judge_owner(self, batch: Batch) -> Reply | None:
        if self._is_rebound():
            return Reply("refused", why="rebound")
        repeated = False
        for p in batch.progress:
            stored = self._partitions.get(p.partition)
            if stored is None:
                return Reply("refused", partition=p.partition, why="wiped")
            if stored.epoch != p.epoch:
                return Reply("refused", partition=p.partition, why="fenced")
            if stored.next != p.start:
                if stored.next != p.next:
                    return Reply("refused", partition=p.partition, why="moved")
                repeated = True
        return Reply("repeat", now_ms=self._clock()) if repeated else None

    def _judge_place(self, batch: Batch) -> Reply:
        now, closed = self._clock(), self._meta["closed"]
        if any(bucket <= closed for bucket in batch.counts):
            return Reply("closed", bucket=closed, now_ms=now)
        if any(bucket > self._last_allowed() for bucket in batch.counts):
            return Reply("ahead", bucket=self._last_allowed(), now_ms=now)
        named = {key[0] for cells in batch.counts.values() for key in cells} - self._unnamed()
        new = sorted(named - set(self._streams))
        room = self._streams_limit - len(self._streams)
        if self._streams_limit and len(new) > max(0, room):
            return Reply("streams", streams=tuple(new[max(0, room) :]), now_ms=now)
        return Reply("ok", now_ms=now)

    def _unnamed(self) -> set[str]:
        """Streams of the monitor itself, which it does not list."""
        return {OVERFLOW, self._canary or OVERFLOW}

    def _write(self, batch: Batch) -> None:
        now = self._clock()
        if batch.counts and not self._unfolded:
            self._times["pending_since"] = now
        for p in batch.progress:
            self._shares[p.partition] = (p.read, p.bad)
            bucket, held = min(p.bucket, self._last_allowed()), self._partitions[p.partition]
            late = (held.late_ms or now) if bucket <= self._meta["closed"] else 0
            self._partitions[p.partition] = replace(held, next=p.next, bucket=bucket, at_ms=now, late_ms=late)
        reached = [self._partitions[p.partition].bucket for p in batch.progress] + list(batch.counts)
        if max(reached, default=-1) > self._meta["lead"]:
            self._meta["lead"] = max(reached)
            self._leads[max(reached)] = now
        for bucket, cells in batch.counts.items():
            _add(self._buckets.setdefault(bucket, {}), cells)
            self._unfolded.add(bucket)
            self._streams.update(dict.fromkeys({key[0] for key in cells} - self._unnamed(), now))
        _add(self._totals, batch.totals())
        for reason, n in batch.rejected.items():
            self._rejected[reason] = self._rejected.get(reason, 0) + n
        if "overflow" in batch.sums:
            self._times["overflow_at"] = now
        for name, n in batch.sums.items():
            self._sums[name] = self._sums.get(name, 0) + n
        for key, found in batch.examples.items():
            kept = sorted([*self._examples.get(key, []), *found], key=lambda e: e.confidence)
            self._examples[key] = kept[: self._keep]

    def report(self, worker: str, entry: str, partitions: Mapping[Partition, Seen]) -> int:
        """Report that a worker is alive, and how far its partitions are."""
        self._reach()
        now = self._clock()
        if self._is_rebound():
            return 0
        for p, seen in partitions.items():
            held = self._partitions.get(p)
            if held is not None and held.epoch == seen.epoch:
                behind = (held.behind_ms or now) if seen.behind else 0
                self._partitions[p] = replace(held, seen_ms=now, lag=seen.lag, behind_ms=behind)
        if worker not in self._workers:
            self._workers = {name: (at, text) for name, (at, text) in self._workers.items() if now - at <= 3_600_000}
        self._workers[worker] = (now, entry)
        return now

    def partitions(self) -> dict[Partition, PartitionState]:
        """Return the state of every partition that was ever claimed."""
        self._reach()
        return {p: state for p, state in sorted(self._partitions.items()) if p not in self._gone}

    def totals(self) -> dict[CountKey, int]:
        """Return the samples counted since the beginning."""
        self._reach()
        return dict(self._totals)

    def rejected(self) -> dict[str, int]:
        """Return the number of records rejected since the beginning, by reason."""
        self._reach()
        return dict(self._rejected)

    def streams(self) -> dict[str, int]:
        """Return the time (ms) of the last count of each stream."""
        self._reach()
        return dict(self._streams)


def _add(into: dict[CountKey, int], cells: Mapping[CountKey, int]) -> None:
    for key, n in cells.items():
        into[key] = into.get(key, 0) + n
