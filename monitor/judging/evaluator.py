"""Judges closed buckets: adds their counts to the evidence, and writes the alerts that this raises or resolves.

One process at a time does this, the one that holds the lease. It takes the buckets in order and writes the new state
and the changes of alerts together. A crash between any two steps does no harm: a closed bucket takes no more counts,
and it stays pending until its result has been written, which happens exactly once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from monitor.alerts import alert as alerts
from monitor.errors import StoreUnavailableError
from monitor.judging.closing import SEEN_MS, closable, find_lead, is_set_back
from monitor.judging.kept import CANARY, HEADER, Kept, load, pack_canary, pack_changes, pack_header
from monitor.judging.settings import EvaluatorSettings
from monitor.judging.writing import AlertWriter
from monitor.math.fold import fold, quiet
from monitor.math.lifecycle import Transition
from monitor.math.state import Bucket, MonitorState, Rules
from monitor.messages.record import Partition
from monitor.store.counts import by_key
from monitor.store.keys import STREAM_FIELD
from monitor.store.partitions import PartitionState, partitions_of
from monitor.store.protocol import Store
from monitor.store.verdicts import AlertWrite, Fold

log = logging.getLogger(__name__)

FORGET_EVERY_MS = 10_000


class Evaluator:
    """Judges the closed buckets each time :meth:`step` is called, if this process holds the lease.

    Args:
        store: counts are read from it and alerts are written to it. All times are by its clock.
        rules: the false-alert budget, the null masses, and when alerts are raised and resolved.
        settings: intervals, limits and names.
        holder: a unique name of this process.
    """

    def __init__(self, store: Store, rules: Rules, settings: EvaluatorSettings, holder: str) -> None:
        self._store, self._rules, self._settings = store, rules, settings
        self._holder = holder
        self._writer = AlertWriter(store, rules, settings)
        self._kept: Kept | None = None
        self._listening_since = math.inf
        self._forget_at = 0
        self._ahead_ms = self._looked_ms = 0
        self._stepped_on = -math.inf

    @property
    def state(self) -> MonitorState | None:
        """The evidence and the alerts as this process knows them; None if it does not hold the lease."""
        return self._kept.state if self._kept else None

    @property
    def rules(self) -> Rules:
        """The false-alert budget, the null masses, and when alerts are raised and resolved."""
        return self._rules

    def step(self) -> list[Transition]:
        """Judge every closed bucket, and return the changes of alerts that were written.

        Raises:
            StoreUnavailableError: nothing was half-written; call again.
        """
        try:
            return self._step()
        except StoreUnavailableError:
            self._lose()
            raise

    def _step(self) -> list[Transition]:
        s = self._settings
        token = self._store.lease(self._holder, s.lease_ms)
        if not token:
            self._lose()
            return []
        partitions = partitions_of(s.topics, self._store.partitions())
        now = self._store.now_ms()
        since = min(now, self._kept.since_ms if self._kept and self._kept.token == token else now)
        # A partition counts as overtaken only once this process has watched for `hold_ms`.
        leads = self._store.leads(now - s.hold_ms if now - since >= s.hold_ms else 0)
        last = closable(
            partitions.values(), leads, now_ms=now, bucket_ms=s.bucket_ms, idle_ms=s.idle_ms, since_ms=since
        )
        reply = self._store.close(token, last)
        if reply is None:
            self._lose()
            return []
        closed, folded = reply
        if is_set_back(closed, now, s.bucket_ms):
            closed = self._close_next(token, closed)
        if self._kept is None or (self._kept.token, self._kept.folded) != (token, folded):
            self._kept = load(self._store, self._rules, token, since, folded)
        self._kept = replace(self._kept, since_ms=since)
        self._listen(partitions, now)
        offsets = {p: state.next for p, state in partitions.items()}
        return self._judge(closed, folded, offsets, now)

    def _close_next(self, token: int, closed: int) -> int:
        """Close the one bucket that fills while the store's clock is behind it; returns the last that is closed.

        One in two widths, so that the clock catches up with the buckets.
        """
        width, now = self._settings.bucket_ms / 1000, time.monotonic()
        if now - self._stepped_on < 2 * width or not self._store.pending(closed, closed + 1):
            return closed
        self._stepped_on = now
        reply = self._store.close(token, closed + 1)
        return closed if reply is None else reply[0]

    def _judge(self, closed: int, folded: int, offsets: Mapping[Partition, int], now: int) -> list[Transition]:
        """Judge closed buckets in order for about ``turn_ms``. If none is left, look for silent and retired streams."""
        until = time.monotonic() + self._settings.turn_ms / 1000
        changes: list[Transition] = []
        for bucket in self._store.pending(folded, closed):
            written = self._fold(bucket, offsets, now)
            if written is None:
                return changes
            changes += written
            if time.monotonic() > until:
                return changes
        changes += self._silence(now, offsets)
        if self._kept is not None and not now < self._forget_at <= now + FORGET_EVERY_MS:
            self._forget_at = now + FORGET_EVERY_MS
            changes += self._forget(now, offsets)
        return changes

    def _lose(self) -> None:
        """Forget what was known: others may have judged meanwhile, and who was silent meanwhile nobody can tell."""
        self._kept, self._listening_since, self._ahead_ms = None, math.inf, 0

    def release(self) -> None:
        """Give the lease back, so that another process need not wait for it to expire."""
        self._lose()
        self._store.lease(self._holder, 0)

    # -- one bucket ------------------------------------------------------------------------------------------------

    def _fold(self, bucket: int, offsets: Mapping[Partition, int], now: int) -> list[Transition] | None:
        """Judge one bucket and write the result; ``None`` if another process has taken the lease or the bucket."""
        assert self._kept is not None  # noqa: S101  step() loaded it
        kept = self._kept
        width = self._settings.bucket_ms / 1000
        counted = self._store.counts(bucket)
        counts = by_key(counted, self._rules.all_cells)
        own = {key: row for key, row in counts.items() if key[0] == self._settings.canary}
        others = {key: row for key, row in counts.items() if key[0] != self._settings.canary}
        closed = Bucket(bucket, bucket * width, (bucket + 1) * width, others)
        s = self._settings
        self._ahead_ms = find_lead(now - (bucket + 1) * s.bucket_ms, s.hold_ms + s.idle_ms + 2 * s.bucket_ms)
        state, transitions = fold(kept.state, closed, self._rules, self._listening_since - self._ahead_ms / 1000)
        canary, more_state, marks = self._try_canary(kept.canary, replace(closed, counts=own))
        streams = sorted({stream for stream, _ in counts})
        header, packed = pack_header(state), pack_changes(kept.state, state)
        alerting = {a.identity: a for a in (*kept.state.alerts.values(), *state.alerts.values())}
        examples = {name: self._writer.examples(a, closed.end, kept.examples.get(name)) for name, a in alerting.items()}
        writes = [self._writer.entry(t.alert, t.change, t.at, t.event, offsets, examples) for t in transitions]
        changed = {t.alert.identity for t in transitions}
        writes += [
            self._writer.entry(a, "updated", closed.end, f"{a.identity}:refreshed", offsets, examples, kept=False)
            for a in state.alerts.values()
            if a.identity not in changed
        ]
        written = {HEADER: header, **packed, **more_state}
        done = Fold(kept.token, bucket, kept.folded, written, writes, streams, marks=marks)
        if self._store.apply(done) == "refused":
            self._lose()
            return None
        self._kept = replace(kept, folded=bucket, state=state, header=header, examples=examples, canary=canary)
        _log(writes)
        return list(transitions)

    def _try_canary(self, before: MonitorState, bucket: Bucket) -> tuple[MonitorState, dict[str, str], dict[str, str]]:
        """Judge the canary stream by the same rules as all others, but apart from them.

        Its alert is never shown to people. Only the time at which it was noticed is kept.

        Returns:
            The canary's state, the fields to write, and the times to note.
        """
        if not bucket.counts:
            return before, {}, {}
        state, transitions = fold(before, bucket, self._rules)
        if any(t.change == "raised" for t in transitions):
            return MonitorState.new(self._rules), {CANARY: ""}, {"canary_seen": ""}
        return state, {CANARY: pack_canary(state)}, {}

    def _listen(self, partitions: Mapping[Partition, PartitionState], now: int) -> None:
        """Update since when all partitions have been read to their ends. Before that, silence means nothing."""
        heard = partitions and all(
            now - p.seen_ms < SEEN_MS and not p.behind_ms and p.lag >= 0 for p in partitions.values()
        )
        if not heard:
            self._listening_since = math.inf
        elif not 0 <= now - self._looked_ms <= self._settings.lease_ms or math.isinf(self._listening_since):
            self._listening_since = now / 1000  # if it did not look for so long, or the clock was moved, it begins anew
        self._looked_ms = now

    def _silence(self, now: int, offsets: Mapping[Partition, int]) -> list[Transition]:
        """Raise or resolve alerts on streams that have stopped sending, which no bucket can show."""
        assert self._kept is not None  # noqa: S101  _step() loaded it
        ahead = self._ahead_ms / 1000  # streams were last heard by the clock of the buckets
        state, transitions = quiet(self._kept.state, now / 1000 - ahead, self._rules, self._listening_since - ahead)
        return self._write(state, transitions, offsets) if transitions else []

    def _forget(self, now: int, offsets: Mapping[Partition, int]) -> list[Transition]:
        """Forget the streams that somebody retired, and those that have sent nothing for ``forget_ms``."""
        assert self._kept is not None  # noqa: S101  _step() loaded it
        kept, before = self._kept, now - self._settings.forget_ms
        heard, asked = self._store.streams(), self._store.asked_to_retire()
        gone = {s for s, at in heard.items() if at <= before} | asked
        if not gone:
            return []
        over = [a for (stream, _), a in kept.state.alerts.items() if stream in gone]
        bucket = -1 if kept.state.last_bucket is None else kept.state.last_bucket
        transitions = [Transition.of("resolved", a, bucket, now / 1000) for a in over]
        changes = self._write(kept.state.without(gone), transitions, offsets, [STREAM_FIELD + s for s in sorted(gone)])
        if self._kept is not None:
            for name in self._store.retire(kept.token, gone, before, asked) or ():
                why = "asked for" if name in asked else "nothing came any more"
                log.info("stream %r is forgotten: %s", name, why, extra={"stream": name})
        return changes

    def _write(
        self,
        state: MonitorState,
        transitions: Iterable[Transition],
        offsets: Mapping[Partition, int],
        remove: Iterable[str] = (),
    ) -> list[Transition]:
        """Write changes that no bucket caused. Writes nothing if another process has taken over."""
        assert self._kept is not None  # noqa: S101  _step() loaded it
        kept, changes = self._kept, list(transitions)
        header = pack_header(state)
        writes = [self._writer.entry(t.alert, t.change, t.at, t.event, offsets, kept.examples) for t in changes]
        guard = (HEADER, kept.header)
        done = Fold(kept.token, None, kept.folded, {HEADER: header}, writes, guard=guard, remove=remove)
        if self._store.apply(done) == "refused":
            self._lose()
            return []
        self._kept = replace(kept, state=state, header=header)
        _log(writes)
        return changes


def _log(writes: Iterable[AlertWrite]) -> None:
    for write in writes:
        if write.event:
            about = {"alert": write.fields["episode"], "stream": write.fields["stream"]}
            log.warning("%s", alerts.line(write.fields), extra=about)
