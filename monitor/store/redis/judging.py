"""The data that the judging process reads and writes: lease, closed buckets, evidence and alerts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import cast

from monitor.messages.record import Partition
from monitor.store.connection import translate_redis_errors
from monitor.store.counts import FORGOTTEN, CountKey, Example
from monitor.store.keys import STREAM_FIELD, field, parse_field
from monitor.store.redis.counting import RedisCounting
from monitor.store.verdicts import Fold, Promotion


class RedisJudging(RedisCounting):
    """The data that the judging process reads and writes: lease, closed buckets, evidence and alerts."""

    def lease(self, holder: str, ttl_ms: int) -> int:
        """Take, renew or (``ttl_ms`` 0) release the lease. Returns the token; 0 if another holds it."""
        with translate_redis_errors():
            keys = [self.keys.lease, self.keys.meta]
            return int(self._scripts["lease"](keys=keys, args=[holder, str(ttl_ms), self._binding]))

    def close(self, token: int, bucket: int) -> tuple[int, int] | None:
        """Close the buckets up to ``bucket``. Returns ``(closed, folded)``; ``None`` if the lease is lost."""
        with translate_redis_errors():
            keys = [self.keys.lease, self.keys.meta, self.keys.leads]
            reply = self._scripts["close"](keys=keys, args=[str(token), str(bucket)])
        return (int(reply[1]), int(reply[2])) if reply[0] == "ok" else None

    def pending(self, folded: int, closed: int) -> list[int]:
        """Return the closed buckets that hold counts and are not judged yet, in ascending order."""
        with translate_redis_errors():
            return [int(b) for b in self._client.zrangebyscore(self.keys.buckets, f"({folded}", closed)]

    def leads(self, before_ms: int) -> tuple[int, int]:
        """Return the highest open bucket reached by ``before_ms``, and the highest reached at all; -1 for none."""
        with translate_redis_errors():
            pipe = self._client.pipeline(transaction=False)
            for most in (before_ms, "+inf"):
                pipe.zrange(self.keys.leads, most, 0, desc=True, byscore=True, offset=0, num=1)
            by_then, ever = pipe.execute()
        return int(by_then[0]) if by_then else -1, int(ever[0]) if ever else -1

    def counts(self, bucket: int) -> dict[CountKey, int]:
        """Return the counts of one bucket."""
        with translate_redis_errors():
            return _counts(self._client.hgetall(self.keys.counts(bucket)))

    def examples(self, bucket: int, stream: str) -> list[Example]:
        """Return the most OOD samples of a stream in a bucket, the most OOD first."""
        with translate_redis_errors():
            found = self._client.zrange(self.keys.examples(bucket, stream), 0, -1, withscores=True)
        return [_unpacked(member, float(score)) for member, score in found]

    def state(self) -> dict[str, str]:
        """Return the evidence state of every key."""
        with translate_redis_errors():
            return cast("dict[str, str]", self._client.hgetall(self.keys.state))

    def apply(self, fold: Fold) -> str:
        """Write a judged bucket. Returns ``ok``, ``repeat``, or ``refused`` if the lease or the order was lost."""
        k = self.keys
        keys = [k.lease, k.meta, k.state, k.history, k.index, k.buckets]
        alerts = []
        for t in fold.alerts:
            keys.append(k.alert(t.fingerprint))
            fields = {"fingerprint": t.fingerprint, **t.fields}
            alerts.append(
                {"key": len(keys), "fingerprint": t.fingerprint, "now": str(t.now_ms), "ttl_ms": str(t.ttl_ms)}
                | {"fields": fields, "event": t.event}
            )
        expire = []
        if fold.bucket is not None:
            own = [(k.counts(fold.bucket), self._retention_ms)]
            own += [(k.examples(fold.bucket, s), self._examples_ms) for s in fold.streams]
            for name, lives_ms in own:
                keys.append(name)
                expire.append([len(keys), str(lives_ms)])
        document = {
            "token": str(fold.token),
            "folded": str(fold.folded),
            **({} if fold.bucket is None else {"bucket": str(fold.bucket)}),
            **({} if fold.guard is None else {"guard": list(fold.guard)}),
            "remove": list(fold.remove),
            "marks": dict(fold.marks),
            "history_length": str(self._history_length),
            "channel": k.channel,
            "state": dict(fold.state),
            "alerts": alerts,
            "expire": expire,
        }
        with translate_redis_errors():
            return str(self._scripts["apply"](keys=keys, args=[json.dumps(document)])[0])

    def retire(self, token: int, streams: Iterable[str], before_ms: int, asked: Iterable[str]) -> list[str] | None:
        """Forget streams, and return their names; None if the lease is lost."""
        names = set(streams)
        fields: dict[str, list[list[str]]] = {name: [] for name in names}
        for stream, predicted, cell in self.totals():
            if stream in names:
                fields[stream].append([field(stream, predicted, cell), field(FORGOTTEN, predicted, cell)])
        document = {
            "token": str(token),
            "before": str(before_ms),
            "asked": sorted(asked),
            "streams": [{"name": n, "state": STREAM_FIELD + n, "fields": f} for n, f in sorted(fields.items())],
        }
        k = self.keys
        with translate_redis_errors():
            reply = self._scripts["retire"](
                keys=[k.lease, k.state, k.streams, k.totals, k.asked], args=[json.dumps(document)]
            )
        return None if reply[:1] == [""] else [str(name) for name in reply]

    def ask_to_retire(self, stream: str) -> None:
        """Ask the evaluator to forget a stream."""
        with translate_redis_errors():
            self._client.sadd(self.keys.asked, stream)

    def asked_to_retire(self) -> set[str]:
        """Return the streams that somebody asked to forget."""
        with translate_redis_errors():
            return set(self._client.smembers(self.keys.asked))

    def promote(self, promotion: Promotion) -> tuple[int, int] | None:
        """Start the evidence afresh. Returns (new epoch, buckets dropped); None if the evidence changed meanwhile."""
        k = self.keys
        keys = [k.lease, k.meta, k.partitions, k.state, k.buckets, k.leads, k.index, k.history, k.epochs, k.workers]
        alerts = []
        for t in promotion.alerts:
            keys.append(k.alert(t.fingerprint))
            fields = {"fingerprint": t.fingerprint, **t.fields}
            alerts.append({"key": len(keys), "fingerprint": t.fingerprint, "fields": fields})
        document = {
            "binding": promotion.binding,
            "settings": promotion.settings,
            "bucket_ms": str(promotion.bucket_ms),
            "factor": promotion.factor,
            "header": promotion.header,
            "channel": k.channel,
            "history_length": str(self._history_length),
            "ttl_ms": "604800000",
            "names": self._claimed_partitions(),
            "alerts": alerts,
        }
        with translate_redis_errors():
            reply = self._scripts["promote"](keys=keys, args=[json.dumps(document)])
        return (int(reply[1]), int(reply[2])) if reply[0] == "ok" else None


def _counts(stored: Mapping[str, str]) -> dict[CountKey, int]:
    return {parse_field(name): int(n) for name, n in stored.items()}


def _unpacked(member: str, confidence: float) -> Example:
    name, predicted, partition, offset, *by = json.loads(member)
    return Example(confidence, name, predicted, Partition.parse(partition), offset, *by)
