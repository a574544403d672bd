"""Decides whether the monitor may be armed on past traffic, from its flag rates and the alerts it would raise."""

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
"""Samples by cell, for each stream (label None) and each of its predicted classes."""


@dataclass(frozen=True)
class Rate:
    """The flag rate of a stream (``label`` None) or of one of its predicted classes, and the largest ID rate.

    Attributes:
        low, high: 95 % Clopper-Pearson interval of the rate, for independent samples.
        allowed: the largest rate that the calibration allows; that of all classes together if the class has none of its
            own.
        bet: the estimated mean of the bet on ID traffic minus 1; above 0 it breaks the guarantee.
        bet_low: the lower confidence bound of ``bet``, widened for autocorrelation, shared among all streams and
            classes.
        cells: samples in each cell, the most OOD first.
        expert: the expert of these cells and this threshold; "" with a single expert.
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
        """The share of flagged samples."""
        return self.flagged / self.samples


@dataclass(frozen=True)
class Arming:
    """The result of judging a replay as ID traffic.

    Attributes:
        requests: how many samples were replayed.
        rates: the rates of streams, then of their classes, each by every expert.
        order: the flags in order, by stream; empty if not given. A sample is flagged if any expert flags it.
        transitions: the alerts that would have fired.
        budget: the budget it was judged with.
        quiet_requests: the least budget N at which nothing would have been raised; inf beyond 1e12.
        breaches: the rates that break the calibration.
        too_many: more alerts would have been raised than the budget makes probable on ID traffic.
        bursts: the streams that come in bursts, each with n: with 1 sample in n of each client, it would not.
        unarmed: classes without their own calibration that are flagged more often than all classes together may be.
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
        """How many false alerts the budget allows in this many requests."""
        return self.requests / self.budget.requests

    @property
    def too_short(self) -> bool:
        """Whether alerts were raised in fewer requests than one budget, which shows little."""
        return self.raised > 0 and self.requests < self.budget.requests

    @property
    def suggested_requests(self) -> float:
        """A budget to use: the one that raises nothing here, rounded up, and at least the configured one."""
        return max(self.budget.requests, _rounded_up(self.quiet_requests))


def judge(
    buckets: Iterable[Bucket], rules: Rules, order: Mapping[str, FlagOrder] | None = None, *, risk: float = 0.01
) -> Arming:
    """Folds a bounded range with the evaluator's own code, and judges it as ID traffic.

    Args:
        buckets: closed buckets in order.
        rules: the rules with which the monitor would be armed.
        order: the flags in order, by stream, if they are known.
        risk: the largest probability of refusing traffic that is within the calibration.
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
        # By Markov's inequality, this many raises have a probability of at most affordable / raised on ID traffic.
        too_many=raised > 0 and affordable / raised < risk,
        bursts={stream: _apart(flags) for stream, flags in sorted(order.items()) if _is_bursty(flags)},
        unarmed=tuple(r for r in over if r.label is not None and r.label not in rules.class_nulls),
    )


def _folded(buckets: Iterable[Bucket], rules: Rules) -> tuple[Counts, list[Transition], float]:
    """Folds all buckets. Returns the counts, the alerts that would have fired, and the least budget without any."""
    state = MonitorState.new(rules)
    # The same evidence with infinite thresholds: how high it climbs gives the budget that would have raised nothing.
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
    """How high the evidence has climbed, in logs, on the scale of the budget's requests."""
    strength = state.evidence.log_mean()
    asked = math.log(rules.budget.requests)
    near = strength >= strength.max() - 20  # the thresholds of the levels differ by less
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
    """How far apart two samples must be for an autocorrelation of 0.05 at most."""
    return max(2, math.ceil(math.log(0.05) / math.log(min(flags.autocorrelation, 0.95))))


def _rounded_up(x: float) -> float:
    """The next of 1, 2, 5, 10, 20, ..."""
    if not math.isfinite(x):
        return x
    base = 10.0 ** math.floor(math.log10(max(x, 1.0)))
    return next(base * f for f in (1, 2, 5, 10) if base * f >= x * (1 - 1e-12))
