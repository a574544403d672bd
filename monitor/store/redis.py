"""Redis: counts, offsets, evidence and alerts. Scripts lie in ``monitor/store/lua``, key names in ``keys.py``."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from importlib.resources import files
from typing import Any, cast

from monitor.errors import StoreError
from monitor.messages.record import Partition
from monitor.store.connection import read_clock, translate_redis_errors
from monitor.store.counts import FORGOTTEN, OVERFLOW, Batch, Claim, CountKey, Example, Move, PartitionState, Reply, Seen
from monitor.store.keys import SCHEMA_VERSION, STREAM_FIELD, Keys, field, parse_field
from monitor.store.verdicts import SUMS, TIMES, Fold, Health, Notice, Promotion

SCRIPTS = ("claim", "move", "commit", "report", "lease", "close", "apply", "notice", "bind", "retire", "promote")
"""Each is the file of its name in ``lua``; each refuses to be applied twice, or does the same the second time."""


class RedisStore:
    """The :class:`monitor.store.protocol.Store` of one group in one Redis.

    Every script refuses to be applied twice, so the client may retry it.

    Args:
        client: of redis-py, with ``decode_responses=True``.
        group: names the keys.
        retention_ms: counts of a folded bucket stay this long.
        history_length: transitions kept, about.
        examples: samples kept per stream and bucket.
        streams: most streams that are counted by their own name; 0 for no limit.
    """

    def __init__(
        self,
        client: Any,
        group: str,
        *,
        retention_ms: int = 86_400_000,
        history_length: int = 10_000,
        examples: int = 5,
        streams: int = 0,
    ) -> None:
        self.keys = Keys(group)
        self._client = client
        self._retention_ms = retention_ms
        self._history_length = history_length
        self._examples = examples
        self._streams_limit, self._free = streams, [OVERFLOW]
        self._binding = ""
        folder = files("monitor.store") / "lua"
        self._scripts: dict[str, Callable[..., Any]] = {
            name: client.register_script((folder / f"{name}.lua").read_text(encoding="utf-8")) for name in SCRIPTS
        }

    def ping(self) -> None:
        """Raise where it cannot be reached or speaks another schema."""
        with translate_redis_errors():
            self._client.ping()
            self._client.hsetnx(self.keys.meta, "schema", str(SCHEMA_VERSION))
            found = self._client.hget(self.keys.meta, "schema")
        if found != str(SCHEMA_VERSION):
            raise StoreError(
                f"{self.keys.meta} has schema {found}, this release writes {SCHEMA_VERSION}: use a new group"
            )

    def now_ms(self) -> int:
        """The clock of Redis, milliseconds since the epoch."""
        return read_clock(self._client, self.keys.meta)

    @property
    def client(self) -> Any:
        """The connection, for questions about the server itself (:mod:`monitor.store.server`)."""
        return self._client

    def notice(self, notice: Notice, ttl_ms: int = 604_800_000) -> bool:
        """Raise, refresh or resolve an alert of the monitor about itself; True if that is a change people hear of."""
        k = self.keys
        name = notice.fingerprint(k.group)
        now = datetime.fromtimestamp(self.now_ms() / 1000, tz=timezone.utc)
        document = {
            "fingerprint": name,
            "firing": notice.firing,
            "ttl_ms": str(ttl_ms),
            "history_length": str(self._history_length),
            "channel": k.channel,
            "now": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "fields": notice.fields(),
        }
        with translate_redis_errors():
            reply = self._scripts["notice"](keys=[k.history, k.index, k.alert(name)], args=[json.dumps(document)])
        return str(reply[0]) != "same"

    def bind(self, binding: str, settings: str, bucket_ms: int, artifact: str) -> tuple[str, str]:
        """Tie the group to the settings that its evidence stands on; which ones it is tied to, as (name, JSON)."""
        with translate_redis_errors():
            reply = self._scripts["bind"](keys=[self.keys.meta], args=[binding, settings, str(bucket_ms), artifact])
        self._binding = binding
        return str(reply[0]), str(reply[1])

    # -- counting --------------------------------------------------------------------------------------------------

    def claim(self, first: Mapping[Partition, int], topic_id: str = "", partitions: int = 0) -> dict[Partition, Claim]:
        """Take partitions over; see :class:`monitor.store.protocol.Store`."""
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
        """Set a partition to another offset; False if it is not ours any more or does not stand where it should."""
        skip = "" if move.skip[0] >= move.skip[1] else f"{move.skip[0]} {move.skip[1]}"
        arguments = [str(move.partition), str(move.epoch), str(move.start), str(move.next), move.topic_id, skip]
        with translate_redis_errors():
            return bool(int(self._scripts["move"](keys=[self.keys.partitions], args=arguments)))

    def partitions_at_start(self, topic: str) -> int:
        """How many partitions the topic had when this group first claimed one, 0 if it never did."""
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
        """A worker is there, and this is how far its partitions are; returns the clock of Redis."""
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
        """Every partition ever claimed."""
        with translate_redis_errors():
            stored = self._client.hgetall(self.keys.partitions)
        names = sorted(name.removeprefix("next:") for name in stored if name.startswith("next:"))
        return {
            Partition.parse(n): PartitionState(
                *(int(stored[f"{what}:{n}"]) for what in ("epoch", "next", "bucket", "at")),
                *(int(stored.get(f"{what}:{n}", 0)) for what in ("seen", "lag", "behind", "late")),
            )
            for n in names
        }

    def totals(self) -> dict[CountKey, int]:
        """Samples counted since the beginning."""
        with translate_redis_errors():
            return _counts(self._client.hgetall(self.keys.totals))

    def rejected(self) -> dict[str, int]:
        """Records rejected since the beginning, by reason."""
        with translate_redis_errors():
            return {reason: int(n) for reason, n in self._client.hgetall(self.keys.rejected).items()}

    def streams(self) -> dict[str, int]:
        """Stream to the time (ms) of its last count."""
        with translate_redis_errors():
            return {stream: int(at) for stream, at in self._client.hgetall(self.keys.streams).items()}

    # -- evaluating ------------------------------------------------------------------------------------------------

    def lease(self, holder: str, ttl_ms: int) -> int:
        """Take, keep or (``ttl_ms`` 0) give back the lease; the token, 0 where another holds it."""
        with translate_redis_errors():
            keys = [self.keys.lease, self.keys.meta]
            return int(self._scripts["lease"](keys=keys, args=[holder, str(ttl_ms), self._binding]))

    def close(self, token: int, bucket: int) -> tuple[int, int] | None:
        """Close buckets up to ``bucket``; ``(closed, folded)``, ``None`` where the lease is lost."""
        with translate_redis_errors():
            keys = [self.keys.lease, self.keys.meta, self.keys.leads]
            reply = self._scripts["close"](keys=keys, args=[str(token), str(bucket)])
        return (int(reply[1]), int(reply[2])) if reply[0] == "ok" else None

    def pending(self, folded: int, closed: int) -> list[int]:
        """Closed buckets that hold counts and are not folded, ascending."""
        with translate_redis_errors():
            return [int(b) for b in self._client.zrangebyscore(self.keys.buckets, f"({folded}", closed)]

    def leads(self, before_ms: int) -> tuple[int, int]:
        """The highest open bucket that was reached by ``before_ms``, and the highest reached at all; -1 for none."""
        with translate_redis_errors():
            pipe = self._client.pipeline(transaction=False)
            for most in (before_ms, "+inf"):
                pipe.zrange(self.keys.leads, most, 0, desc=True, byscore=True, offset=0, num=1)
            by_then, ever = pipe.execute()
        return int(by_then[0]) if by_then else -1, int(ever[0]) if ever else -1

    def counts(self, bucket: int) -> dict[CountKey, int]:
        """Counts of one bucket."""
        with translate_redis_errors():
            return _counts(self._client.hgetall(self.keys.counts(bucket)))

    def examples(self, bucket: int, stream: str) -> list[Example]:
        """The most OOD samples of a stream in a bucket, the worst first."""
        with translate_redis_errors():
            found = self._client.zrange(self.keys.examples(bucket, stream), 0, -1, withscores=True)
        return [_unpacked(member, float(score)) for member, score in found]

    def state(self) -> dict[str, str]:
        """The evidence state of every key."""
        with translate_redis_errors():
            return cast("dict[str, str]", self._client.hgetall(self.keys.state))

    def apply(self, fold: Fold) -> str:
        """Write a folded bucket: ``ok``, ``repeat``, or ``refused`` where the lease or the order is lost."""
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
            for name in (k.counts(fold.bucket), *(k.examples(fold.bucket, s) for s in fold.streams)):
                keys.append(name)
                expire.append(len(keys))
        document = {
            "token": str(fold.token),
            "folded": str(fold.folded),
            **({} if fold.bucket is None else {"bucket": str(fold.bucket)}),
            **({} if fold.guard is None else {"guard": list(fold.guard)}),
            "remove": list(fold.remove),
            "marks": dict(fold.marks),
            "retention_ms": str(self._retention_ms),
            "history_length": str(self._history_length),
            "channel": k.channel,
            "state": dict(fold.state),
            "alerts": alerts,
            "expire": expire,
        }
        with translate_redis_errors():
            return str(self._scripts["apply"](keys=keys, args=[json.dumps(document)])[0])

    def retire(self, token: int, streams: Iterable[str], before_ms: int, asked: Iterable[str]) -> list[str] | None:
        """Forget streams; which they were, None if the lease is lost."""
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
        """Have the evaluator forget a stream."""
        with translate_redis_errors():
            self._client.sadd(self.keys.asked, stream)

    def asked_to_retire(self) -> set[str]:
        """The streams that somebody wants forgotten."""
        with translate_redis_errors():
            return set(self._client.smembers(self.keys.asked))

    def promote(self, promotion: Promotion) -> tuple[int, int] | None:
        """Start afresh; number of the new epoch and of buckets dropped, None if the evidence changed meanwhile."""
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
            "names": [str(p) for p in self.partitions()],
            "alerts": alerts,
        }
        with translate_redis_errors():
            reply = self._scripts["promote"](keys=keys, args=[json.dumps(document)])
        return (int(reply[1]), int(reply[2])) if reply[0] == "ok" else None

    # -- watching --------------------------------------------------------------------------------------------------

    def canary_stream(self, *, create: bool) -> str:
        """The stream of the group's canary, which nobody can guess; empty if there is none and none is created."""
        with translate_redis_errors():
            if create:
                self._client.hsetnx(self.keys.meta, "canary", f"__canary__{secrets.token_hex(8)}")
            found = str(self._client.hget(self.keys.meta, "canary") or "")
        self._free = [OVERFLOW, *([found] if found else [])]
        return found

    def mark(self, name: str) -> None:
        """Note the time of Redis under a name in the group's meta hash."""
        now = self.now_ms()
        with translate_redis_errors():
            self._client.hset(self.keys.meta, name, str(now))

    def health(self) -> Health:
        """How the group is doing."""
        k = self.keys
        with translate_redis_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.hgetall(k.meta)
            pipe.zcard(k.buckets)
            pipe.hgetall(k.workers)
            pipe.hlen(k.streams)
            meta, pending, workers, streams = pipe.execute()
        reports = {name: text.split(" ", 1) for name, text in workers.items()}
        return Health(
            now_ms=self.now_ms(),  # a pipeline to a cluster does not take TIME
            pending=pending,
            streams=streams,
            workers={name: (int(at), entry) for name, (at, entry) in reports.items()},
            sums={name: int(meta.get(name, 0)) for name in SUMS},
            times={name: int(meta[name]) for name in TIMES if name in meta},
        )

    # -- reading alerts --------------------------------------------------------------------------------------------

    def alerts(self) -> list[dict[str, str]]:
        """Current alerts, the latest transition first."""
        with translate_redis_errors():
            names = self._client.zrevrange(self.keys.index, 0, -1)
            found = [self._client.hgetall(self.keys.alert(name)) for name in names]
            gone = [name for name, alert in zip(names, found, strict=True) if not alert]
            if gone:  # their time to live is over
                self._client.zrem(self.keys.index, *gone)
        return [alert for alert in found if alert]

    def history(self, count: int = 100) -> list[dict[str, str]]:
        """Transitions, the latest first; each with its ``id``."""
        with translate_redis_errors():
            return [{"id": i, **fields} for i, fields in self._client.xrevrange(self.keys.history, count=count)]

    def wait(self, after: str, timeout_ms: int) -> list[dict[str, str]]:
        """Transitions behind the history id ``after``, waiting for the first one."""
        with translate_redis_errors():
            reply = self._client.xread({self.keys.history: after}, block=timeout_ms)
        entries = (reply or {}).get(self.keys.history, []) if isinstance(reply, dict) else [e for _, e in reply or []]
        flat = [e for chunk in entries for e in (chunk if isinstance(chunk, list) else [chunk])]
        return [{"id": i, **fields} for i, fields in flat]


def _claimed(epoch: str, following: str, bucket: str, fresh: str, ids: str, skip: str, read: str, bad: str) -> Claim:
    low, high = skip.split() if skip else (0, 0)
    share = (float(read), float(bad))
    return Claim(
        int(epoch), int(following), int(bucket), fresh == "1", tuple(ids.split()), (int(low), int(high)), *share
    )


def _counts(stored: Mapping[str, str]) -> dict[CountKey, int]:
    return {parse_field(name): int(n) for name, n in stored.items()}


def _packed(e: Example) -> str:
    return json.dumps([e.id, e.predicted, str(e.partition), e.offset], separators=(",", ":"))


def _unpacked(member: str, confidence: float) -> Example:
    name, predicted, partition, offset = json.loads(member)
    return Example(confidence, name, predicted, Partition.parse(partition), offset)
