"""The types of judging: alerts to write, results of judged buckets, notices, and the health of the group."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Health:
    """The health of the group. Times are in milliseconds by the store's clock.

    Attributes:
        now_ms: time by the store's clock.
        pending: how many buckets hold counts and are not judged yet.
        streams: how many streams are known.
        workers: when each worker last reported, and the report (JSON), by name.
        mutes: how many mutes are in force.
        sums: ``late``, ``ahead``, ``overflow``, ``skipped`` since the beginning.
        times: when things last happened: ``pending_since`` (nothing pending has been judged since), ``folded_at``,
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
    """The new state of an alert. ``fields`` are text.

    With ``event`` False only the numbers change: there is no entry in the history, and nobody is woken.
    """

    fingerprint: str
    fields: Mapping[str, str]
    ttl_ms: int
    now_ms: int
    event: bool = True


@dataclass(frozen=True)
class Fold:
    """The changes of judging one bucket.

    ``bucket`` is ``None`` for changes that no bucket caused (silence). Then ``guard`` is a state entry that must still
    be as it was read, as ``(key, text)``, so that a retry does not write twice. ``remove`` are state entries to delete,
    ``marks`` are fields of the group's meta hash to set; an empty text stands for the store's time.
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
    """Starts the evidence afresh under other settings.

    Attributes:
        binding: name of the settings; ``settings`` are the settings themselves as JSON text.
        bucket_ms: the new width of a bucket.
        factor: the old width of a bucket divided by the new one.
        header: the header of the evidence as it was read. If it has changed since, nothing is done.
        alerts: the firing alerts in their resolved form.
    """

    binding: str
    settings: str
    bucket_ms: int
    factor: float
    header: str
    alerts: Iterable[AlertWrite] = ()


@dataclass(frozen=True)
class Notice:
    """An alert of the monitor about itself: it is blind, or it has missed something.

    Attributes:
        kind: ``stalled``: the monitor cannot tell whether inputs surge. ``gap``: records were lost before they were
            counted. ``bad-records``: too many records cannot be scored. ``streams``: the limit of streams is reached.
            ``epoch``: the evidence was started again. ``drift`` is only information: traffic differs from the
            artifact's calibration set.
        subject: what it is about, such as ``group``, ``redis`` or ``embeddings/3``. Kind and subject identify the
            alert.
        firing: False resolves the alert, or does nothing if it is not firing. What is over keeps the severity and the
            summary that it fired with, and its details if no others are given.
        severity: ``warning`` or ``critical``; ``info`` if nobody needs to act now.
        summary: for people: what is wrong and what to do.
        details: further facts as text, by name.
    """

    kind: str
    subject: str
    firing: bool
    severity: str = "warning"
    summary: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self, group: str) -> str:
        """The identity of this notice in its group, the same for every episode."""
        return hashlib.sha256(f"{group}\0notice\0{self.kind}\0{self.subject}".encode()).hexdigest()[:16]

    def fields(self) -> dict[str, str]:
        """The stored fields besides status and times. Fields that only alerts on inputs have are empty."""
        empty = dict.fromkeys(("level", "stream", "evidence", "evidence_needed", "samples", "flagged", "bucket"), "")
        rates = {"rate": "", "rate_low": "", "rate_high": "", "artifact": ""}
        lists = {"classes": "[]", "streams": "[]", "examples": "[]", "offsets": "{}"}
        about = {"kind": self.kind, "subject": self.subject, "severity": self.severity, "summary": self.summary}
        return {**empty, **rates, **lists, **about, "details": json.dumps(dict(self.details), sort_keys=True)}
