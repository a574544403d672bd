"""What became of the counts and of the alerts of one scenario, held against what was promised."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.chaos.faults import Fault
from tests.chaos.load import Load, Surge
from tests.chaos.receiver import Told
from tests.chaos.stage import Ended
from tests.cluster import differences

WITHIN_SECONDS = 10.0
"""How soon a surge must be told if nothing goes wrong."""
NOTICES = ("stalled", "gap", "bad-records", "streams", "epoch")
"""Kinds of alerts that the monitor raises about itself."""


@dataclass
class Times:
    """Of one scenario, Unix seconds. ``recovered`` is 0 if the workers never caught up."""

    injected: float = 0.0
    healed: float = 0.0
    recovered: float = 0.0


@dataclass
class Outcome:
    """One row of the table."""

    fault: str
    about: str
    lost: int = 0
    counted_twice: int = 0
    false: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    resolved_early: list[str] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    recovered_seconds: float | None = None
    ended: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    records: int = 0
    surges: int = 0
    broken: list[str] = field(default_factory=list)


class Judge:
    """Judges by what the receiver behind Alertmanager was told, and by a recount of the topic.

    Args:
        fault: what went wrong.
        times: when.
        load: what was sent.
        told: what arrived at the receiver for this group.
    """

    def __init__(self, fault: Fault, times: Times, load: Load, told: list[Told]) -> None:
        self._fault, self._times, self._load = fault, times, load
        self._told = sorted(told, key=lambda t: t.at)

    # -- surges ----------------------------------------------------------------------------------------------------

    def first_told(self, surge: Surge) -> float | None:
        """When the receiver heard of a surge; its beginning if its stream was still firing then."""
        if not surge.first:
            return None
        before = [t for t in self._told if t.kind == "ood" and t.stream == surge.stream and t.at < surge.first]
        if before and before[-1].status == "firing":
            return surge.first
        for t in self._told:
            if t.kind != "ood" or t.status != "firing" or t.at < surge.first:
                continue
            if t.stream == surge.stream or (t.stream is None and _seconds(t.starts_at) >= surge.begin - 2):
                return t.at
        return None

    def all_told(self) -> bool:
        """Whether every surge so far was told."""
        return all(self.first_told(s) is not None for s in self._load.surges)

    def due(self, surge: Surge) -> float:
        """By when a surge must be told."""
        t, fault = self._times, self._fault
        ended = t.healed or float("inf")
        if (surge.end and surge.end < t.injected) or surge.first > ended + fault.allowance:
            return surge.first + WITHIN_SECONDS
        seen_from = max(surge.first, t.healed) if fault.blind else surge.first
        return seen_from + WITHIN_SECONDS + fault.allowance

    def _false(self) -> list[str]:
        """Alerts on inputs that no surge explains."""
        found = {}
        for t in self._told:
            if t.status != "firing" or t.kind not in ("ood", "silence"):
                continue
            about = f"{t.kind} of {t.stream or 'all streams together'}"
            if t.kind == "silence":
                if t.stream in self._load.names():
                    found[about, t.starts_at] = f"{about} at {t.at - self._times.injected:+.1f} s"
                continue
            surges = [s for s in self._load.surges if t.stream in (None, s.stream)]
            if not any(s.begin <= t.at <= max(s.end, self.due(s)) + 30 for s in surges):
                found[about, t.starts_at] = f"{about} at {t.at - self._times.injected:+.1f} s"
        return list(found.values())

    def _resolved_early(self) -> list[str]:
        """Surges that people were told are over while they went on."""
        return [
            f"{s.stream} {s.end - t.at:.1f} s before its end"
            for s in self._load.surges
            for t in self._told
            if t.kind == "ood"
            and t.stream == s.stream
            and t.status == "resolved"
            and (self.first_told(s) or s.end) < t.at < s.end - 1
        ]

    def _notices(self) -> list[str]:
        found = {}
        for t in self._told:
            if t.kind in NOTICES and t.status == "firing":
                subject = t.labels.get("subject", "")
                found.setdefault((t.kind, subject), f"{t.kind} {subject} at {t.at - self._times.injected:+.1f} s")
        return list(found.values())

    # -- everything ------------------------------------------------------------------------------------------------

    def outcome(
        self, counted: dict[Any, int], recounted: dict[Any, int], lost_on_purpose: int, ended: list[Ended]
    ) -> Outcome:
        """The verdict."""
        out = Outcome(self._fault.name, self._fault.about)
        out.lost, out.counted_twice = self._differences(counted, recounted, lost_on_purpose)
        out.records, out.surges = sum(recounted.values()), len(self._load.surges)
        for s in self._load.surges:
            at = self.first_told(s)
            if at is None:
                out.missed.append(s.stream)
                continue
            if at > s.first:
                out.delays.append(round(at - s.first, 2))
            if at > self.due(s):
                out.late.append(f"{s.stream} {at - self.due(s):.1f} s too late")
        out.false, out.resolved_early, out.notices = self._false(), self._resolved_early(), self._notices()
        out.ended = [f"{e.code}: {e.line}" for e in ended]
        if self._times.recovered:
            out.recovered_seconds = round(max(0.0, self._times.recovered - self._times.healed), 1)
        out.broken = self._broken(out)
        return out

    def _differences(self, counted: dict[Any, int], recounted: dict[Any, int], on_purpose: int) -> tuple[int, int]:
        if self._fault.by_cell and not on_purpose:
            return differences(counted, recounted)
        gap = sum(counted.values()) - (sum(recounted.values()) - on_purpose)
        return max(0, -gap), max(0, gap)

    def _broken(self, out: Outcome) -> list[str]:
        """The promises that were broken, in words."""
        kinds = {n.split()[0] for n in out.notices}
        tests = [
            (out.lost, f"{out.lost} samples were lost"),
            (out.counted_twice, f"{out.counted_twice} samples were counted twice"),
            (out.false, f"false alerts: {', '.join(out.false)}"),
            (out.missed, f"nobody was told of a surge of {', '.join(out.missed)}"),
            (out.late, f"told too late: {', '.join(out.late)}"),
            (out.resolved_early, f"told that it is over too early: {', '.join(out.resolved_early)}"),
            (out.recovered_seconds is None, "the workers never caught up"),
            (out.ended and not self._fault.may_end, f"workers ended by themselves: {', '.join(out.ended[:3])}"),
            (
                self._fault.must_tell and not kinds & set(self._fault.must_tell),
                f"nobody was told of a {' or '.join(self._fault.must_tell)}",
            ),
        ]
        return [text for broken, text in tests if broken]


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
