"""What a replay of past traffic says about arming the monitor on it: rates, order, calibration, alerts, budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from monitor.math.budget import Budget
from monitor.math.experts import samples_of
from monitor.math.fold import fold
from monitor.math.lifecycle import Transition, interval
from monitor.math.nulls import ratios
from monitor.math.state import Bucket, Key, MonitorState, Rules


@dataclass(frozen=True)
class FlagOrder:
    """Flags of one stream in order, as O(1) sums; fed in pieces of any size.

    Attributes:
        pairs: neighbouring samples seen.
        first: flagged ones among the earlier of each pair.
        second: flagged ones among the later of each pair.
        both: pairs with both flagged.
        last: the last flag, None before the first.
        begin: the first flag, None before it.
    """

    pairs: int = 0
    first: int = 0
    second: int = 0
    both: int = 0
    last: bool | None = None
    begin: bool | None = None

    def then(self, flags: Sequence[bool] | npt.NDArray[np.bool_]) -> FlagOrder:
        """After more flags, in order."""
        if not len(flags):
            return self
        run = np.asarray(flags, dtype=bool)
        if self.last is not None:
            run = np.concatenate([[self.last], run])
        a, b = run[:-1], run[1:]
        return FlagOrder(
            self.pairs + len(a),
            self.first + int(a.sum()),
            self.second + int(b.sum()),
            self.both + int((a & b).sum()),
            bool(run[-1]),
            bool(run[0]) if self.begin is None else self.begin,
        )

    def followed_by(self, later: FlagOrder) -> FlagOrder:
        """As if the samples of ``later`` had come right behind these, in one log."""
        if self.last is None or later.begin is None:
            return later if self.last is None else self
        return FlagOrder(
            self.pairs + 1 + later.pairs,
            self.first + self.last + later.first,
            self.second + later.begin + later.second,
            self.both + (self.last and later.begin) + later.both,
            later.last,
            self.begin,
        )

    def beside(self, other: FlagOrder) -> FlagOrder:
        """The pairs of two logs, of which neither follows the other."""
        return FlagOrder(
            self.pairs + other.pairs, self.first + other.first, self.second + other.second, self.both + other.both
        )

    @property
    def autocorrelation(self) -> float:
        """Lag-1 autocorrelation of the flags, in [-1, 1]; 0 if it is not defined."""
        if not self.pairs:
            return 0.0
        a, b = self.first / self.pairs, self.second / self.pairs
        spread = math.sqrt(a * (1 - a) * b * (1 - b))
        return (self.both / self.pairs - a * b) / spread if spread else 0.0

    @property
    def error(self) -> float:
        """Standard error of :attr:`autocorrelation` on independent samples."""
        return 1 / math.sqrt(self.pairs) if self.pairs else math.inf


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

    @property
    def name(self) -> str:
        """For people."""
        by = f", expert {self.expert}" if self.expert else ""
        return f"stream {self.stream!r}" + ("" if self.label is None else f", class {self.label}") + by


@dataclass(frozen=True)
class ReplayReport:
    """A replay, judged.

    Attributes:
        requests: samples replayed.
        rates: streams first, then their classes; each by every expert.
        order: flags in order, by stream; empty if it was not given. A sample is flagged if any expert flags it.
        transitions: what would have fired.
        affordable: false alerts that the budget allows in so many requests.
        quiet_requests: the least budget N at which nothing would have been raised; inf beyond 1e12.
        suggested_requests: a budget to use: that, rounded up, and at least the one asked for.
        refusals: why the monitor must not be armed on this traffic as ID; empty if it may.
        warnings: what else to know.
    """

    requests: int
    rates: tuple[Rate, ...]
    order: Mapping[str, FlagOrder]
    transitions: tuple[Transition, ...]
    affordable: float
    quiet_requests: float
    suggested_requests: float
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    budget: Budget = field(default_factory=lambda: Budget(100_000))

    @property
    def arm(self) -> bool:
        """Whether the monitor may be armed."""
        return not self.refusals

    def lines(self) -> list[str]:
        """The report in words."""
        raises = [t for t in self.transitions if t.change == "raised" and t.alert.kind == "ood"]
        said = [f"{self.requests:,} requests replayed, {self.budget.words()}"]
        said += [
            f"{r.name}: {r.rate:.2%} flagged ({r.low:.2%} to {r.high:.2%}) of {r.samples:,}, {r.allowed:.2%} allowed"
            for r in self.rates
        ]
        said += [
            f"stream {stream!r}: lag-1 autocorrelation of flags {order.autocorrelation:+.3f}"
            for stream, order in sorted(self.order.items())
        ]
        said.append(f"{len(raises)} alerts would have been raised, {self.affordable:.2g} are affordable")
        if math.isfinite(self.suggested_requests):
            said.append(f"suggested budget: 1 false alert per {self.suggested_requests:,.0f} requests")
        else:
            said.append("no budget would have kept this traffic quiet")
        said += [f"warning: {w}" for w in self.warnings]
        said += [f"refused: {r}" for r in self.refusals] or ["may be armed"]
        return said


def report(
    buckets: Iterable[Bucket], rules: Rules, order: Mapping[str, FlagOrder] | None = None, *, risk: float = 0.01
) -> ReplayReport:
    """Fold a bounded range through the evaluator's own code and judge it as ID traffic.

    Args:
        buckets: closed, in order.
        rules: those the monitor would be armed with.
        order: the flags in order, by stream, if they are known.
        risk: probability of refusing traffic that is in fact within the calibration, at most.
    """
    order = order or {}
    state = MonitorState.new(rules)
    # The same evidence with thresholds out of reach: how high it climbs is the budget that would have kept quiet.
    unreached = replace(rules, budget=replace(rules.budget, requests=1e280))
    shadow = MonitorState.new(unreached)
    counts: dict[Key, npt.NDArray[np.int64]] = {}
    transitions: list[Transition] = []
    peak = 0.0
    for bucket in buckets:
        state, said = fold(state, bucket, rules)
        transitions += said
        shadow, _ = fold(shadow, bucket, unreached)
        peak = max(peak, _climb(shadow, rules))
        for (stream, label), row in bucket.counts.items():
            for key in ((stream, None), (stream, label)):
                counts[key] = counts.get(key, 0) + np.asarray(row, dtype=np.int64)
    keys = sorted((k for k in counts if counts[k].sum()), key=lambda k: (k[1] is not None, k[0] or "", k[1] or 0))
    experts = range(len(rules.experts))
    each = risk / max(1, len(keys) * len(experts))
    rates = tuple(_rate(k, e, counts[k], rules, order, each) for k in keys for e in experts)
    requests = sum(int(samples_of(counts[k], rules.cells)) for k in keys if k[1] is None)
    quiet = math.exp(peak) if peak < math.log(1e12) else math.inf
    suggested = max(rules.budget.requests, _rounded_up(quiet))
    raised = sum(t.change == "raised" and t.alert.kind == "ood" for t in transitions)
    affordable = requests / rules.budget.requests
    return ReplayReport(
        requests,
        rates,
        order,
        tuple(transitions),
        affordable,
        quiet,
        suggested,
        tuple(_refusals(rates, raised, affordable, rules, risk)),
        tuple(_warnings(rates, order, raised, requests, rules)),
        rules.budget,
    )


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


def _refusals(rates: Sequence[Rate], raised: int, affordable: float, rules: Rules, risk: float) -> Iterable[str]:
    for r in rates:
        if r.bet_low > 0 and (r.label is None or r.label in rules.class_nulls):
            yield (
                f"{r.name} breaks the calibration: each sample adds {r.bet:.1%} to the evidence on average (at least "
                f"{r.bet_low:.1%}), expected 0 at most; {r.rate:.2%} are flagged, {r.allowed:.2%} are allowed. "
                "Calibrate on this traffic, or raise the upper bounds on the cell masses"
            )
    # Markov: as many raises as this have probability affordable / raised at most on ID traffic.
    if raised and affordable / raised < risk:
        yield f"{raised} alerts would have been raised on it, {affordable:.2g} are affordable"


def _warnings(
    rates: Sequence[Rate], order: Mapping[str, FlagOrder], raised: int, requests: int, rules: Rules
) -> Iterable[str]:
    for stream, flags in sorted(order.items()):
        rho = flags.autocorrelation
        if rho > 0.05 and rho > 3 * flags.error:
            every = max(2, math.ceil(math.log(0.05) / math.log(min(rho, 0.95))))
            yield (
                f"stream {stream!r} comes in bursts (autocorrelation {rho:+.2f}): the budget counts on independent "
                f"samples; thin to 1 in {every} per client, or expect several times as many false alerts"
            )
    for r in rates:
        if r.label is not None and r.label not in rules.class_nulls and r.bet_low > 0:
            yield f"{r.name} is flagged more often ({r.rate:.2%}) than all together may be; it cannot raise by itself"
    if raised and requests < rules.budget.requests:
        yield f"{requests:,} requests are less than one budget ({rules.budget.requests:,.0f}): replay a longer range"


def _rounded_up(x: float) -> float:
    """The next of 1, 2, 5, 10, 20, ..."""
    if not math.isfinite(x):
        return x
    base = 10.0 ** math.floor(math.log10(max(x, 1.0)))
    return next(base * f for f in (1, 2, 5, 10) if base * f >= x * (1 - 1e-12))
