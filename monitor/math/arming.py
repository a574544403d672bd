"""May the monitor be armed on past traffic: its rates, its order, the calibration, and what would have been raised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from monitor.math.budget import Budget
from monitor.math.experts import samples_of
from monitor.math.flag_order import FlagOrder
from monitor.math.fold import fold
from monitor.math.intervals import interval
from monitor.math.lifecycle import Transition
from monitor.math.nulls import ratios
from monitor.math.state import Bucket, Key, MonitorState, Rules

Counts = dict[Key, npt.NDArray[np.int64]]
"""Samples by cell, of each stream (label None) and of each predicted class of it."""


@dataclass(frozen=True)
class Rate:
    """Flag rate of a stream (``label`` None) or of one predicted class of it, against what counts as ID.

    Attributes:
        low, high: Clopper-Pearson interval of the rate, 95 %, which takes the samples as independent.
        allowed: the largest rate the calibration allows; of all classes together if the class has none of its own.
        bet: estimated mean of the bet on ID traffic less 1; above 0 it breaks the guarantee.
        bet_low: lower confidence bound of it, widened for autocorrelation, shared among all streams and classes.
        cells: samples in each cell, the most OOD first.
        expert: whose cells and threshold these are; empty if there is one expert only.
    """

    stream: str
    label: int | None
    samples: int
    flagged: int
    low: float
    high: float
    allowed: float
    bet: float
    bet_low: float
    cells: tuple[int, ...]
    expert: str = ""

    @property
    def rate(self) -> float:
        """Share of flagged samples."""
        return self.flagged / self.samples


@dataclass(frozen=True)
class Arming:
    """A replay, judged as ID traffic.

    Attributes:
        requests: samples replayed.
        rates: streams first, then their classes; each by every expert.
        order: flags in order, by stream; empty if it was not given. A sample is flagged if any expert flags it.
        transitions: what would have fired.
        budget: the budget it was judged with.
        quiet_requests: the least budget N at which nothing would have been raised; inf beyond 1e12.
        breaches: the rates that break the calibration.
        too_many: more alerts would have been raised than the budget makes probable on ID traffic.
        bursts: streams that come in bursts; thinned to 1 sample in so many a client, they would not.
        unarmed: classes without a calibration of their own that are flagged more often than all together may be.
    """

    requests: int
    rates: tuple[Rate, ...]
    order: Mapping[str, FlagOrder]
    transitions: tuple[Transition, ...]
    budget: Budget
    quiet_requests: float
    breaches: tuple[Rate, ...]
    too_many: bool
    bursts: Mapping[str, int]
    unarmed: tuple[Rate, ...]

    @property
    def arm(self) -> bool:
        """Whether the monitor may be armed."""
        return not self.breaches and not self.too_many

    @property
    def raised(self) -> int:
        """How many alerts would have been raised."""
        return _raised(self.transitions)

    @property
    def affordable(self) -> float:
        """False alerts that the budget allows in so many requests."""
        return self.requests / self.budget.requests

    @property
    def too_short(self) -> bool:
        """Whether alerts were raised in fewer requests than one budget, which says little."""
        return self.raised > 0 and self.requests < self.budget.requests

    @property
    def suggested_requests(self) -> float:
        """A budget to use: the one that keeps quiet, rounded up, and at least the one asked for."""
        return max(self.budget.requests, _rounded_up(self.quiet_requests))


def judge(
    buckets: Iterable[Bucket], rules: Rules, order: Mapping[str, FlagOrder] | None = None, *, risk: float = 0.01
) -> Arming:
    """Fold a bounded range through the evaluator's own code and judge it as ID traffic.

    Args:
        buckets: closed, in order.
        rules: those the monitor would be armed with.
        order: the flags in order, by stream, if they are known.
        risk: probability of refusing traffic that is in fact within the calibration, at most.
    """
    order = order or {}
    counts, transitions, quiet = _folded(buckets, rules)
    keys = sorted((k for k in counts if counts[k].sum()), key=lambda k: (k[1] is not None, k[0] or "", k[1] or 0))
    experts = range(len(rules.experts))
    each = risk / max(1, len(keys) * len(experts))
    rates = tuple(_rate(k, e, counts[k], rules, order, each) for k in keys for e in experts)
    requests = sum(int(samples_of(counts[k], rules.cells)) for k in keys if k[1] is None)
    over = [r for r in rates if r.bet_low > 0]
    raised, affordable = _raised(transitions), requests / rules.budget.requests
    return Arming(
        requests,
        rates,
        order,
        tuple(transitions),
        rules.budget,
        quiet,
        breaches=tuple(r for r in over if r.label is None or r.label in rules.class_nulls),
        # Markov: as many raises as this have probability affordable / raised at most on ID traffic.
        too_many=raised > 0 and affordable / raised < risk,
        bursts={stream: _apart(flags) for stream, flags in sorted(order.items()) if _is_bursty(flags)},
        unarmed=tuple(r for r in over if r.label is not None and r.label not in rules.class_nulls),
    )


def _folded(buckets: Iterable[Bucket], rules: Rules) -> tuple[Counts, list[Transition], float]:
    """Fold all buckets. Returns the counts, what would have fired, and the least budget at which nothing would have."""
    state = MonitorState.new(rules)
    # The same evidence with thresholds out of reach: how high it climbs is the budget that would have kept quiet.
    unreached = replace(rules, budget=replace(rules.budget, requests=1e280))
    shadow = MonitorState.new(unreached)
    counts: Counts = {}
    transitions: list[Transition] = []
    peak = 0.0
    for bucket in buckets:
        state, changes = fold(state, bucket, rules)
        transitions += changes
        shadow, _ = fold(shadow, bucket, unreached)
        peak = max(peak, _climb(shadow, rules))
        for (stream, label), row in bucket.counts.items():
            for key in ((stream, None), (stream, label)):
                counts[key] = counts.get(key, 0) + np.asarray(row, dtype=np.int64)
    return counts, transitions, math.exp(peak) if peak < math.log(1e12) else math.inf


def _climb(state: MonitorState, rules: Rules) -> float:
    """How far the evidence has climbed, in logs, on the scale of the budget's requests."""
    strength = state.evidence.log_mean()
    asked = math.log(rules.budget.requests)
    near = strength >= strength.max() - 20  # thresholds of the levels lie less than that apart
    over = [float(strength[row]) - rules.log_threshold(key) for key, row in state.rows.items() if near[row]]
    return max(over, default=-math.inf) + asked


def _rate(
    key: Key, expert: int, counts: npt.NDArray[np.int64], rules: Rules, order: Mapping[str, FlagOrder], risk: float
) -> Rate:
    stream, label = str(key[0]), key[1]
    nulls, cells = rules.nulls_of(label, expert), rules.counts_of(expert, counts)
    n, flagged = int(cells.sum()), int(cells[: rules.flag_cells].sum())
    pays = np.array(ratios(nulls.steps)) / nulls.margin
    mean = float(cells @ pays) / n
    spread = float(cells @ (pays - mean) ** 2) / n
    rho = min(0.99, max(0.0, order[stream].autocorrelation if stream in order else 0.0))
    error = math.sqrt(max(spread, 1.0 / n) / n * (1 + rho) / (1 - rho))
    low, high = interval(n, flagged)
    return Rate(
        stream,
        label,
        n,
        flagged,
        low,
        high,
        rules.null_rate(label, expert),
        mean - 1,
        mean - 1 - NormalDist().inv_cdf(1 - risk) * error,
        tuple(int(c) for c in cells),
        rules.experts[expert] if len(rules.experts) > 1 else "",
    )


def _raised(transitions: Sequence[Transition]) -> int:
    return sum(t.change == "raised" and t.alert.kind == "ood" for t in transitions)


def _is_bursty(flags: FlagOrder) -> bool:
    rho = flags.autocorrelation
    return rho > 0.05 and rho > 3 * flags.error


def _apart(flags: FlagOrder) -> int:
    """How far apart two samples must be so that the autocorrelation between them is 0.05 at most."""
    return max(2, math.ceil(math.log(0.05) / math.log(min(flags.autocorrelation, 0.95))))


def _rounded_up(x: float) -> float:
    """The next of 1, 2, 5, 10, 20, ..."""
    if not math.isfinite(x):
        return x
    base = 10.0 ** math.floor(math.log10(max(x, 1.0)))
    return next(base * f for f in (1, 2, 5, 10) if base * f >= x * (1 - 1e-12))
