"""The data of judging: the rules, closed buckets, and the state that is kept between them.

Evidence is kept for keys: a stream as a whole, a predicted class of a stream, and everything together. Alerts are about
*streams*. The evidence of the stream as a whole, or of one of its classes, raises the stream's one alert, and later
findings update that alert instead of raising another. Everything together counts the streams without an alert of their
own, so that it raises for a surge that is too thin to show in any one of them. When an alert is raised or resolved, its
evidence starts again from none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from monitor.math import evidence as ev
from monitor.math import lifecycle as lc
from monitor.math.budget import LEVELS, Budget, Level
from monitor.math.evidence import CONTAMINATIONS, Evidence
from monitor.math.experts import Floats, Ints, part, side_by_side
from monitor.math.lifecycle import Alert, AlertRules
from monitor.math.nulls import Nulls

Key = tuple[str | None, int | None]
"""``(stream, class)``; ``(stream, None)`` is the stream as a whole; ``(None, None)`` is everything together."""

EVERYTHING: Key = (None, None)


@dataclass(frozen=True)
class Bucket:
    """The counts of a closed span of time.

    Attributes:
        id: rises from one bucket to the next; missing ids are buckets without input.
        start: in seconds (any epoch, the same for all).
        end: in seconds.
        counts: for each ``(stream, predicted class)`` the samples in each cell, the most OOD cell first; with several
            experts, the cells of one expert after those of the other.
    """

    id: int
    start: float
    end: float
    counts: Mapping[tuple[str, int], Sequence[int]]


@dataclass(frozen=True)
class Rules:
    """The settings of the fold: everything that it needs besides counts.

    Attributes:
        budget: how many false alerts are affordable.
        nulls: the cell masses of ID traffic, over all classes; the same for every expert, since they are calibrated on
            the same samples.
        class_nulls: the masses of single predicted classes, for every expert or one for each. Only these classes can
            raise by themselves, since pooled masses do not bound those of a class that is flagged more often than the
            others. The other classes are only named among those that surged.
        alerts: the rules of resolving, severity and silence.
        flag_cells: samples in an expert's cells below this are flagged: 5 for a threshold at p = .05 with the default
            edges.
        contaminations: the shares of OOD inputs that are bet on.
        unwatched: streams whose silence raises no alert.
        experts: the experts' names, in the order of their cells.
    """

    budget: Budget
    nulls: Nulls
    class_nulls: Mapping[int, Nulls | tuple[Nulls, ...]] = field(default_factory=dict)
    alerts: AlertRules = field(default_factory=AlertRules)
    flag_cells: int = 5
    contaminations: tuple[float, ...] = CONTAMINATIONS
    unwatched: Collection[str] = ()
    experts: tuple[str, ...] = ("line",)
    tables: Floats = field(init=False, repr=False, compare=False)
    resolve_tables: Floats = field(init=False, repr=False, compare=False)  # (tables, experts, contaminations, cells)
    table_of: Mapping[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.flag_cells < self.cells:
            raise ValueError(f"flag_cells {self.flag_cells} given, expected 1 to {self.cells - 1}")
        if not self.experts:
            raise ValueError("no expert given, expected at least one")
        every = [[self.nulls_of(k, e) for e in range(len(self.experts))] for k in (None, *sorted(self.class_nulls))]
        if any(len(n.steps) != self.cells for each in every for n in each):
            raise ValueError(
                f"class nulls of other than {self.cells} cells given, expected the cells of the pooled ones"
            )
        bets = [[ev.log_bets(n, self.contaminations) for n in each] for each in every]
        plain = np.stack([[ev.log_bets(replace(n, margin=1.0), self.contaminations) for n in each] for each in every])
        object.__setattr__(self, "tables", np.stack([side_by_side(each) for each in bets]))
        # The margin protects against a false raise. A false resolve does not depend on the nulls.
        object.__setattr__(self, "resolve_tables", plain)
        object.__setattr__(self, "table_of", {k: i + 1 for i, k in enumerate(sorted(self.class_nulls))})

    @property
    def cells(self) -> int:
        """How many cells one expert has."""
        return len(self.nulls.steps)

    @property
    def all_cells(self) -> int:
        """How many cells all experts have together."""
        return len(self.experts) * self.cells

    @property
    def columns(self) -> int:
        """How many columns the evidence of a key has."""
        return len(self.experts) * len(self.contaminations)

    def counts_of(self, expert: int, counts: Ints) -> Ints:
        """The counts (..., cells) of one expert among (..., all_cells)."""
        return np.asarray(counts[..., part(expert, self.cells)])

    def columns_of(self, expert: int) -> slice:
        """The slice of one expert's columns in the evidence."""
        return part(expert, len(self.contaminations))

    def resolve_bets(self, alert: Alert, labels: Sequence[int | None] = (None,)) -> Floats:
        """The log bets (labels, cells) of an alert's expert with which the alert is resolved."""
        tables = [0 if label is None else self.table_of.get(label, 0) for label in labels]
        return np.asarray(self.resolve_tables[tables, alert.expert, alert.bet])

    def nulls_of(self, label: int | None = None, expert: int = 0) -> Nulls:
        """The cell masses of ID traffic in the cells of one expert, for a class or for all classes."""
        found = self.nulls if label is None else self.class_nulls.get(label, self.nulls)
        return found[expert] if isinstance(found, tuple) else found

    def null_rate(self, label: int | None = None, expert: int = 0) -> float:
        """The largest flag rate that counts as ID at the threshold of one expert, for a class or for all classes."""
        return self.nulls_of(label, expert).steps[self.flag_cells - 1]

    def log_threshold(self, key: Key) -> float:
        """The threshold ``log A`` of a key; inf if it may not raise."""
        stream, label = key
        if label is not None:
            return math.log(self.budget.threshold("class")) if label in self.class_nulls else math.inf
        return math.log(self.budget.threshold("everything" if stream is None else "stream"))


@dataclass(frozen=True)
class MonitorState:
    """The state after a bucket. It never changes in place, and rows of :attr:`evidence` are only added.

    Attributes:
        rows: the row of :attr:`evidence` for each key; everything together is row 0.
        evidence: the evidence of every key.
        alerts: the firing alerts, by stream (None: everything together) and kind.
        samples: for each level, how many inputs were folded while it could raise; these have spent the budget.
        raises: how many surge alerts were raised so far.
        last_bucket: the id of the last folded bucket, None before the first.
        last_end: the end of that bucket, in seconds.
    """

    rows: Mapping[Key, int]
    evidence: Evidence
    alerts: Mapping[tuple[str | None, lc.Kind], Alert]
    samples: Mapping[Level, int]
    raises: int = 0
    last_bucket: int | None = None
    last_end: float = -math.inf

    @classmethod
    def new(cls, rules: Rules) -> MonitorState:
        """The state before the first bucket."""
        return cls({EVERYTHING: 0}, Evidence.empty(1, rules.columns), {}, dict.fromkeys(LEVELS, 0))

    def log_evidence(self, key: Key) -> float:
        """``log mean_c M_c`` of a key now, to compare with :meth:`Rules.log_threshold`."""
        return float(ev.taken(self.evidence, np.array([self.rows[key]])).log_mean()[0])

    def rows_of(self, stream: str) -> list[int]:
        """The rows of a stream, its classes included."""
        return [row for (name, _), row in self.rows.items() if name == stream]

    def without(self, streams: Collection[str]) -> MonitorState:
        """The state without ``streams`` and their alerts, for streams that will not come back."""
        kept = [key for key in self.rows if key[0] not in streams or key[0] is None]
        return replace(
            self,
            rows={key: i for i, key in enumerate(kept)},
            evidence=ev.taken(self.evidence, np.array([self.rows[key] for key in kept])),
            alerts={k: a for k, a in self.alerts.items() if k[0] not in streams},
        )
