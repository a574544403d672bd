"""The life of an alert from raise to resolve, as pure functions. Each surge has one raise and one resolve.

While an alert fires, a downward CUSUM tests whether its inputs look like ID traffic again. Its alternative is a bet on
a share c of OOD inputs that the raise supports: ``S <- max(0, S - sum_k count_k log e_c(k))``. The alert resolves at
``S >= log B``.

**Guarantee.** While ``E[1 / e_c] <= 1``, the mean time to a (wrong) resolve is at least B samples (Lorden 1971: each
return of S to 0 starts a test whose likelihood ratio reaches B with probability at most 1 / B). That holds for every
score distribution whose flag rate is at least :func:`held_rate`, and for far lower rates if the scores are further out
than the threshold. It needs no calibration, since it is about the surge and not about ID traffic.

Silence is an alert of its own. Without samples S does not change, so silence never resolves an alert.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from monitor.math.evidence import CONTAMINATIONS, FLAGGED, SAMPLES, SECONDS, Evidence
from monitor.math.experts import Floats, Ints, part
from monitor.math.intervals import interval

Kind = Literal["ood", "silence"]
Change = Literal["raised", "updated", "resolved"]
Severity = Literal["warning", "critical"]


@dataclass(frozen=True)
class AlertRules:
    """The rules of an alert's resolve, its severity and its silence.

    Attributes:
        resolve_after: B, the least mean number of samples to a wrong resolve while the surge lasts; more than 1.
        resolve_contamination: the (least, most) share c of OOD inputs that the resolve is tested against. A small share
            keeps weak surges firing, and takes about ``log B / c^2`` samples to resolve.
        critical_rate: severity is critical once the flag rate is above this with confidence :attr:`confidence`.
        confidence: the confidence level of the intervals.
        silence_after: after how many seconds without input a regular stream raises an alert; inf for never.
    """

    resolve_after: float = 100_000.0
    resolve_contamination: tuple[float, float] = (0.05, 0.2)
    critical_rate: float = 0.25
    confidence: float = 0.95
    silence_after: float = 300.0

    def __post_init__(self) -> None:
        if not self.resolve_after > 1:
            raise ValueError(f"resolve_after {self.resolve_after} given, expected more than 1 sample")
        low, high = self.resolve_contamination
        if not 0 < low <= high <= 1:
            raise ValueError(f"resolve_contamination {(low, high)} given, expected two rising shares up to 1")
        if not (0 < self.critical_rate <= 1 and 0 < self.confidence < 1):
            raise ValueError("critical_rate and confidence are shares between 0 and 1")
        if not self.silence_after > 0:
            raise ValueError(f"silence_after {self.silence_after} given, expected seconds, or inf for never")


@dataclass(frozen=True)
class Alert:
    """One firing alert. All of its values are plain numbers, strings or tuples of them.

    Attributes:
        stream: the stream, or None for everything together.
        kind: ``ood`` or ``silence``.
        bucket: the bucket that raised it; ``stream, kind, bucket`` identify the alert.
        raised_at: the end of that bucket, in seconds.
        onset_at: the estimated begin of the surge (:meth:`Evidence.since_change`), or of the silence, in seconds.
        log_evidence: the natural logarithm of the evidence that raised it.
        scope: the predicted classes whose own evidence raised it, if the stream's as a whole did not; empty for the
            whole.
        classes: the predicted classes that have surged so far, in rising order.
        streams: for everything together, the streams that surged by their own evidence.
        samples: inputs since the onset; up to the raise this is their expectation under the posterior.
        flagged: how many of :attr:`samples` are flagged by :attr:`expert`.
        bet: index of the contamination that the resolve is tested with.
        cusum: S; the alert resolves at ``log B``.
        severity: only ever rises while the alert fires.
        by_class: ``(class, samples, flagged)`` since the onset, of the classes of this stream.
        expert: the expert with most of the evidence at the raise. The alert's rate, classes, severity and resolve use
            that expert's cells alone.
    """

    stream: str | None
    kind: Kind
    bucket: int
    raised_at: float
    onset_at: float
    log_evidence: float = 0.0
    scope: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()
    streams: tuple[str, ...] = ()
    samples: float = 0.0
    flagged: float = 0.0
    bet: int = 0
    cusum: float = 0.0
    severity: Severity = "warning"
    by_class: tuple[tuple[int, float, float], ...] = ()
    expert: int = 0

    @property
    def identity(self) -> str:
        """Stream, kind and bucket, which are the same if a raise is folded again after a crash."""
        return f"{self.kind}:{self.bucket}:{'' if self.stream is None else self.stream}"

    @property
    def rate(self) -> float:
        """The flag rate since the onset."""
        return self.flagged / self.samples if self.samples else 0.0


def plain(alert: Alert) -> dict[str, Any]:
    """The alert as plain values by name. The first expert is left out, as in alerts of a single expert."""
    values = asdict(alert)
    if not alert.expert:
        del values["expert"]
    return values


@dataclass(frozen=True)
class Transition:
    """One change of an alert in one bucket.

    Attributes:
        change: ``raised``, ``updated`` (severity, scope, classes or streams changed) or ``resolved``.
        alert: the alert after the change.
        bucket: the bucket in which it happened.
        at: the end of that bucket, in seconds.
    """

    change: Change
    alert: Alert
    bucket: int
    at: float

    @classmethod
    def of(cls, change: Change, alert: Alert, bucket: int, at: float) -> Transition:
        """A change at ``at``, or when the alert was raised if that is later.

        So an alert never ends before it begins, even if the clock of the last bucket was behind.
        """
        return cls(change, alert, bucket, max(at, alert.raised_at))

    @property
    def event(self) -> str:
        """The name of the event. It is unique, and the same if the fold is repeated, so a store can drop repeats."""
        return f"{self.alert.identity}:{self.change}:{self.bucket}"


def held_rate(log_bet: Floats, flag_cells: int) -> float:
    """The flag rate from which the resolve guarantee holds for any scores within the flagged and the other cells.

    ``1 / e_c`` rises with the cell. In the worst case, all flagged inputs are in the last flagged cell and all others
    in the last cell.

    Args:
        log_bet: (cells,) ``log e_c`` of the alert's bet.
        flag_cells: cells below this count as flagged.
    """
    flagged, other = math.exp(-log_bet[flag_cells - 1]), math.exp(-log_bet[-1])
    return 1.0 if flagged >= 1 else max(0.0, (other - 1) / (other - flagged))


def raised(
    evidence: Evidence,
    key: int,
    *,
    stream: str | None,
    scope: tuple[int, ...],
    bucket: int,
    at: float,
    rules: AlertRules,
    contaminations: Sequence[float] = CONTAMINATIONS,
    experts: int = 1,
) -> Alert:
    """Makes the alert that the evidence of ``key`` raises, before that evidence is reset."""
    expert = evidence.leader(key, experts)
    own = part(expert, len(contaminations))
    weights, since = evidence.weights(key, own), evidence.since_change(key, own)
    least, most = rules.resolve_contamination
    believed = min(max(float(weights @ np.array(contaminations)) / 2, least), most)
    # Halved, since the evidence at a raise overstates the share, and too high a bet would resolve a weak surge too
    # soon. The largest contamination not above that is taken.
    bet = max((i for i, c in enumerate(contaminations) if c <= believed * (1 + 1e-9)), default=0)
    return Alert(
        stream=stream,
        kind="ood",
        bucket=bucket,
        raised_at=at,
        onset_at=at - float(since[SECONDS]),
        log_evidence=float(evidence.log_mean()[key]),
        scope=scope,
        classes=scope,
        samples=float(since[SAMPLES]),
        flagged=float(since[FLAGGED]),
        bet=bet,
        expert=expert,
    )


def advanced(alert: Alert, counts: Ints, log_bet: Floats, flag_cells: int) -> Alert:
    """The alert after one more bucket while it fires.

    Args:
        alert: the alert before.
        counts: (rows, cells) the samples within its scope, in the cells of the alert's expert; without samples, no
            rows.
        log_bet: (rows, cells) ``log e_c`` of the alert's bet for each row.
        flag_cells: cells below this count as flagged.
    """
    if not counts.size:
        return alert
    return replace(
        alert,
        cusum=max(0.0, alert.cusum - float((counts * log_bet).sum())),
        samples=alert.samples + int(counts.sum()),
        flagged=alert.flagged + int(counts[:, :flag_cells].sum()),
    )


def is_over(alert: Alert, rules: AlertRules) -> bool:
    """Whether the downward CUSUM has reached ``log B``."""
    return alert.kind == "ood" and alert.cusum >= math.log(rules.resolve_after)


def graded(alert: Alert, rules: AlertRules) -> Alert:
    """The alert with the severity that its rate supports, which is never lower than before."""
    if alert.severity == "critical" or alert.rate <= rules.critical_rate:
        return alert
    low, _ = interval(alert.samples, alert.flagged, rules.confidence)
    return replace(alert, severity="critical") if low > rules.critical_rate else alert


def attributed(alert: Alert, null_rates: Sequence[float], rules: AlertRules) -> Alert:
    """The alert with the classes whose flag rate since the onset is above their ID rate, tested together.

    Args:
        alert: the alert with a current :attr:`Alert.by_class`.
        null_rates: the ID flag rate of each class in :attr:`Alert.by_class`, in the same order.
        rules: give the confidence, which is shared among the classes.
    """
    found = set(alert.classes)
    each = 1 - 2 * (1 - rules.confidence) / max(1, len(alert.by_class))  # one-sided, Bonferroni
    for (label, samples, flagged), rate in zip(alert.by_class, null_rates, strict=True):
        if label not in found and flagged > rate * samples and interval(samples, flagged, each)[0] > rate:
            found.add(label)
    return alert if len(found) == len(alert.classes) else replace(alert, classes=tuple(sorted(found)))


def is_news(before: Alert, after: Alert) -> bool:
    """Whether people should be notified of the difference."""
    return (before.severity, before.scope, before.classes, before.streams) != (
        after.severity,
        after.scope,
        after.classes,
        after.streams,
    )
