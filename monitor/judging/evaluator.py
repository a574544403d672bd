"""Closed buckets to alerts. One leaseholder at a time folds them in order; state and transitions are written together.

A crash between any two steps is harmless: a bucket that is closed takes no more counts, and it stays pending until its
fold is written, which happens once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from monitor.alerts import alert as alerts
from monitor.errors import StoreUnavailableError
from monitor.math import packing
from monitor.math.fold import fold, quiet
from monitor.math.lifecycle import Alert, Transition
from monitor.math.state import Bucket, MonitorState, Rules
from monitor.messages.record import Partition
from monitor.store.protocol import AlertWrite, CountKey, Example, Fold, PartitionState, Store

log = logging.getLogger(__name__)

HEADER = "#header"
_STREAM = "s:"
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class EvaluatorSettings:
    """Numbers of an evaluator; times in milliseconds."""

    group: str
    artifact: str
    bucket_ms: int = 1000
    idle_ms: int = 10_000
    lease_ms: int = 15_000
    alert_ttl_ms: int = 604_800_000
    examples: int = 5
    class_name: Callable[[int], str] = field(default=str)


@dataclass(frozen=True)
class _Kept:
    """The state as this leaseholder last wrote or read it."""

    token: int
    since_ms: int
    folded: int
    state: MonitorState
    header: str
    examples: Mapping[str, tuple[Example, ...]]


def closable(partitions: Mapping[Partition, PartitionState], now_ms: int, idle_ms: int, since_ms: int = 0) -> int:
    """The last bucket that no partition will add to: below the least bucket of those that are not idle.

    A partition that moved nothing for ``idle_ms`` holds nothing open; where all are idle everything may close. What
    lies before ``since_ms``, when the watching began, counts for no silence: nobody may have been there to move it.
    """
    active = [p.bucket for p in partitions.values() if now_ms - max(p.at_ms, since_ms) < idle_ms]
    if active:
        return min(active) - 1
    return max((p.bucket for p in partitions.values()), default=-1)


class Evaluator:
    """Folds what is closed whenever :meth:`step` is called and this process holds the lease.

    Args:
        store: counts in, alerts out.
        rules: budget, nulls and lifecycle.
        settings: numbers and names.
        holder: unique name of this process.
        clock: milliseconds since the epoch.
    """

    def __init__(
        self, store: Store, rules: Rules, settings: EvaluatorSettings, holder: str, clock: Callable[[], int]
    ) -> None:
        self._store, self._rules, self._settings = store, rules, settings
        self._holder, self._clock = holder, clock
        self._kept: _Kept | None = None

    @property
    def state(self) -> MonitorState | None:
        """What is known, where this process holds the lease."""
        return self._kept.state if self._kept else None

    def step(self) -> list[Transition]:
        """Fold every closed bucket; the transitions that were written.

        Raises:
            StoreUnavailableError: nothing was half-written; call again.
        """
        try:
            return self._step()
        except StoreUnavailableError:
            self._kept = None
            raise

    def _step(self) -> list[Transition]:
        token = self._store.lease(self._holder, self._settings.lease_ms)
        if not token:
            self._kept = None
            return []
        partitions = self._store.partitions()
        now = self._clock()
        since = self._kept.since_ms if self._kept and self._kept.token == token else now
        reply = self._store.close(token, closable(partitions, now, self._settings.idle_ms, since))
        if reply is None:
            self._kept = None
            return []
        closed, folded = reply
        if self._kept is None or (self._kept.token, self._kept.folded) != (token, folded):
            self._kept = self._load(token, since, folded)
        offsets = {p: s.next for p, s in partitions.items()}
        said: list[Transition] = []
        for bucket in self._store.pending(folded, closed):
            written = self._fold(bucket, offsets)
            if written is None:
                return said
            said += written
        if self._caught_up(partitions, now):
            said += self._listen(now, offsets)
        return said

    def release(self) -> None:
        """Give the lease back, so that another process need not wait for it to expire."""
        self._kept = None
        self._store.lease(self._holder, 0)

    # -- one bucket ------------------------------------------------------------------------------------------------

    def _fold(self, bucket: int, offsets: Mapping[Partition, int]) -> list[Transition] | None:
        """Fold and write one bucket; ``None`` where the lease or the order was lost."""
        assert self._kept is not None  # noqa: S101  step() loaded it
        kept = self._kept
        width = self._settings.bucket_ms / 1000
        counted = self._store.counts(bucket)
        counts = _by_key(counted, self._rules.cells)
        closed = Bucket(bucket, bucket * width, (bucket + 1) * width, counts)
        state, transitions = fold(kept.state, closed, self._rules)
        streams = sorted({stream for stream, _ in counts})
        header = _text(packing.header(state))
        packed = {
            _STREAM + name: _text(rows)
            for name, rows in packing.streams(state, packing.changed(kept.state, state)).items()
        }
        alerting = {a.identity: a for a in (*kept.state.alerts.values(), *state.alerts.values())}
        examples = {name: self._examples(a, closed.end) for name, a in alerting.items()}
        writes = [self._entry(t.alert, t.change, t.at, t.event, offsets, examples) for t in transitions]
        told = {t.alert.identity for t in transitions}
        writes += [
            self._entry(a, "updated", closed.end, f"{a.identity}:refreshed", offsets, examples, event_kept=False)
            for a in state.alerts.values()
            if a.identity not in told
        ]
        done = Fold(kept.token, bucket, kept.folded, {HEADER: header, **packed}, writes, streams)
        if self._store.apply(done) == "refused":
            self._kept = None
            return None
        self._kept = replace(kept, folded=bucket, state=state, header=header, examples=examples)
        self._log(transitions)
        return list(transitions)

    def _listen(self, now: int, offsets: Mapping[Partition, int]) -> list[Transition]:
        """Silence, which no bucket tells of."""
        assert self._kept is not None  # noqa: S101  step() loaded it
        kept = self._kept
        state, transitions = quiet(kept.state, now / 1000, self._rules)
        if not transitions:
            return []
        header = _text(packing.header(state))
        writes = [self._entry(t.alert, t.change, t.at, t.event, offsets, {}) for t in transitions]
        done = Fold(kept.token, None, kept.folded, {HEADER: header}, writes, guard=(HEADER, kept.header))
        if self._store.apply(done) == "refused":
            self._kept = None
            return []
        self._kept = replace(kept, state=state, header=header)
        self._log(transitions)
        return list(transitions)

    def _caught_up(self, partitions: Mapping[Partition, PartitionState], now: int) -> bool:
        """Whether those that still move have reached the present: while they catch up, nobody is silent."""
        half = self._rules.alerts.silence_after * 500
        moving = [p for p in partitions.values() if now - p.at_ms < self._settings.idle_ms]
        return all((p.bucket + 1) * self._settings.bucket_ms >= now - half for p in moving)

    def _load(self, token: int, since: int, folded: int) -> _Kept:
        stored = self._store.state()
        header = stored.get(HEADER, "")
        if not header:
            return _Kept(token, since, folded, MonitorState.new(self._rules), "", {})
        rows = {k[len(_STREAM) :]: json.loads(v) for k, v in stored.items() if k.startswith(_STREAM)}
        state = packing.unpacked(json.loads(header), rows, len(self._rules.contaminations))
        examples = {a["episode"]: alerts.read_examples(a) for a in self._store.alerts() if a["status"] == "firing"}
        log.info("took over at bucket %d with %d streams", folded, len(rows))
        return _Kept(token, since, folded, state, header, examples)

    # -- what is written -------------------------------------------------------------------------------------------

    def _entry(
        self,
        alert: Alert,
        change: str,
        at: float,
        event: str,
        offsets: Mapping[Partition, int],
        examples: Mapping[str, Iterable[Example]],
        *,
        event_kept: bool = True,
    ) -> AlertWrite:
        s = self._settings
        key = (alert.stream, alert.scope[0] if alert.scope else None)
        fields = alerts.fields(
            alert,
            change,
            at,
            event,
            artifact=s.artifact,
            examples=examples.get(alert.identity, ()),
            offsets=offsets,
            class_name=s.class_name,
            log_threshold=self._rules.log_threshold(key),
        )
        return AlertWrite(
            alerts.fingerprint(s.group, alert), fields, s.alert_ttl_ms, round(at * 1000), event=event_kept
        )

    def _examples(self, alert: Alert, at: float) -> tuple[Example, ...]:
        """The worst samples since the onset: those kept so far, and those of the bucket that has just been folded."""
        if alert.kind != "ood" or not self._settings.examples:
            return ()
        width = self._settings.bucket_ms / 1000
        last = round(at / width) - 1
        kept = self._kept.examples.get(alert.identity) if self._kept else None
        first = max(int(alert.onset_at // width), last - 20) if kept is None else last
        names = [alert.stream] if alert.stream is not None else list(alert.streams)[:20]
        found = {e for b in range(first, last + 1) for n in names for e in self._store.examples(b, n)}
        return tuple(sorted({*found, *(kept or ())}, key=lambda e: e.confidence)[: self._settings.examples])

    def _log(self, transitions: Iterable[Transition]) -> None:
        for t in transitions:
            log.warning("%s %s %s: rate %.3f", t.alert.kind, t.alert.stream or "everything", t.change, t.alert.rate)


def _by_key(counts: Mapping[CountKey, int], cells: int) -> dict[tuple[str, int], list[int]]:
    table: dict[tuple[str, int], list[int]] = {}
    for (stream, predicted, cell), n in counts.items():
        table.setdefault((stream, predicted), [0] * cells)[cell] += n
    return table


def _text(value: Any) -> str:
    return _ENCODER.encode(value)
