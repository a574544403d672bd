"""A clock that moves when told to, and a store in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from monitor.errors import StoreUnavailableError
from monitor.messages.record import Partition
from monitor.store.counts import FORGOTTEN, OVERFLOW, Batch, Claim, CountKey, Example, Move, PartitionState, Reply, Seen
from monitor.store.keys import STREAM_FIELD
from monitor.store.verdicts import SUMS, Fold, Health, Notice, Promotion


@dataclass
class FakeClock:
    """A clock that moves when told to; call it for milliseconds since the epoch."""

    now_ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        """The time now."""
        return self.now_ms

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)


class MemoryStore:
    """A :class:`monitor.store.protocol.Store` in memory.

    Attributes:
        away: set it to have every call raise ``StoreUnavailableError``.
        lose_replies: that many next commits are applied, and their answers lost.
    """

    def __init__(
        self, clock: FakeClock | None = None, examples: int = 5, streams: int = 0, history_length: int = 10_000
    ) -> None:
        self.away = False
        self.lose_replies = 0
        self._history_length = history_length
        self._clock = clock or FakeClock()
        self._keep = examples
        self._streams_limit = streams
        self._bound = self._canary = ""
        self.wipe()

    def wipe(self) -> None:
        """Forget everything, as a Redis without persistence does."""
        self._partitions: dict[Partition, PartitionState] = {}
        self._topic_ids: dict[Partition, tuple[str, ...]] = {}
        self._skips: dict[Partition, tuple[int, int]] = {}
        self._at_start: dict[str, int] = {}
        self._shares: dict[Partition, tuple[float, float]] = {}
        self._buckets: dict[int, dict[CountKey, int]] = {}
        self._unfolded: set[int] = set()
        self._examples: dict[tuple[int, str], list[Example]] = {}
        self._totals: dict[CountKey, int] = {}
        self._rejected: dict[str, int] = {}
        self._streams: dict[str, int] = {}
        self._meta = {"closed": -1, "folded": -1, "token": 0, "lead": -1, "epoch": 0}
        self._times: dict[str, int] = {}
        self._sums: dict[str, int] = {}
        self._binding: tuple[str, str] | None = None
        self._bucket_ms = 0
        self._leads: dict[int, int] = {}
        self._workers: dict[str, tuple[int, str]] = {}
        self._asked: set[str] = set()
        self._lease: tuple[str, int, int] | None = None
        self._state: dict[str, str] = {}
        self._alerts: dict[str, dict[str, str]] = {}
        self._history: list[dict[str, str]] = []
        self._entries = 0

    def _write_history(self, fields: Mapping[str, str]) -> None:
        self._entries += 1
        self._history.append({"id": f"{self._clock()}-{self._entries}", **fields})
        del self._history[: -self._history_length]

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailableError("the store is away")

    def ping(self) -> None:
        """Raise where it is away."""
        self._reach()

    def now_ms(self) -> int:
        """The clock it was given."""
        self._reach()
        return self._clock()

    def notice(self, notice: Notice, ttl_ms: int = 604_800_000) -> bool:
        """Raise, refresh or resolve an alert of the monitor about itself."""
        self._reach()
        name = notice.fingerprint("")
        held = self._alerts.get(name, {})
        fires = held.get("status") == "firing"
        if not notice.firing and not fires:
            return False
        change = "resolved" if not notice.firing else "updated" if fires else "raised"
        now = datetime.fromtimestamp(self._clock() / 1000, tz=timezone.utc).isoformat(timespec="milliseconds")
        now = now.replace("+00:00", "Z")
        started = held["started_at"] if fires else now
        fields = {
            "onset_at": started,
            **notice.fields(),
            "fingerprint": name,
            "status": "firing" if notice.firing else "resolved",
            "change": change,
            "started_at": started,
            "updated_at": now,
            "ended_at": "" if notice.firing else now,
            "episode": f"{name}:{started}",
            "event": f"{name}:{started}:{change}:{now}",
        }
        self._alerts.pop(name, None)
        self._alerts[name] = fields
        if change == "updated" and held["severity"] == notice.severity:
            return False
        self._write_history(fields)
        return True

    def bind(self, binding: str, settings: str, bucket_ms: int, artifact: str) -> tuple[str, str]:
        """Tie the group to the settings that its evidence stands on; which ones it is tied to."""
        self._reach()
        self._bound = binding
        if self._binding is None:
            self._binding, self._bucket_ms = (binding, settings), bucket_ms
        return self._binding

    def claim(self, first: Mapping[Partition, int], topic_id: str = "", partitions: int = 0) -> dict[Partition, Claim]:
        """Take partitions over."""
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

    def _is_rebound(self) -> bool:
        return self._binding is not None and bool(self._bound) and self._binding[0] != self._bound

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
        new = sorted(
            {key[0] for cells in batch.counts.values() for key in cells} - {OVERFLOW, self._canary} - set(self._streams)
        )
        room = self._streams_limit - len(self._streams)
        if self._streams_limit and len(new) > max(0, room):
            return Reply("streams", streams=tuple(new[max(0, room) :]), now_ms=now)
        return Reply("ok", now_ms=now)

    def _last_allowed(self) -> int:
        if not self._bucket_ms:
            return 2**52
        return max(self._clock() // self._bucket_ms, self._meta["closed"] + 1)

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
            self._streams.update(dict.fromkeys({key[0] for key in cells} - {OVERFLOW, self._canary}, now))
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
        """A worker is there, and this is how far its partitions are."""
        self._reach()
        now = self._clock()
        if self._is_rebound():
            return 0
        for p, seen in partitions.items():
            held = self._partitions.get(p)
            if held is not None and held.epoch == seen.epoch:
                behind = (held.behind_ms or now) if seen.behind else 0
                self._partitions[p] = replace(held, seen_ms=now, lag=seen.lag, behind_ms=behind)
        self._workers[worker] = (now, entry)
        return now

    def partitions(self) -> dict[Partition, PartitionState]:
        """Every partition ever claimed."""
        self._reach()
        return dict(sorted(self._partitions.items()))

    def totals(self) -> dict[CountKey, int]:
        """Samples counted since the beginning."""
        self._reach()
        return dict(self._totals)

    def rejected(self) -> dict[str, int]:
        """Records rejected since the beginning, by reason."""
        self._reach()
        return dict(self._rejected)

    def streams(self) -> dict[str, int]:
        """Stream to the time (ms) of its last count."""
        self._reach()
        return dict(self._streams)

    def lease(self, holder: str, ttl_ms: int) -> int:
        """Take, keep or (``ttl_ms`` 0) give back the lease."""
        self._reach()
        if ttl_ms and self._is_rebound():
            return 0
        held = self._lease
        if held and held[2] <= self._clock():
            held = self._lease = None
        if held and held[0] != holder:
            return 0
        if not ttl_ms:
            self._lease = None
            return 0
        if held is None:
            self._meta["token"] += 1
        token = held[1] if held else self._meta["token"]
        self._lease = (holder, token, self._clock() + ttl_ms)
        return token

    def _holds(self, token: int) -> bool:
        return self._lease is not None and self._lease[1] == token and self._lease[2] > self._clock()

    def close(self, token: int, bucket: int) -> tuple[int, int] | None:
        """Close buckets up to ``bucket``."""
        self._reach()
        if not self._holds(token):
            return None
        self._meta["closed"] = max(self._meta["closed"], bucket)
        self._leads = {b: at for b, at in self._leads.items() if b > self._meta["closed"]}
        return self._meta["closed"], self._meta["folded"]

    def pending(self, folded: int, closed: int) -> list[int]:
        """Closed buckets that hold counts and are not folded, ascending."""
        self._reach()
        return sorted(b for b in self._unfolded if folded < b <= closed)

    def leads(self, before_ms: int) -> tuple[int, int]:
        """The highest open bucket that was reached by ``before_ms``, and the highest reached at all; -1 for none."""
        self._reach()
        return max((b for b, at in self._leads.items() if at <= before_ms), default=-1), max(self._leads, default=-1)

    def counts(self, bucket: int) -> dict[CountKey, int]:
        """Counts of one bucket."""
        self._reach()
        return dict(self._buckets.get(bucket, {}))

    def examples(self, bucket: int, stream: str) -> list[Example]:
        """The most OOD samples of a stream in a bucket, the worst first."""
        self._reach()
        return list(self._examples.get((bucket, stream), []))

    def state(self) -> dict[str, str]:
        """The evidence state of every key."""
        self._reach()
        return dict(self._state)

    def apply(self, fold: Fold) -> str:
        """Write a folded bucket."""
        self._reach()
        if not self._holds(fold.token):
            return "refused"
        refusal = self._judge_fold(fold)
        if refusal:
            return refusal
        now = self._clock()
        if fold.bucket is not None:
            self._meta["folded"] = fold.bucket
            self._unfolded.discard(fold.bucket)
            self._times |= {"folded_at": now, "pending_since": now}
        for name, text in fold.marks.items():
            self._times[name] = int(text) if text else now
        for key in fold.remove:
            self._state.pop(key, None)
        self._state.update(fold.state)
        for t in fold.alerts:
            fields = {"fingerprint": t.fingerprint, **t.fields}
            self._alerts.pop(t.fingerprint, None)
            self._alerts[t.fingerprint] = fields
            if t.event:
                self._write_history(fields)
        return "ok"

    def _judge_fold(self, fold: Fold) -> str:
        if fold.bucket is not None:
            if self._meta["folded"] == fold.bucket:
                return "repeat"
            if self._meta["folded"] != fold.folded:
                return "refused"
        if fold.guard is not None and self._state.get(fold.guard[0], "") != fold.guard[1]:
            return "repeat" if self._state.get(fold.guard[0]) == fold.state.get(fold.guard[0]) else "refused"
        return ""

    def retire(self, token: int, streams: Iterable[str], before_ms: int, asked: Iterable[str]) -> list[str] | None:
        """Forget streams; which they were, None if the lease is lost."""
        self._reach()
        if not self._holds(token):
            return None
        wanted = set(asked)
        gone = [s for s in sorted(streams) if s in wanted or self._streams.get(s, 0) <= before_ms]
        for stream, predicted, cell in list(self._totals):
            if stream in gone:
                _add(self._totals, {(FORGOTTEN, predicted, cell): self._totals.pop((stream, predicted, cell))})
        for name in gone:
            self._state.pop(STREAM_FIELD + name, None)
            self._streams.pop(name, None)
        self._asked -= set(streams)
        return gone

    def ask_to_retire(self, stream: str) -> None:
        """Have the evaluator forget a stream."""
        self._reach()
        self._asked.add(stream)

    def asked_to_retire(self) -> set[str]:
        """The streams that somebody wants forgotten."""
        self._reach()
        return set(self._asked)

    def promote(self, promotion: Promotion) -> tuple[int, int] | None:
        """Start afresh under other settings."""
        self._reach()
        if self._state.get("#header", "") != promotion.header:
            return None
        dropped = len(self._unfolded)
        last = max(self._meta["closed"], self._meta["lead"])
        closed = math.ceil((last + 1) * promotion.factor) - 1
        self._meta |= {"closed": closed, "folded": closed, "lead": closed, "token": self._meta["token"] + 1}
        self._meta["epoch"] += 1
        self._lease, self._state, self._unfolded, self._leads, self._workers = None, {}, set(), {}, {}
        self._times = {}
        self._binding, self._bucket_ms = (promotion.binding, promotion.settings), promotion.bucket_ms
        self._partitions = {p: replace(s, epoch=s.epoch + 1, bucket=closed) for p, s in self._partitions.items()}
        for t in promotion.alerts:
            fields = {"fingerprint": t.fingerprint, **t.fields}
            self._alerts.pop(t.fingerprint, None)
            self._alerts[t.fingerprint] = fields
            self._write_history(fields)
        return self._meta["epoch"], dropped

    def canary_stream(self, *, create: bool) -> str:
        """The stream of the canary; empty if there is none and none is created."""
        self._reach()
        if create and not self._canary:
            self._canary = "__canary__double"
        return self._canary

    def mark(self, name: str) -> None:
        """Note the time under a name."""
        self._reach()
        self._times[name] = self._clock()

    def health(self) -> Health:
        """How the group is doing."""
        self._reach()
        return Health(
            now_ms=self._clock(),
            pending=len(self._unfolded),
            streams=len(self._streams),
            workers=dict(self._workers),
            sums={name: self._sums.get(name, 0) for name in SUMS},
            times=dict(self._times),
        )

    def alerts(self) -> list[dict[str, str]]:
        """Current alerts, the latest transition first."""
        self._reach()
        return [dict(fields) for fields in reversed(self._alerts.values())]

    def history(self, count: int = 100) -> list[dict[str, str]]:
        """Transitions, the latest first."""
        self._reach()
        return [dict(event) for event in reversed(self._history)][:count]


def _add(into: dict[CountKey, int], cells: Mapping[CountKey, int]) -> None:
    for key, n in cells.items():
        into[key] = into.get(key, 0) + n
