"""Finds silent streams, and raises an alert if a stream that had regular input has none any more.

A stream is silent after ten times its usual gap. It is not called silent for a time in which its records could not be
read. If many fall silent at once, they have a common cause, and one alert names them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from monitor.math.lifecycle import Alert, Change, Kind, Transition
from monitor.math.state import MonitorState, Rules

REGULAR_AFTER = 20
"""How many buckets with input make a stream regular enough for its silence to mean something."""

TOGETHER = 5
"""If more streams than this fall silent at once, one alert names them all."""


def find_silence(
    state: MonitorState,
    alerts: dict[tuple[str | None, Kind], Alert],
    bucket: int,
    at: float,
    rules: Rules,
    heard: Iterable[str],
    listening_since: float,
) -> list[Transition]:
    """Resolves the silence of streams with new input, and raises it for regular streams that fell silent.

    Args:
        state: holds when each stream last had input, and how regular it is.
        alerts: the firing alerts, by ``(stream, kind)``; changed in place.
        bucket: the id of the last bucket.
        at: the time now, in seconds, on the clock of the buckets' ends.
        rules: give :attr:`AlertRules.silence_after` and the streams that are not watched.
        heard: the streams with input in this bucket.
        listening_since: since when, in seconds, every record that was sent has been read in time.

    Returns:
        The changes: resolved alerts first, then raised ones.
    """
    look = _Look(state, alerts, bucket, at, rules)
    look.find(heard, listening_since)
    return look.changes


class _Look:
    """The working copy of one search."""

    def __init__(
        self, state: MonitorState, alerts: dict[tuple[str | None, Kind], Alert], bucket: int, at: float, rules: Rules
    ) -> None:
        self.state, self.alerts, self.bucket, self.at, self.rules = state, alerts, bucket, at, rules
        self.changes: list[Transition] = []

    def find(self, heard: Iterable[str], listening_since: float) -> None:
        for stream in heard:
            alert = self.alerts.pop((stream, "silence"), None)
            if alert is not None:
                self._say("resolved", alert)
        late = self._late(listening_since)
        together = self.alerts.get((None, "silence"))
        if together is not None:
            # Input alone ends silence: a process that has only begun to listen takes it for no end.
            if len(self._late(-math.inf)) > min(TOGETHER, together.samples / 2):
                return
            del self.alerts[None, "silence"]
            self._say("resolved", together)
        fresh = [s for s in late if (s, "silence") not in self.alerts]
        if len(fresh) > TOGETHER or (len(fresh) > 1 and len(late) == self._regular()):
            since = min(self._heard_at(s) for s in fresh)
            alert = self._silent(None, since)
            self._raise(replace(alert, streams=tuple(fresh[:20]), samples=float(len(fresh))))
        else:
            for stream in fresh:
                self._raise(self._silent(stream, self._heard_at(stream)))

    def _late(self, listening_since: float) -> list[str]:
        """The regular streams without input for too long, in order of name."""
        e, limit = self.state.evidence, self.rules.alerts.silence_after
        if math.isinf(limit) or listening_since > self.at:
            return []
        # A stream that often pauses is silent only after ten times its usual gap.
        patience = np.maximum(limit, 10 * e.gap)
        late = (np.maximum(e.seen_at, listening_since) + patience <= self.at) & (e.heard >= REGULAR_AFTER)
        if not late.any():
            return []
        unwatched = self.rules.unwatched
        rows = self.state.rows.items()
        return sorted(
            s for (s, label), row in rows if s is not None and label is None and late[row] and s not in unwatched
        )

    def _regular(self) -> int:
        """How many streams have regular input."""
        heard = self.state.evidence.heard
        return sum(
            s is not None and label is None and s not in self.rules.unwatched and heard[row] >= REGULAR_AFTER
            for (s, label), row in self.state.rows.items()
        )

    def _heard_at(self, stream: str) -> float:
        return float(self.state.evidence.seen_at[self.state.rows[stream, None]])

    def _silent(self, stream: str | None, since: float) -> Alert:
        return Alert(stream=stream, kind="silence", bucket=self.bucket, raised_at=self.at, onset_at=since)

    def _raise(self, alert: Alert) -> None:
        self.alerts[alert.stream, "silence"] = alert
        self._say("raised", alert)

    def _say(self, change: Change, alert: Alert) -> None:
        self.changes.append(Transition.of(change, alert, self.bucket, self.at))
