"""The data that the judging process reads and writes: lease, closed buckets, evidence and alerts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from monitor.store.counts import FORGOTTEN, CountKey, Example
from monitor.store.keys import STREAM_FIELD
from monitor.store.verdicts import Fold, Promotion
from monitor.testing.store.base import MemoryBase


class MemoryJudging(MemoryBase):
    """The data that the judging process reads and writes: lease, closed buckets, evidence and alerts."""

    def lease(self, holder: str, ttl_ms: int) -> int:
        """Take, keep or (``ttl_ms`` 0) give back the lease."""
        self._reach()
        if ttl_ms and self._is_rebound():
            return 0
        held = self._lease
        lasts = held[2] - self._clock() if held else 0
        if lasts <= 0 or 0 < 4 * ttl_ms < lasts:  # it is over, or was taken before the clock was set back
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

    def holder(self) -> str:
        """Who holds the lease, empty if nobody does."""
        self._reach()
        return self._lease[0] if self._lease and self._lease[2] > self._clock() else ""

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
        """Return the closed buckets that hold counts and are not judged yet, in ascending order."""
        self._reach()
        return sorted(b for b in self._unfolded if folded < b <= closed)

    def leads(self, before_ms: int) -> tuple[int, int]:
        """Return the highest open bucket reached by ``before_ms``, and the highest reached at all; -1 for none."""
        self._reach()
        return max((b for b, at in self._leads.items() if at <= before_ms), default=-1), max(self._leads, default=-1)

    def counts(self, bucket: int) -> dict[CountKey, int]:
        """Return the counts of one bucket."""
        self._reach()
        return dict(self._buckets.get(bucket, {}))

    def examples(self, bucket: int, stream: str) -> list[Example]:
        """Return the most OOD samples of a stream in a bucket, the most OOD first."""
        self._reach()
        return list(self._examples.get((bucket, stream), []))

    def state(self) -> dict[str, str]:
        """Return the evidence state of every key."""
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
        """Forget streams, and return their names; None if the lease is lost."""
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
        """Ask the evaluator to forget a stream."""
        self._reach()
        self._asked.add(stream)

    def asked_to_retire(self) -> set[str]:
        """Return the streams that somebody asked to forget."""
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


def _add(into: dict[CountKey, int], cells: Mapping[CountKey, int]) -> None:
    for key, n in cells.items():
        into[key] = into.get(key, 0) + n
