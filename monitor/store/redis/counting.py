"""Counts and offsets. A batch is written by one script, so both change together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from monitor.messages.record import Partition
from monitor.store.connection import translate_redis_errors
from monitor.store.counts import Batch, CountKey, Example, Reply
from monitor.store.keys import field, parse_field
from monitor.store.partitions import Claim, Move, PartitionState, Seen
from monitor.store.redis.base import RedisBase


class RedisCounting(RedisBase):
    """Counts and offsets. A batch is written by one script, so both change together."""

    def claim(self, first: Mapping[Partition, int], topic_id: str = "", partitions: int = 0) -> dict[Partition, Claim]:
        """Claim partitions; see :class:`monitor.store.protocol.Store`."""
        if not first:
            return {}
        document = {
            "topic_id": topic_id,
            "count": str(partitions),
            "partitions": [{"name": str(p), "topic": p.topic, "first": str(offset)} for p, offset in first.items()],
        }
        with translate_redis_errors():
            reply = self._scripts["claim"](keys=[self.keys.partitions], args=[json.dumps(document)])
        return {p: _claimed(*found) for p, found in zip(first, reply, strict=True)}

    def move(self, move: Move) -> bool:
        """Set a partition to another offset.

        Returns False if another worker has it, or if its stored offset differs.
        """
        skip = "" if move.skip[0] >= move.skip[1] else f"{move.skip[0]} {move.skip[1]}"
        arguments = [str(move.partition), str(move.epoch), str(move.start), str(move.next), move.topic_id, skip]
        with translate_redis_errors():
            return bool(int(self._scripts["move"](keys=[self.keys.partitions], args=arguments)))

    def note_topic(self, topic: str, topic_id: str, partitions: int) -> None:
        """Note how many partitions a topic has; see :class:`monitor.store.protocol.Store`."""
        with translate_redis_errors():
            self._scripts["topic"](keys=[self.keys.partitions], args=[topic, topic_id, str(partitions)])

    def partitions_at_start(self, topic: str) -> int:
        """Return how many partitions the topic had when this group first claimed one; 0 if it never did."""
        with translate_redis_errors():
            noted = self._client.hget(self.keys.partitions, f"count:{topic}")
        if noted is not None:
            return int(noted)
        # A group of an earlier release: what it has claimed was there.
        return max((p.number + 1 for p in self.partitions() if p.topic == topic), default=0)

    def commit(self, batch: Batch) -> Reply:
        """Write counts and offsets together, or nothing."""
        k = self.keys
        keys = [k.partitions, k.meta, k.totals, k.rejected, k.streams, k.buckets, k.leads]
        counts = []
        for bucket, cells in batch.counts.items():
            keys.append(k.counts(bucket))
            fields = {field(*key): n for key, n in cells.items()}
            counts.append({"bucket": str(bucket), "key": len(keys), "fields": fields})
        examples = []
        for (bucket, stream), found in batch.examples.items():
            keys.append(k.examples(bucket, stream))
            members = [text for e in found for text in (repr(e.confidence), _packed(e))]
            examples.append({"key": len(keys), "keep": self._examples, "members": members})
        document = {
            "binding": self._binding,
            "limit": self._streams_limit,
            "free": self._free,
            "partitions": [
                {"name": str(p.partition), "epoch": str(p.epoch), "from": str(p.start), "next": str(p.next)}
                | {"bucket": str(p.bucket), "read": f"{p.read:.3f}", "bad": f"{p.bad:.3f}"}
                for p in batch.progress
            ],
            "counts": counts,
            "rejected": batch.rejected,
            "sums": batch.sums,
            "streams": sorted({key[0] for cells in batch.counts.values() for key in cells}),
            "examples": examples,
        }
        with translate_redis_errors():
            reply = self._scripts["commit"](keys=keys, args=[json.dumps(document)])
        status, *rest = reply
        if status in ("closed", "ahead"):
            return Reply(status, bucket=int(rest[0]), now_ms=int(rest[1]))
        if status == "streams":
            return Reply(status, streams=tuple(rest[1:]), now_ms=int(rest[0]))
        if status == "refused":
            return Reply(status, partition=Partition.parse(rest[0]) if rest[0] else None, why=rest[1])
        return Reply(status, now_ms=int(rest[0]))

    def report(self, worker: str, entry: str, partitions: Mapping[Partition, Seen]) -> int:
        """Report that a worker is alive and how far its partitions are. Returns the time by Redis' clock."""
        document = {
            "binding": self._binding,
            "worker": worker,
            "entry": entry,
            "partitions": [
                {"name": str(p), "epoch": str(s.epoch), "lag": str(s.lag), "behind": s.behind}
                for p, s in partitions.items()
            ],
        }
        with translate_redis_errors():
            keys = [self.keys.partitions, self.keys.workers, self.keys.meta]
            return int(self._scripts["report"](keys=keys, args=[json.dumps(document)]))

    def partitions(self) -> dict[Partition, PartitionState]:
        """Return the state of every partition that was ever claimed and is still there."""
        with translate_redis_errors():
            stored = self._client.hgetall(self.keys.partitions)
        names = [name for name in _claimed_names(stored) if f"gone:{name}" not in stored]
        return {
            Partition.parse(n): PartitionState(
                *(int(stored[f"{what}:{n}"]) for what in ("epoch", "next", "bucket", "at")),
                *(int(stored.get(f"{what}:{n}", 0)) for what in ("seen", "lag", "behind", "late")),
            )
            for n in names
        }

    def _claimed_partitions(self) -> list[str]:
        """Return the names of all partitions that were ever claimed, also of those that are gone."""
        with translate_redis_errors():
            return _claimed_names(self._client.hkeys(self.keys.partitions))

    def totals(self) -> dict[CountKey, int]:
        """Return the samples counted since the beginning."""
        with translate_redis_errors():
            # Piece by piece: of many streams and classes it is large, and Redis answers nobody while it reads it out.
            return _counts(dict(self._client.hscan_iter(self.keys.totals, count=1000)))

    def rejected(self) -> dict[str, int]:
        """Return the number of records rejected since the beginning, by reason."""
        with translate_redis_errors():
            return {reason: int(n) for reason, n in self._client.hgetall(self.keys.rejected).items()}

    def streams(self) -> dict[str, int]:
        """Return the time (ms) of the last count of each stream."""
        with translate_redis_errors():
            return {stream: int(at) for stream, at in self._client.hgetall(self.keys.streams).items()}


def _claimed_names(fields: Iterable[str]) -> list[str]:
    return sorted(name.removeprefix("next:") for name in fields if name.startswith("next:"))


def _claimed(epoch: str, following: str, bucket: str, fresh: str, ids: str, skip: str, read: str, bad: str) -> Claim:
    low, high = skip.split() if skip else (0, 0)
    share = (float(read), float(bad))
    return Claim(
        int(epoch), int(following), int(bucket), fresh == "1", tuple(ids.split()), (int(low), int(high)), *share
    )


def _counts(stored: Mapping[str, str]) -> dict[CountKey, int]:
    return {parse_field(name): int(n) for name, n in stored.items()}


def _packed(e: Example) -> str:
    by = [e.expert] if e.expert else []
    return json.dumps([e.id, e.predicted, str(e.partition), e.offset, *by], separators=(",", ":"))
