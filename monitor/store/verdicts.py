"""What is judged and told: alerts as they are written, notices, and how the group is doing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Health:
    """How the group is doing, for whoever watches it; times in milliseconds by the store's clock.

    Attributes:
        now_ms: the store's clock.
        pending: buckets that hold counts and are not judged yet.
        streams: how many are known.
        workers: name to when it last reported and what it said (JSON).
        mutes: how many are in force.
        sums: ``late``, ``ahead``, ``overflow``, ``skipped`` since the beginning.
        times: of what happened so far: ``pending_since`` (nothing pending has been judged since), ``folded_at``,
            ``overflow_at``, ``canary_first``, ``canary_sent``, ``canary_seen``.
    """

    now_ms: int
    pending: int = 0
    streams: int = 0
    mutes: int = 0
    workers: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    sums: Mapping[str, int] = field(default_factory=dict)
    times: Mapping[str, int] = field(default_factory=dict)


SUMS = ("late", "ahead", "overflow", "skipped")


TIMES = ("pending_since", "folded_at", "overflow_at", "canary_first", "canary_sent", "canary_seen")


@dataclass(frozen=True)
class AlertWrite:
    """An alert's new state; ``fields`` are text, as they will be read.

    ``event`` False only refreshes the numbers: no entry in the history, no wake-up.
    """

    fingerprint: str
    fields: Mapping[str, str]
    ttl_ms: int
    now_ms: int
    event: bool = True


@dataclass(frozen=True)
class Fold:
    """What folding one bucket changed.

    ``bucket`` is ``None`` for what no bucket caused (silence); then ``guard`` is the state entry that must still hold
    what was read, as ``(key, text)``, so that a retry is no second transition. ``remove`` are state entries to delete,
    ``marks`` fields of the group's meta hash to set, an empty text meaning the store's clock.
    """

    token: int
    bucket: int | None
    folded: int
    state: Mapping[str, str]
    alerts: Iterable[AlertWrite] = ()
    streams: Iterable[str] = ()
    guard: tuple[str, str] | None = None
    remove: Iterable[str] = ()
    marks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Promotion:
    """A new start of the evidence under other settings.

    Attributes:
        binding: name of the settings, and ``settings`` themselves as JSON text.
        bucket_ms: the new width of a bucket.
        factor: old width of a bucket over the new one.
        header: the evidence's header as it was read; if it has changed since, nothing is done.
        alerts: those that fire, as they are resolved.
    """

    binding: str
    settings: str
    bucket_ms: int
    factor: float
    header: str
    alerts: Iterable[AlertWrite] = ()


@dataclass(frozen=True)
class Notice:
    """An alert of the monitor about itself: that it cannot see, or has missed something.

    Attributes:
        kind: ``stalled`` (it cannot tell whether inputs surge), ``gap`` (records were lost before they were counted),
            ``bad-records`` (too many records cannot be scored), ``streams`` (the limit of streams is reached) or
            ``epoch`` (the evidence was started afresh); ``drift`` is information (traffic is not what the artifact was
            calibrated on).
        subject: what it is about, such as ``group``, ``redis`` or ``embeddings/3``. Kind and subject are its identity.
        firing: False resolves it, or does nothing if it does not fire.
        severity: ``warning`` or ``critical``; ``info`` for what asks nobody to do something now.
        summary: one whole sentence for people, with what to do.
        details: names and values that are worth knowing, both text.
    """

    kind: str
    subject: str
    firing: bool
    severity: str = "warning"
    summary: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self, group: str) -> str:
        """The same for every episode of this notice in this group."""
        return hashlib.sha256(f"{group}\0notice\0{self.kind}\0{self.subject}".encode()).hexdigest()[:16]

    def fields(self) -> dict[str, str]:
        """What is kept of it, beside its status and times. Fields that only alerts on inputs have are empty."""
        empty = dict.fromkeys(("level", "stream", "evidence", "evidence_needed", "samples", "flagged", "bucket"), "")
        rates = {"rate": "", "rate_low": "", "rate_high": "", "artifact": ""}
        lists = {"classes": "[]", "streams": "[]", "examples": "[]", "offsets": "{}"}
        about = {"kind": self.kind, "subject": self.subject, "severity": self.severity, "summary": self.summary}
        return {**empty, **rates, **lists, **about, "details": json.dumps(dict(self.details), sort_keys=True)}
