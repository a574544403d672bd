"""An alert from raise to resolve: pure transitions, one raise and one resolve a surge.

While an alert fires, a downward CUSUM asks whether its inputs look like ID traffic again. Its alternative is a bet
that the raise supports, a share c of OOD input: ``S <- max(0, S - sum_k count_k log e_c(k))``; it resolves at
``S >= log B``.

**Guarantee.** While ``E[1 / e_c] <= 1``, the mean time to a (wrong) resolve is at least B samples (Lorden 1971: each
return of S to 0 starts a test whose likelihood ratio reaches B with probability at most 1 / B). That holds for every
score distribution whose flag rate is at least :func:`held_rate`, and far below it for scores that are further out than
the threshold. It needs no calibration: it speaks of the surge, not of ID traffic.

Silence is an alert of its own. Without samples S stands still, so silence never resolves anything.
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
    """How an alert lives once it is raised.

    Attributes:
        resolve_after: B, mean samples to a wrong resolve, at least, while the surge lasts; more than 1.
        resolve_contamination: (least, most) share c of OOD input that the resolve is tested against. Small: holds on to
            weak surges, and takes about ``log B / c^2`` samples to resolve.
        critical_rate: severity is critical once the flag rate is above this with confidence :attr:`confidence`.
        confidence: level of the intervals.
        silence_after: seconds without input from a regular stream until that is an alert; inf for never.
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
    """One alert that fires. Everything in it is a plain number, string or tuple of them.

    Attributes:
        stream: the stream, or None for everything together.
        kind: ``ood`` or ``silence``.
        bucket: the bucket that raised it; ``stream, kind, bucket`` identify the alert.
        raised_at: end of that bucket, in seconds.
        onset_at: estimated begin of the surge (:meth:`Evidence.since_change`), or of the silence, in seconds.
        log_evidence: natural logarithm of the evidence that raised it.
        scope: predicted classes whose own evidence raised it while the stream as a whole had none; empty: the whole.
        classes: predicted classes seen to have surged so far, in rising order.
        streams: for everything together: streams seen to have surged by their own evidence.
        samples: inputs since the onset, up to the raise as expected under the posterior.
        flagged: flagged ones among :attr:`samples`, by the threshold of :attr:`expert`.
        bet: index into the contaminations that resolve is tested with.
        cusum: S, resolve at ``log B``.
        severity: only ever rises while the alert fires.
        by_class: ``(class, samples, flagged)`` since the onset, of the classes of this stream.
        expert: the one that held most of the evidence when it was raised. The alert follows that expert's cells alone:
            its rate, its classes, its severity and its resolve.
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
        """The same for a raise that is folded again after a crash: stream, kind and bucket."""
        return f"{self.kind}:{self.bucket}:{'' if self.stream is None else self.stream}"

    @property
    def rate(self) -> float:
        """Flag rate since the onset."""
        return self.flagged / self.samples if self.samples else 0.0


def plain(alert: Alert) -> dict[str, Any]:
    """The alert as plain values by name. The first expert is not named, as an alert of a single one never was."""
    values = asdict(alert)
    if not alert.expert:
        del values["expert"]
    return values


@dataclass(frozen=True)
class Transition:
    """What happened to an alert in one bucket.

    Attributes:
        change: ``raised``, ``updated`` (severity, scope, classes or streams changed) or ``resolved``.
        alert: after the change.
        bucket: the bucket it happened in.
        at: end of that bucket, in seconds.
    """

    change: Change
    alert: Alert
    bucket: int
    at: float

    @classmethod
    def of(cls, change: Change, alert: Alert, bucket: int, at: float) -> Transition:
        """A change at ``at``, or when the alert was raised if that is later.

        Nothing is over before it began, whatever clock the last bucket went by.
        """
        return cls(change, alert, bucket, max(at, alert.raised_at))

    @property
    def event(self) -> str:
        """Unique and repeatable: a store that has it may drop it."""
        return f"{self.alert.identity}:{self.change}:{self.bucket}"


def held_rate(log_bet: Floats, flag_cells: int) -> float:
    """p_hi: flag rate from which the resolve guarantee holds whatever the scores within flagged and other cells.

    ``1 / e_c`` rises with the cell, so the worst case has all flagged inputs in the last flagged cell and all others
    in the last cell of all.

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
    """The alert that the evidence of ``key`` has raised, before that evidence is reset."""
    expert = evidence.leader(key, experts)
    own = part(expert, len(contaminations))
    weights, since = evidence.weights(key, own), evidence.since_change(key, own)
    least, most = rules.resolve_contamination
    believed = min(max(float(weights @ np.array(contaminations)) / 2, least), most)
    # Halved, as what raised an alert overstates it: a bet too high lets go of a weak surge. The largest one not above.
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
    """One more bucket while the alert fires.

    Args:
        alert: as it was.
        counts: (rows, cells) the samples within its scope, in the cells of the alert's expert; no row for none.
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
    """The same alert with the severity that its rate supports; never lower than before."""
    if alert.severity == "critical" or alert.rate <= rules.critical_rate:
        return alert
    low, _ = interval(alert.samples, alert.flagged, rules.confidence)
    return replace(alert, severity="critical") if low > rules.critical_rate else alert


def attributed(alert: Alert, null_rates: Sequence[float], rules: AlertRules) -> Alert:
    """The same alert with the classes whose flag rate since the onset lies above their ID rate, all classes together.

    Args:
        alert: with :attr:`Alert.by_class` up to date.
        null_rates: the ID flag rate of each class in :attr:`Alert.by_class`, same order.
        rules: their confidence, shared among the classes.
    """
    found = set(alert.classes)
    each = 1 - 2 * (1 - rules.confidence) / max(1, len(alert.by_class))  # one-sided, Bonferroni
    for (label, samples, flagged), rate in zip(alert.by_class, null_rates, strict=True):
        if label not in found and flagged > rate * samples and interval(samples, flagged, each)[0] > rate:
            found.add(label)
    return alert if len(found) == len(alert.classes) else replace(alert, classes=tuple(sorted(found)))


def told(before: Alert | None, after: Alert) -> bool:
    """Whether people should hear of the difference."""
    if before is None:
        return True
    return (before.severity, before.scope, before.classes, before.streams) != (
        after.severity,
        after.scope,
        after.classes,
        after.streams,
    )
