"""How far each stream is from an alert: its evidence beside the evidence that would raise one.

The evidence of many streams is large, so each reading takes only some: the streams that were counted since they were
last read, the longest waiting first, up to a limit. For the others the previous reading stays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.math import packing
from monitor.math.experts import Floats
from monitor.math.state import EVERYTHING, Key, MonitorState, Rules


@dataclass(frozen=True)
class Standing:
    """The evidence of one key: a stream, or one predicted class of it.

    Attributes:
        label: predicted class, None for the stream as a whole.
        log_evidence: natural logarithm of the evidence; -inf if there is none.
        log_needed: natural logarithm of the evidence that raises an alert; inf if this key cannot raise one.
        expert: number of the expert with most of the evidence.
        seconds, samples, flagged: since the estimated onset.
        seen_at: end of the last bucket that was added to it, in seconds.
    """

    label: int | None
    log_evidence: float
    log_needed: float
    expert: int
    seconds: float
    samples: float
    flagged: float
    seen_at: float

    @property
    def distance(self) -> float:
        """``log_evidence - log_needed``: an alert is raised at 0. -inf if this key cannot raise one."""
        return self.log_evidence - self.log_needed if math.isfinite(self.log_needed) else -math.inf

    @property
    def progress(self) -> float:
        """How far the evidence is on its way to an alert, from 0 to 1, on a logarithmic scale."""
        if not math.isfinite(self.log_needed) or self.log_needed <= 0:
            return 0.0
        return min(1.0, max(0.0, self.log_evidence / self.log_needed))


@dataclass(frozen=True)
class StreamStanding:
    """The evidence of a stream as a whole, and of the key (the stream or a class) that is nearest to an alert."""

    whole: Standing
    nearest: Standing
    read_ms: int


class EvidenceBook:
    """The evidence of each stream as last read.

    Args:
        rules: the rules of judging.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._held: dict[str, StreamStanding] = {}

    def wanted(self, counted_ms: Mapping[str, int], most: int, first: Iterable[str] = ()) -> list[str]:
        """Choose the streams to read next.

        Args:
            counted_ms: time of the last count, by stream.
            most: how many to choose at most.
            first: streams to choose before others.
        """
        # Judging comes some seconds after counting.
        due = {
            stream: self._held[stream].read_ms if stream in self._held else 0
            for stream, at in counted_ms.items()
            if stream not in self._held or self._held[stream].read_ms < at + 60_000
        }
        chosen = [s for s in dict.fromkeys(first) if s in counted_ms][:most]
        rest = sorted(due.keys() - set(chosen), key=lambda s: (due[s], s))
        return chosen + rest[: most - len(chosen)]

    def add(self, header: Mapping[str, Any], packed: Mapping[str, str], read_ms: int) -> None:
        """Take in what was read."""
        for stream, standing in standings(header, packed, self._rules, read_ms).items():
            self._held[stream] = standing

    def forget(self, streams: Iterable[str]) -> None:
        """Forget streams that have no evidence any more."""
        for stream in streams:
            self._held.pop(stream, None)

    def keep(self, streams: Mapping[str, int]) -> None:
        """Forget all streams but these."""
        self._held = {s: held for s, held in self._held.items() if s in streams}

    def of(self, stream: str) -> StreamStanding | None:
        """Return what was last read of a stream."""
        return self._held.get(stream)


def standings(
    header: Mapping[str, Any], packed: Mapping[str, str], rules: Rules, read_ms: int
) -> dict[str, StreamStanding]:
    """Read the evidence of every stream from its stored form ``packed``."""
    state = _unpacked(header, packed, rules)
    logs = state.evidence.log_mean()
    keys = list(state.rows)
    raising: dict[int | None, float] = {None: rules.log_threshold(("", None))}
    raising |= {label: rules.log_threshold(("", label)) for label in rules.class_nulls}
    needed = [raising.get(label, math.inf) for _, label in keys]
    distance = logs - np.array(needed)
    whole: dict[str, int] = {}
    nearest: dict[str, int] = {}
    for row, (stream, label) in enumerate(keys):
        if stream is None:
            continue
        if label is None:
            whole[stream] = row
        if stream not in nearest or distance[row] > distance[nearest[stream]]:
            nearest[stream] = row
    found = {}
    for stream, row in whole.items():
        one = _standing(state, keys[row], logs, rules)
        other = nearest[stream]
        found[stream] = StreamStanding(
            one, one if other == row else _standing(state, keys[other], logs, rules), read_ms
        )
    return found


def classes_of(header: Mapping[str, Any], stream: str, packed: str, rules: Rules) -> list[Standing]:
    """Read the evidence of every predicted class of one stream, in ascending order."""
    state = _unpacked(header, {stream: packed}, rules)
    logs = state.evidence.log_mean()
    return [_standing(state, key, logs, rules) for key in sorted(k for k in state.rows if k[1] is not None)]


def everything(header: Mapping[str, Any], rules: Rules) -> Standing:
    """Read the evidence of all streams together from the packed header."""
    state = _unpacked(header, {}, rules)
    return _standing(state, EVERYTHING, state.evidence.log_mean(), rules)


def _unpacked(header: Mapping[str, Any], packed: Mapping[str, str], rules: Rules) -> MonitorState:
    return packing.unpacked(header, {s: json.loads(text) for s, text in packed.items()}, rules.columns)


def _standing(state: MonitorState, key: Key, logs: Floats, rules: Rules) -> Standing:
    row, experts = state.rows[key], len(rules.experts)
    leader = state.evidence.leader(row, experts) if experts > 1 else 0
    seconds, samples, flagged = state.evidence.since_change(row, rules.columns_of(leader)).tolist()
    seen_at = float(state.evidence.seen_at[row])
    return Standing(key[1], float(logs[row]), rules.log_threshold(key), leader, seconds, samples, flagged, seen_at)
