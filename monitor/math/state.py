"""What the evaluator is told and what it carries: rules, closed buckets and the state between them.

Keys are a stream as a whole, a predicted class of a stream, and everything together. A *stream* is what alerts: its
evidence as a whole, or of one of its classes, raises the stream's one alert, and later findings update that alert
instead of raising another. Everything together counts the streams without an alert of their own, so that it raises
for a surge too thin to show in any one of them. A resolved or raised alert starts its evidence again at nothing.
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
"""``(stream, class)``; ``(stream, None)`` the stream as a whole; ``(None, None)`` everything."""

EVERYTHING: Key = (None, None)


@dataclass(frozen=True)
class Bucket:
    """The counts of a closed span of time.

    Attributes:
        id: rises from one bucket to the next; gaps are buckets without input.
        start: in seconds (any epoch, the same for all).
        end: in seconds.
        counts: ``(stream, predicted class)`` to the samples in each cell, the most OOD cell first; with several
            experts, the cells of one expert after those of the other.
    """

    id: int
    start: float
    end: float
    counts: Mapping[tuple[str, int], Sequence[int]]


@dataclass(frozen=True)
class Rules:
    """Everything the fold needs to know besides counts.

    Attributes:
        budget: false alerts that are affordable.
        nulls: cell masses of ID traffic, of all classes together; the same for every expert, as they are calibrated on
            the same samples.
        class_nulls: the same of single predicted classes, for every expert or one for each. Only these classes can
            raise by themselves: pooled masses are no bound for a class that is flagged more often than the others. The
            rest take part in naming the classes that surged.
        alerts: resolve, severity, silence.
        flag_cells: cells of an expert below this count as flagged: 5 for a threshold at p = .05 with the default cell
            edges.
        contaminations: shares of OOD input that are bet on.
        unwatched: streams whose silence means nothing.
        experts: their names, in the order in which their cells lie.
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
        # The margin guards against a wrong raise; a wrong resolve does not depend on the nulls at all.
        object.__setattr__(self, "resolve_tables", plain)
        object.__setattr__(self, "table_of", {k: i + 1 for i, k in enumerate(sorted(self.class_nulls))})

    @property
    def cells(self) -> int:
        """How many cells a sample can fall in, of one expert."""
        return len(self.nulls.steps)

    @property
    def all_cells(self) -> int:
        """How many cells there are, those of all experts."""
        return len(self.experts) * self.cells

    @property
    def columns(self) -> int:
        """How many columns the evidence of a key has."""
        return len(self.experts) * len(self.contaminations)

    def counts_of(self, expert: int, counts: Ints) -> Ints:
        """The (..., cells) counts of one expert among (..., all_cells)."""
        return np.asarray(counts[..., part(expert, self.cells)])

    def columns_of(self, expert: int) -> slice:
        """Where the evidence of one expert lies."""
        return part(expert, len(self.contaminations))

    def resolve_bets(self, alert: Alert, labels: Sequence[int | None] = (None,)) -> Floats:
        """(labels, cells) log bets that the alert is resolved by, of its expert."""
        tables = [0 if label is None else self.table_of.get(label, 0) for label in labels]
        return np.asarray(self.resolve_tables[tables, alert.expert, alert.bet])

    def nulls_of(self, label: int | None = None, expert: int = 0) -> Nulls:
        """The cell masses of ID traffic, of a class or of all, in the cells of one expert."""
        found = self.nulls if label is None else self.class_nulls.get(label, self.nulls)
        return found[expert] if isinstance(found, tuple) else found

    def null_rate(self, label: int | None = None, expert: int = 0) -> float:
        """The largest flag rate that counts as ID, of a class or of all, by the threshold of one expert."""
        return self.nulls_of(label, expert).steps[self.flag_cells - 1]

    def log_threshold(self, key: Key) -> float:
        """``log A`` of a key; inf if it may not raise."""
        stream, label = key
        if label is not None:
            return math.log(self.budget.threshold("class")) if label in self.class_nulls else math.inf
        return math.log(self.budget.threshold("everything" if stream is None else "stream"))


@dataclass(frozen=True)
class MonitorState:
    """What is known after a bucket. Never changed in place; rows of :attr:`evidence` only grow.

    Attributes:
        rows: key to its row of :attr:`evidence`; everything together is row 0.
        evidence: of every key.
        alerts: those that fire, by stream (None: everything) and kind.
        samples: of each level, inputs folded while it could raise: what the budget has been spent on.
        raises: OOD alerts raised so far.
        last_bucket: the last one folded, None before the first.
        last_end: its end, in seconds.
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
        """Nothing seen."""
        return cls({EVERYTHING: 0}, Evidence.empty(1, rules.columns), {}, dict.fromkeys(LEVELS, 0))

    def log_evidence(self, key: Key) -> float:
        """``log mean_c M_c`` of a key now; compare with :meth:`Rules.log_threshold`."""
        return float(ev.taken(self.evidence, np.array([self.rows[key]])).log_mean()[0])

    def rows_of(self, stream: str) -> list[int]:
        """All rows of a stream, its classes included."""
        return [row for (name, _), row in self.rows.items() if name == stream]

    def without(self, streams: Collection[str]) -> MonitorState:
        """The same with ``streams`` forgotten, their alerts included: for streams that will not come back."""
        kept = [key for key in self.rows if key[0] not in streams or key[0] is None]
        return replace(
            self,
            rows={key: i for i, key in enumerate(kept)},
            evidence=ev.taken(self.evidence, np.array([self.rows[key] for key in kept])),
            alerts={k: a for k, a in self.alerts.items() if k[0] not in streams},
        )
