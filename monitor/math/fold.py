"""Folds one closed bucket into the state: adds it to the evidence of all levels, and raises and resolves alerts.

Folding is deterministic and idempotent: a bucket at or before :attr:`~monitor.math.state.MonitorState.last_bucket`
changes nothing, the result does not depend on the order of the counts, and a repeated fold gives its events the same
names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from monitor.math import evidence as ev
from monitor.math import lifecycle as lc
from monitor.math.experts import Ints
from monitor.math.levels import Levels, laid_out
from monitor.math.lifecycle import Alert, Change, Transition
from monitor.math.silence import find_silence
from monitor.math.state import EVERYTHING, Bucket, Key, MonitorState, Rules

LEADS = 0.75
"""The share of its own threshold, in logs, from which a stream is named as a cause of the alert of everything together.
"""


def fold(
    state: MonitorState, bucket: Bucket, rules: Rules, listening_since: float = -math.inf
) -> tuple[MonitorState, tuple[Transition, ...]]:
    """Folds one closed bucket.

    Args:
        state: the state before; it is not changed.
        bucket: the bucket; it changes nothing unless it is later than the last one.
        rules: the rules of raising and resolving.
        listening_since: since when, in seconds, every record that was sent has been read in time; inf if that is not so
            now. A stream is not called silent for a time in which its records could not be read.

    Returns:
        The new state and the changes: streams in order of name, then everything together, then silence.

    Raises:
        ValueError: :func:`monitor.math.levels.laid_out` refuses the counts.
    """
    if state.last_bucket is not None and bucket.id <= state.last_bucket:
        return state, ()
    level = laid_out(state, bucket, rules)
    after = replace(
        state,
        rows=level.rows,
        evidence=level.evidence,
        samples=level.samples,
        last_bucket=bucket.id,
        last_end=bucket.end,
    )
    one = _Pass(after, bucket.id, bucket.end, rules)
    for stream in level.eventful:
        one.stream(stream, level)
    one.everything(level)
    return one.result(level.streams, listening_since)


def quiet(
    state: MonitorState, now: float, rules: Rules, listening_since: float = -math.inf
) -> tuple[MonitorState, tuple[Transition, ...]]:
    """Finds silence by the clock, for an evaluator that has caught up and has no more buckets to fold.

    Args:
        state: as it was.
        now: the time on the clock of the buckets' ends, in seconds.
        rules: :attr:`AlertRules.silence_after`.
        listening_since: see :func:`fold`.
    """
    one = _Pass(state, -1 if state.last_bucket is None else state.last_bucket, now, rules)
    return one.result((), listening_since)


class _Pass:
    """The working copy of one fold: alerts and their changes. Evidence is cleared once, at the end."""

    def __init__(self, state: MonitorState, bucket: int, at: float, rules: Rules) -> None:
        self.state, self.bucket, self.at, self.rules = state, bucket, at, rules
        self.alerts = dict(state.alerts)
        self.cleared: list[int] = []
        self.transitions: list[Transition] = []
        self.raises = 0

    def result(self, heard: Iterable[str], listening_since: float) -> tuple[MonitorState, tuple[Transition, ...]]:
        """The new state and all changes, after checking which regular streams are silent."""
        changes = find_silence(self.state, self.alerts, self.bucket, self.at, self.rules, heard, listening_since)
        self.transitions += changes
        evidence = ev.reset(self.state.evidence, self.cleared) if self.cleared else self.state.evidence
        raises = self.state.raises + self.raises
        return replace(self.state, evidence=evidence, alerts=self.alerts, raises=raises), tuple(self.transitions)

    # -- a stream --------------------------------------------------------------------------------------------------

    def stream(self, stream: str, level: Levels) -> None:
        """Handles a stream whose alert fires, or whose evidence has reached a threshold."""
        passed = level.passed.get(stream, [])
        firing, overall = self.alerts.get((stream, "ood")), self.alerts.get((None, "ood"))
        if firing is not None:
            self._settle(firing, self._judged(self._advanced(firing, passed, level)))
        elif overall is not None:  # one surge has one alert, so the stream is named in the one that fires
            self.alerts[None, "ood"] = replace(overall, streams=tuple(sorted({*overall.streams, stream})))
            self.cleared += self.state.rows_of(stream)
        elif None in passed:
            self._raise_stream((stream, None))
        else:
            classes = tuple(label for label in passed if label is not None)
            self._raise_stream(max(((stream, c) for c in classes), key=self.state.log_evidence), classes)

    def _raise_stream(self, key: Key, scope: tuple[int, ...] = ()) -> None:
        """Raises the alert of a stream because of the evidence of ``key``."""
        stream = str(key[0])
        alert, history = self._opened(key, scope), []
        for (name, label), row in self.state.rows.items():
            if name == stream and label is not None:
                since = self.state.evidence.since_change(row, self.rules.columns_of(alert.expert))
                history.append((label, float(since[ev.SAMPLES]), float(since[ev.FLAGGED])))
        alert = replace(alert, by_class=tuple(sorted(history)))
        self._raised(self._judged(alert), self.state.rows_of(stream))

    def _advanced(self, alert: Alert, passed: Sequence[int | None], level: Levels) -> Alert:
        """A stream's alert after one more bucket: wider if more of it has surged, otherwise nearer its resolve."""
        stream, rules = str(alert.stream), self.rules
        found = {label for label in passed if label is not None}
        counts = [(label, rules.counts_of(alert.expert, row)) for label, row in level.by_class[stream]]
        by_class = _added(alert.by_class, counts, rules.flag_cells)
        after = replace(alert, classes=tuple(sorted({*alert.classes, *found})), by_class=by_class)
        if not alert.scope:
            whole = rules.counts_of(alert.expert, level.counts[stream])
            return lc.advanced(after, whole[None], rules.resolve_bets(alert), rules.flag_cells)
        if None in passed:  # no longer a surge of single classes: from now on the whole stream must recover
            row = self.state.rows[stream, None]
            since = self.state.evidence.since_change(row, rules.columns_of(alert.expert))
            samples, flagged = float(since[ev.SAMPLES]), float(since[ev.FLAGGED])
            return replace(after, scope=(), cusum=0.0, samples=samples, flagged=flagged)
        scope = tuple(sorted({*alert.scope, *found}))
        inside = [(label, row) for label, row in counts if label in scope]
        table = np.array([row for _, row in inside], dtype=np.int64).reshape(len(inside), rules.cells)
        bets = rules.resolve_bets(alert, [label for label, _ in inside])
        return lc.advanced(replace(after, scope=scope), table, bets, rules.flag_cells)

    # -- everything together ---------------------------------------------------------------------------------------

    def everything(self, level: Levels) -> None:
        """Handles everything together: all streams without an alert of their own."""
        before, now = self.state.alerts.get((None, "ood")), self.alerts.get((None, "ood"))
        row = self.state.rows[EVERYTHING]
        if before is not None and now is not None:
            rest = self.rules.counts_of(before.expert, level.rest)
            after = lc.advanced(now, rest[None], self.rules.resolve_bets(before), self.rules.flag_cells)
            self._settle(before, self._judged(after))
        elif self.raises:  # the evidence that it had collected is explained
            self.cleared.append(row)
        elif level.everything_passed:
            leads = self._leads()
            if len(leads) == 1:  # one stream is the cause, so the alert is that stream's
                self._raise_stream((leads[0], None))
                self.cleared.append(row)
            else:
                self._raised(self._judged(replace(self._opened(EVERYTHING, ()), streams=leads)), [row])

    def _leads(self) -> tuple[str, ...]:
        """The streams without an alert whose own evidence is most of the way to its threshold, in logs."""
        strength = self.state.evidence.log_mean()
        return tuple(
            sorted(
                stream
                for (stream, label), row in self.state.rows.items()
                if stream is not None
                and label is None
                and (stream, "ood") not in self.alerts
                and strength[row] >= LEADS * self.rules.log_threshold((stream, None))
            )
        )

    # -- all -------------------------------------------------------------------------------------------------------

    def _opened(self, key: Key, scope: tuple[int, ...]) -> Alert:
        return lc.raised(
            self.state.evidence,
            self.state.rows[key],
            stream=key[0],
            scope=scope,
            bucket=self.bucket,
            at=self.at,
            rules=self.rules.alerts,
            contaminations=self.rules.contaminations,
            experts=len(self.rules.experts),
        )

    def _judged(self, alert: Alert) -> Alert:
        """Finds the severity and the classes that surged, from the counts since the onset."""
        rates = [self.rules.null_rate(label, alert.expert) for label, _, _ in alert.by_class]
        return lc.graded(lc.attributed(alert, rates, self.rules.alerts), self.rules.alerts)

    def _raised(self, alert: Alert, rows: Sequence[int]) -> None:
        self.alerts[alert.stream, alert.kind] = alert
        self.cleared += rows
        self.raises += 1
        self._say("raised", alert)

    def _settle(self, before: Alert, alert: Alert) -> None:
        """Keeps a firing alert, or resolves it."""
        if lc.is_over(alert, self.rules.alerts):
            del self.alerts[alert.stream, alert.kind]
            self.cleared += [self.state.rows[EVERYTHING]] if alert.stream is None else self.state.rows_of(alert.stream)
            self._say("resolved", alert)
            return
        self.alerts[alert.stream, alert.kind] = alert
        if lc.is_news(before, alert):
            self._say("updated", alert)

    def _say(self, change: Change, alert: Alert) -> None:
        self.transitions.append(Transition.of(change, alert, self.bucket, self.at))


def _added(
    history: Sequence[tuple[int, float, float]], counts: Sequence[tuple[int, Ints]], flag_cells: int
) -> tuple[tuple[int, float, float], ...]:
    """``(class, samples, flagged)`` with one more bucket."""
    total = {label: (n, f) for label, n, f in history}
    for label, row in counts:
        n, f = total.get(label, (0.0, 0.0))
        total[label] = (n + int(row.sum()), f + int(row[:flag_cells].sum()))
    return tuple((label, n, f) for label, (n, f) in sorted(total.items()))
