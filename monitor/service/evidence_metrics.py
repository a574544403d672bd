"""Computes metrics of evidence, alerts and budget when somebody asks, not in the judging loop."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.alerts.layout import LABEL_LENGTH, clean
from monitor.math.budget import LEVELS, Level
from monitor.math.evidence import FLAGGED, SAMPLES
from monitor.math.state import Key, MonitorState, Rules
from monitor.service.catalogue.judging import TOP_STREAMS
from monitor.service.families import family

LARGEST = 1e300
"""The largest evidence that is shown."""


@dataclass(frozen=True)
class StreamEvidence:
    """One stream: its label, its evidence as a share of the threshold, and its share of flagged samples."""

    label: str
    ratio: float
    flagged: float


class EvidenceCollector:
    """Reads the evaluator's state. The state is never changed in place, so any thread may read it.

    Args:
        state: gives the present state; ``None`` if another process judges.
        rules: the rules of judging.
    """

    def __init__(self, state: Callable[[], MonitorState | None], rules: Rules) -> None:
        self._state, self._rules = state, rules

    def collect(self) -> Iterator[Any]:
        """Collect the metrics, as prometheus-client asks."""
        state, budget = self._state(), self._rules.budget
        yield family("leaseholder", {(): state is not None})
        yield family("alerts_firing", {(): len(state.alerts) if state else 0})
        yield family("budget_requests", {(): budget.requests if state else 0})
        yield family("budget_samples", {(level,): state.samples.get(level, 0) if state else 0 for level in LEVELS})
        spent = {level: n for level, n in state.samples.items() if level in budget.shares} if state else {}
        yield family("budget_spent_alerts", {(): budget.spent(spent)})
        end = state.last_end if state else 0.0
        yield family("last_bucket_end_timestamp_seconds", {(): end if math.isfinite(end) else 0.0})
        ratios = evidence_ratios(state, self._rules) if state else {}
        yield family("evidence_max_ratio", {(k,): v for k, v in largest(ratios).items()})
        top = top_streams(state, self._rules, ratios, TOP_STREAMS) if state else []
        yield family("stream_evidence_ratio", {(s.label,): s.ratio for s in top})
        yield family("stream_flag_ratio", {(s.label,): s.flagged for s in top})


def evidence_ratios(state: MonitorState, rules: Rules) -> dict[Key, float]:
    """Return the evidence of each key as a share of its threshold. Keys that cannot raise are left out."""
    found, logs = {}, state.evidence.log_mean()
    for key, row in state.rows.items():
        needed = rules.log_threshold(key)
        if math.isfinite(needed):
            found[key] = min(LARGEST, math.exp(min(690.0, float(logs[row]) - needed)))
    return found


def level_of(key: Key) -> Level:
    """Return the level that a key belongs to."""
    return "class" if key[1] is not None else "everything" if key[0] is None else "stream"


def largest(ratios: dict[Key, float]) -> dict[Level, float]:
    """Return the largest ratio of each level; 0 if a level has no key."""
    found: dict[Level, float] = dict.fromkeys(LEVELS, 0.0)
    for key, ratio in ratios.items():
        level = level_of(key)
        found[level] = max(found[level], ratio)
    return found


def top_streams(state: MonitorState, rules: Rules, ratios: dict[Key, float], most: int) -> list[StreamEvidence]:
    """Choose at most this many streams: those with an alert on OOD inputs first, then those with most evidence."""
    best: dict[str, float] = {}
    for (stream, _), ratio in ratios.items():
        if stream is not None:
            best[stream] = max(best.get(stream, 0.0), ratio)
    firing = {stream for stream, kind in state.alerts if kind == "ood" and stream is not None}
    chosen = heapq.nlargest(most, best, key=lambda stream: (stream in firing, best[stream]))
    found: dict[str, StreamEvidence] = {}
    for stream in chosen:
        label = label_of(stream, found)
        found[label] = StreamEvidence(label, best[stream], _flag_ratio(state, rules, stream))
    return list(found.values())


def label_of(stream: str, taken: dict[str, StreamEvidence]) -> str:
    """Turn the name of a stream into a label: printable, of bounded length, and different for each stream.

    If two series had the same name, Prometheus would refuse the whole page.
    """
    label = clean(stream, LABEL_LENGTH)
    if label == stream and label not in taken:
        return label
    return f"{label[: LABEL_LENGTH - 13]}~{hashlib.sha256(stream.encode('utf-8', 'backslashreplace')).hexdigest()[:12]}"


def _flag_ratio(state: MonitorState, rules: Rules, stream: str) -> float:
    """The share flagged since the onset of the alert, or since the evidence began to grow; 0 if there is neither."""
    alert = state.alerts.get((stream, "ood"))
    if alert is not None:
        return float(alert.rate)
    row = state.rows.get((stream, None))
    if row is None:
        return 0.0
    leader = state.evidence.leader(row, len(rules.experts))
    since = np.asarray(state.evidence.since_change(row, rules.columns_of(leader)))
    return float(since[FLAGGED] / since[SAMPLES]) if since[SAMPLES] else 0.0
