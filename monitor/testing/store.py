"""A clock that moves when told to, and a store in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from monitor.errors import StoreUnavailableError
from monitor.messages.record import Partition
from monitor.store.protocol import Batch, Claim, CountKey, Example, Fold, Notice, PartitionState, Reply


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

    def __init__(self, clock: FakeClock | None = None, examples: int = 5) -> None:
        self.away = False
        self.lose_replies = 0
        self._clock = clock or FakeClock()
        self._keep = examples
        self.wipe()

    def wipe(self) -> None:
        """Forget everything, as a Redis without persistence does."""
        self._partitions: dict[Partition, PartitionState] = {}
        self._buckets: dict[int, dict[CountKey, int]] = {}
        self._unfolded: set[int] = set()
        self._examples: dict[tuple[int, str], list[Example]] = {}
        self._totals: dict[CountKey, int] = {}
        self._rejected: dict[str, int] = {}
        self._streams: dict[str, int] = {}
        self._meta = {"closed": -1, "folded": -1, "token": 0}
        self._artifact = ""
        self._lease: tuple[str, int, int] | None = None
        self._state: dict[str, str] = {}
        self._alerts: dict[str, dict[str, str]] = {}
        self._history: list[dict[str, str]] = []

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
        self._history.append({"id": f"{len(self._history) + 1}-0", **fields})
        return True

    def bind(self, artifact: str) -> str:
        """Record the artifact in use; the one before."""
        self._reach()
        before, self._artifact = self._artifact, artifact
        return before

    def claim(self, first: Mapping[Partition, int], now_ms: int) -> dict[Partition, Claim]:
        """Take partitions over."""
        self._reach()
        claims = {}
        for p, offset in first.items():
            old = self._partitions.get(p)
            kept = old or PartitionState(0, offset, -1, now_ms)
            self._partitions[p] = PartitionState(kept.epoch + 1, kept.next, kept.bucket, now_ms)
            claims[p] = Claim(kept.epoch + 1, kept.next, kept.bucket, old is None)
        return claims

    def commit(self, batch: Batch, now_ms: int) -> Reply:
        """Write counts and offsets together, or nothing."""
        self._reach()
        reply = self._judge(batch)
        if reply.status == "ok":
            self._write(batch, now_ms)
        if self.lose_replies:
            self.lose_replies -= 1
            raise StoreUnavailableError("the answer was lost")
        return reply

    def _judge(self, batch: Batch) -> Reply:
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
        if repeated:
            return Reply("repeat")
        if any(bucket <= self._meta["closed"] for bucket in batch.counts):
            return Reply("closed", closed=self._meta["closed"])
        return Reply("ok")

    def _write(self, batch: Batch, now_ms: int) -> None:
        for p in batch.progress:
            self._partitions[p.partition] = PartitionState(p.epoch, p.next, p.bucket, now_ms)
        for bucket, cells in batch.counts.items():
            _add(self._buckets.setdefault(bucket, {}), cells)
            self._unfolded.add(bucket)
            self._streams.update(dict.fromkeys((key[0] for key in cells), now_ms))
        _add(self._totals, batch.totals())
        for reason, n in batch.rejected.items():
            self._rejected[reason] = self._rejected.get(reason, 0) + n
        for key, found in batch.examples.items():
            kept = sorted([*self._examples.get(key, []), *found], key=lambda e: e.confidence)
            self._examples[key] = kept[: self._keep]

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
        return self._meta["closed"], self._meta["folded"]

    def pending(self, folded: int, closed: int) -> list[int]:
        """Closed buckets that hold counts and are not folded, ascending."""
        self._reach()
        return sorted(b for b in self._unfolded if folded < b <= closed)

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
        if fold.bucket is not None:
            if self._meta["folded"] == fold.bucket:
                return "repeat"
            if self._meta["folded"] != fold.folded:
                return "refused"
            self._meta["folded"] = fold.bucket
            self._unfolded.discard(fold.bucket)
        if fold.guard is not None and self._state.get(fold.guard[0], "") != fold.guard[1]:
            return "repeat" if self._state.get(fold.guard[0]) == fold.state.get(fold.guard[0]) else "refused"
        self._state.update(fold.state)
        for t in fold.alerts:
            fields = {"fingerprint": t.fingerprint, **t.fields}
            self._alerts.pop(t.fingerprint, None)
            self._alerts[t.fingerprint] = fields
            if t.event:
                self._history.append({"id": f"{len(self._history) + 1}-0", **fields})
        return "ok"

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
