"""One closed bucket, over all levels at once: the function an evaluator calls.

Folding is deterministic and idempotent: a bucket at or before :attr:`~monitor.math.state.MonitorState.last_bucket`
changes nothing, the order of the counts has no part in the result, and events carry names that repeat.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from monitor.math import evidence as ev
from monitor.math import lifecycle as lc
from monitor.math.evidence import Ints
from monitor.math.levels import Levels, laid_out
from monitor.math.lifecycle import Alert, Transition
from monitor.math.state import EVERYTHING, Bucket, Key, MonitorState, Rules

LEADS = 0.75
"""Part of its own threshold, in logs, at which a stream is named as being behind the alert of everything together."""


def fold(state: MonitorState, bucket: Bucket, rules: Rules) -> tuple[MonitorState, tuple[Transition, ...]]:
    """Fold one closed bucket.

    Args:
        state: as it was; it is left as it is.
        bucket: later than the last one, or it changes nothing.
        rules: what to raise and resolve on.

    Returns:
        The new state and what changed: streams in order of name, everything together last.

    Raises:
        ValueError: counts of another number of cells, or below 0.
    """
    if state.last_bucket is not None and bucket.id <= state.last_bucket:
        return state, ()
    level = laid_out(state, bucket, rules)
    state = replace(
        state,
        rows=level.rows,
        evidence=level.evidence,
        samples=level.samples,
        last_bucket=bucket.id,
        last_end=bucket.end,
    )
    overall = state.alerts.get((None, "ood"))
    said: list[Transition] = []
    for stream in level.eventful:
        state, changes = _fold_stream(state, stream, level, bucket, rules)
        said += changes
    raised = any(t.change == "raised" for t in said)
    state, changes = _fold_everything(state, overall, level, bucket, rules, raised=raised)
    state, silence = _silence(state, bucket.end, rules, heard=level.streams)
    return state, (*said, *changes, *silence)


def quiet(state: MonitorState, now: float, rules: Rules) -> tuple[MonitorState, tuple[Transition, ...]]:
    """Silence by the clock: for an evaluator that has caught up and gets no more buckets to fold.

    Args:
        state: as it was.
        now: on the clock of the buckets' ends, in seconds.
        rules: :attr:`AlertRules.silence_after`.
    """
    state, said = _silence(state, now, rules, heard=())
    return state, tuple(said)


def _fold_stream(
    state: MonitorState, stream: str, level: Levels, bucket: Bucket, rules: Rules
) -> tuple[MonitorState, list[Transition]]:
    """A stream whose alert fires, or whose evidence has reached a threshold."""
    before = state.alerts.get((stream, "ood"))
    passed = level.passed.get(stream, [])
    if before is not None:
        return _advance_stream(state, before, stream, passed, level, bucket, rules)
    overall = state.alerts.get((None, "ood"))
    if overall is not None:  # one surge, one alert: the stream is named in the one that fires
        seen = replace(overall, streams=tuple(sorted({*overall.streams, stream})))
        state = _with_alert(_reset(state, state.rows_of(stream)), seen)
        # Told when it is the news; _fold_everything compares with the state before this bucket.
        return state, []
    whole = None in passed
    classes = tuple(label for label in passed if label is not None)
    key: Key = (stream, None) if whole else max(((stream, c) for c in classes), key=state.log_evidence)
    return _raise_stream(state, key, () if whole else classes, bucket, rules)


def _raise_stream(
    state: MonitorState, key: Key, scope: tuple[int, ...], bucket: Bucket, rules: Rules
) -> tuple[MonitorState, list[Transition]]:
    """Raise the alert of a stream on the evidence of ``key``."""
    stream = str(key[0])
    alert = replace(_opened(state, key, scope, bucket, rules), by_class=_class_history(state, stream))
    alert = _judged(alert, rules)
    state = _with_alert(_reset(state, state.rows_of(stream)), alert)
    return replace(state, raises=state.raises + 1), [Transition("raised", alert, bucket.id, bucket.end)]


def _opened(state: MonitorState, key: Key, scope: tuple[int, ...], bucket: Bucket, rules: Rules) -> Alert:
    return lc.raised(
        state.evidence,
        state.rows[key],
        stream=key[0],
        scope=scope,
        bucket=bucket.id,
        at=bucket.end,
        rules=rules.alerts,
        contaminations=rules.contaminations,
    )


def _advance_stream(
    state: MonitorState,
    before: Alert,
    stream: str,
    passed: Sequence[int | None],
    level: Levels,
    bucket: Bucket,
    rules: Rules,
) -> tuple[MonitorState, list[Transition]]:
    found = {label for label in passed if label is not None}
    alert = replace(before, classes=tuple(sorted({*before.classes, *found})))
    if before.scope and None in passed:  # the surge is no longer one of single classes: the whole stream must recover
        since = state.evidence.weights(state.rows[stream, None]) @ state.evidence.since[state.rows[stream, None]]
        alert = replace(alert, scope=(), cusum=0.0, samples=float(since[ev.SAMPLES]), flagged=float(since[ev.FLAGGED]))
    else:
        if before.scope:
            alert = replace(alert, scope=tuple(sorted({*before.scope, *found})))
        rows = [(c, n) for c, n in level.by_class[stream] if not alert.scope or c in alert.scope]
        if alert.scope:
            counts = np.array([n for _, n in rows], dtype=np.int64).reshape(len(rows), rules.cells)
            tables = rules.resolve_tables[[rules.table_of.get(c, 0) for c, _ in rows], alert.bet]
        else:
            counts, tables = level.counts[stream][None], rules.resolve_tables[:1, alert.bet]
        alert = lc.advanced(alert, counts, tables, rules.flag_cells)
    alert = replace(alert, by_class=_added(alert.by_class, level.by_class[stream], rules.flag_cells))
    alert = _judged(alert, rules)
    if lc.is_over(alert, rules.alerts):
        state = _without_alert(_reset(state, state.rows_of(stream)), alert)
        return state, [Transition("resolved", alert, bucket.id, bucket.end)]
    said = [Transition("updated", alert, bucket.id, bucket.end)] if lc.told(before, alert) else []
    return _with_alert(state, alert), said


def _fold_everything(
    state: MonitorState, before: Alert | None, level: Levels, bucket: Bucket, rules: Rules, *, raised: bool
) -> tuple[MonitorState, list[Transition]]:
    """Everything together; ``before`` is its alert before this bucket, ``raised`` whether a stream raised in it."""
    row = [state.rows[EVERYTHING]]
    if before is None:
        if raised:  # what it had gathered is explained
            return _reset(state, row), []
        if not level.everything_passed:
            return state, []
        leads = _leads(state, rules)
        if len(leads) == 1:  # one stream is behind it: the alert is that stream's
            state, said = _raise_stream(state, (leads[0], None), (), bucket, rules)
            return _reset(state, row), said
        alert = replace(_opened(state, EVERYTHING, (), bucket, rules), streams=leads)
        alert = lc.graded(alert, rules.alerts)
        state = replace(_with_alert(_reset(state, row), alert), raises=state.raises + 1)
        return state, [Transition("raised", alert, bucket.id, bucket.end)]
    alert = lc.advanced(
        state.alerts[None, "ood"], level.rest[None], rules.resolve_tables[:1, before.bet], rules.flag_cells
    )
    alert = lc.graded(alert, rules.alerts)
    if lc.is_over(alert, rules.alerts):
        return _without_alert(_reset(state, row), alert), [Transition("resolved", alert, bucket.id, bucket.end)]
    said = [Transition("updated", alert, bucket.id, bucket.end)] if lc.told(before, alert) else []
    return _with_alert(state, alert), said


def _leads(state: MonitorState, rules: Rules) -> tuple[str, ...]:
    """Streams whose own evidence is most of the way to its threshold, in logs."""
    close = LEADS * rules.log_threshold(("", None))
    strength = state.evidence.log_mean()
    return tuple(
        sorted(
            stream
            for (stream, label), row in state.rows.items()
            if stream is not None and label is None and strength[row] >= close and (stream, "ood") not in state.alerts
        )
    )


def _silence(
    state: MonitorState, now: float, rules: Rules, heard: Iterable[str]
) -> tuple[MonitorState, list[Transition]]:
    """Streams that fell silent, and those heard again."""
    said: list[Transition] = []
    bucket = -1 if state.last_bucket is None else state.last_bucket
    for stream in heard:
        alert = state.alerts.get((stream, "silence"))
        if alert is not None:
            state = _without_alert(state, alert)
            said.append(Transition("resolved", alert, bucket, now))
    late = state.evidence.seen_at + rules.alerts.silence_after <= now
    if math.isinf(rules.alerts.silence_after) or not late.any():
        return state, said
    silent = [s for (s, label), row in state.rows.items() if s is not None and label is None and late[row]]
    for stream in sorted(silent):
        if (stream, "silence") not in state.alerts:
            since = float(state.evidence.seen_at[state.rows[stream, None]])
            alert = Alert(stream=stream, kind="silence", bucket=bucket, raised_at=now, onset_at=since)
            state = _with_alert(state, alert)
            said.append(Transition("raised", alert, bucket, now))
    return state, said


def _with_alert(state: MonitorState, alert: Alert) -> MonitorState:
    return replace(state, alerts={**state.alerts, (alert.stream, alert.kind): alert})


def _without_alert(state: MonitorState, alert: Alert) -> MonitorState:
    gone = (alert.stream, alert.kind)
    return replace(state, alerts={k: v for k, v in state.alerts.items() if k != gone})


def _reset(state: MonitorState, rows: Sequence[int]) -> MonitorState:
    return replace(state, evidence=ev.reset(state.evidence, rows))


def _judged(alert: Alert, rules: Rules) -> Alert:
    """Severity and the classes that surged, from the counts since the onset."""
    rates = [rules.null_rate(label) for label, _, _ in alert.by_class]
    return lc.graded(lc.attributed(alert, rates, rules.alerts), rules.alerts)


def _class_history(state: MonitorState, stream: str) -> tuple[tuple[int, float, float], ...]:
    """``(class, samples, flagged)`` since each class's own onset, as its evidence has it."""
    out = []
    for (name, label), row in state.rows.items():
        if name == stream and label is not None:
            since = state.evidence.weights(row) @ state.evidence.since[row]
            out.append((label, float(since[ev.SAMPLES]), float(since[ev.FLAGGED])))
    return tuple(sorted(out))


def _added(
    history: Sequence[tuple[int, float, float]], counts: Sequence[tuple[int, Ints]], flag_cells: int
) -> tuple[tuple[int, float, float], ...]:
    total = {label: (n, f) for label, n, f in history}
    for label, row in counts:
        n, f = total.get(label, (0.0, 0.0))
        total[label] = (n + int(row.sum()), f + int(row[:flag_cells].sum()))
    return tuple((label, n, f) for label, (n, f) in sorted(total.items()))
