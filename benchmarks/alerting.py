"""False alerts, delays, lifecycle and cost of the alert mathematics, from the shipped code.

    python -m benchmarks.alerting                # all tables, a few minutes on one core
    python -m benchmarks.alerting --only delay   # null, delay, calibration, limits, keys, lifecycle, others, real, cost
    python -m benchmarks.alerting --json out.json

Simulated scores: ID N(0, 1), OOD N(2.49, 1), so that 80 % of OOD inputs lie above the 5 % threshold. Real scores: LINe
(preset cifar10-densenet) on the embeddings under $OPENOOD_LINE_DATA (../shared/data where that is not set).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy.stats import beta, norm

from benchmarks.held_out_scores import cifar10_scores, masses_of, quickstart_scores
from benchmarks.other_detectors import installed
from line_plugin.math.conformal import CELL_EDGES
from monitor.math import evidence as ev
from monitor.math import nulls, packing
from monitor.math.budget import Budget
from monitor.math.evidence import Evidence
from monitor.math.fold import fold
from monitor.math.lifecycle import AlertRules, held_rate
from monitor.math.nulls import Nulls
from monitor.math.state import Bucket, MonitorState, Rules

A = 1e5
CONTAMINATION = (0.01, 0.05, 0.2, 0.5)
TARGETS = {0.01: 2000, 0.05: 250, 0.2: 45, 0.5: 20}
SHIFT = 2.49
SPLITS, ROWS = 200, 2  # of real scores, and rows that are simulated for each split
CUTS = norm.isf(np.array(CELL_EDGES[:-1]))
Floats = Any
Row = dict[str, Any]


def law(contamination: float, cuts: Floats = CUTS) -> Floats:
    """(..., 7) cell masses at a share of OOD input, for cells cut at ``cuts`` (OOD scores high)."""
    below = (1 - contamination) * norm.sf(cuts) + contamination * norm.sf(cuts - SHIFT)
    ends = np.zeros((*np.shape(cuts)[:-1], 1))
    return np.diff(np.concatenate([ends, below, ends + 1], axis=-1), axis=-1)


def draw(rng: np.random.Generator, size: int, laws: Floats, rows: int) -> Floats:
    """(rows, 7) counts of ``size`` samples each; ``laws`` one law for all or one a row."""
    if size > 1:
        return rng.multinomial(size, laws, rows)
    cells = (rng.random(rows)[:, None] > np.cumsum(laws, axis=-1)[..., :-1]).sum(axis=1)
    return np.eye(7, dtype=np.int64)[cells]


def advance(state: Evidence, counts: Floats, table: Floats, t: float) -> tuple[Evidence, Floats]:
    """One bucket for every row, and which rows raise; those start again."""
    rows = np.arange(len(counts))
    state = ev.update(state, rows, counts, table, start=t, end=t + 1, flag_cells=5)
    hit = np.flatnonzero(state.log_mean() >= math.log(A))
    return (ev.reset(state, hit) if len(hit) else state), hit


def false_alerts(
    rng: np.random.Generator, known: Nulls, laws: Floats, samples: int, rows: int, size: int, repeat: float = 0.0
) -> Row:
    """Raises on ID traffic if one law holds for all rows, with an interval that takes raises to be independent."""
    raised, each = raises_by_row(rng, known, laws, samples, rows, size, repeat)
    return {"samples": each * rows, "raised": int(raised.sum()), **per_100k(int(raised.sum()), each * rows)}


def false_alerts_by_split(
    rng: np.random.Generator, known: Nulls, laws: Floats, samples: int, splits: int, size: int
) -> Row:
    """Raises on ID traffic if every split into calibration set and stream has a law of its own.

    Args:
        laws: (rows, 7), the rows of a split beside each other, equally many for each.
    """
    rows = len(laws)
    raised, each = raises_by_row(rng, known, laws, samples, rows, size)
    by_split = raised.reshape(splits, -1).sum(axis=1)
    in_split = each * rows // splits
    return {"samples": each * rows, "raised": int(raised.sum()), **per_100k_by_split(rng, by_split, in_split)}


def raises_by_row(
    rng: np.random.Generator, known: Nulls, laws: Floats, samples: int, rows: int, size: int, repeat: float = 0.0
) -> tuple[Floats, int]:
    """(rows,) raises on ID traffic and how many samples each row saw, after a run-in of 50,000 that is not counted.

    ``repeat`` is the probability that a sample (buckets of one) is that of before once more.
    """
    table, state = ev.log_bets(known), Evidence.empty(rows)
    raised = np.zeros(rows, dtype=np.int64)
    steps, settle = max(1, samples // (rows * size)), 200
    for t in range(500):
        state, _ = advance(state, draw(rng, 100, laws, rows), table, t)
    counts = draw(rng, size, laws, rows)
    for t in range(settle + steps):
        fresh = draw(rng, size, laws, rows)
        counts = np.where(rng.random(rows)[:, None] < repeat, counts, fresh) if repeat else fresh
        state, hit = advance(state, counts, table, 500 + t)
        if t >= settle:
            raised[hit] += 1
    return raised, steps * size


def per_100k(raised: int, samples: int) -> Row:
    """Rate per 100,000 samples with its exact 95 % binomial interval."""
    low = beta.ppf(0.025, raised, samples - raised + 1) if raised else 0.0
    high = beta.ppf(0.975, raised + 1, samples - raised)
    return {"per_100k": raised / samples * 1e5, "low": float(low) * 1e5, "high": float(high) * 1e5}


def per_100k_by_split(rng: np.random.Generator, raised: Floats, samples: int, draws: int = 4000) -> Row:
    """Rate per 100,000 samples with a 95 % bootstrap interval that draws whole splits again.

    Within a split every sample is judged by the same calibration set, so its raises are not independent.

    Args:
        raised: (splits,) raises of each.
        samples: that each split saw.
    """
    drawn = raised[rng.integers(0, len(raised), (draws, len(raised)))].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975)) / samples * 1e5
    return {"per_100k": float(raised.mean()) / samples * 1e5, "low": float(low), "high": float(high)}


def median_delay(
    rng: np.random.Generator, known: Nulls, calm: Floats, surge: Floats, rows: int, cap: int = 40_000
) -> float:
    """Median samples from the begin of a surge to the raise, sample by sample, after 10,000 ID samples a key."""
    table, state = ev.log_bets(known), Evidence.empty(rows)
    for t in range(200):
        state, _ = advance(state, draw(rng, 50, calm, rows), table, t)
    delay = np.full(rows, np.inf)
    for t in range(1, cap + 1):
        state, hit = advance(state, draw(rng, 1, surge, rows), table, 200 + t)
        delay[hit] = np.minimum(delay[hit], t)
        if np.isfinite(delay).mean() > 0.5:
            break
    return float(np.median(delay))


def delays(rng: np.random.Generator, known: Nulls, cuts: Floats, rows: int) -> Row:
    """Median delay at each contamination."""
    return {f"{c:.0%}": median_delay(rng, known, law(0, cuts), law(c, cuts), rows) for c in CONTAMINATION}


# -- tables ------------------------------------------------------------------------------------------------------------


def null(args: argparse.Namespace) -> list[Row]:
    """False alerts over ID samples, budget 1 per 100,000, cell masses known, buckets of one sample."""
    rng = np.random.default_rng(args.seed)
    return [{"keys": 1000, **false_alerts(rng, nulls.known(CELL_EDGES), law(0), args.samples, 1000, 1)}]


def delay(args: argparse.Namespace) -> list[Row]:
    """Median delay in samples by contamination, budget 1 per 100,000, cell masses known."""
    found = delays(np.random.default_rng(args.seed), nulls.known(CELL_EDGES), CUTS, 2000)
    return [{"": "measured", **found}, {"": "target, at most", **{f"{c:.0%}": t for c, t in TARGETS.items()}}]


def calibration(args: argparse.Namespace) -> list[Row]:
    """What calibration sets of n cost: 400 sets each, false alerts per 100,000 over all of them, median delays.

    The interval of false alerts is a bootstrap over calibration sets.
    """
    rng, out = np.random.default_rng(args.seed), []
    for n in (500, 2000, 10_000, 50_000):
        # The m-th largest of n scores is the upper quantile of a Beta(m, n + 1 - m) mass, jointly by spacings.
        masses = np.diff(np.array(nulls.pooled(n, "nominal").steps), prepend=0.0)
        spacings = rng.dirichlet(np.maximum(masses * (n + 1), 1e-300), 400)
        cuts = norm.isf(np.clip(np.cumsum(spacings, axis=1)[:, :-1], 1e-300, 1))
        for rule in ("nominal", "expectation", "simultaneous"):
            known = nulls.pooled(n, rule)  # type: ignore[arg-type]
            spoiled = false_alerts_by_split(rng, known, law(0, cuts), args.samples // 5, 400, 5)
            out.append({"n": n, "rule": rule, **spoiled, **delays(rng, known, cuts, 400)})
    return out


def limits(args: argparse.Namespace) -> list[Row]:
    """Where the assumptions fail: false alerts per 100,000 at a budget of 1, masses taken as known."""
    rng, known, n = np.random.default_rng(args.seed), nulls.known(CELL_EDGES), args.samples // 10
    stale = law(0) * np.array([1.2] * 5 + [1.0, 1.0])  # 6 % flagged where 5 % are assumed
    stale[-1] = 1 - stale[:-1].sum()
    guarded = nulls.pooled(10_000)
    return [
        {
            "traffic": "repeats the sample before with probability .3",
            **false_alerts(rng, known, law(0), n, 500, 1, 0.3),
        },
        {"traffic": "true FPR 6 % for an assumed 5 %", **false_alerts(rng, known, stale, n, 500, 1)},
        {
            "traffic": "the same, bounded as for n = 10,000 (expectation)",
            **false_alerts(rng, guarded, stale, n, 500, 1),
        },
    ]


def keys(args: argparse.Namespace) -> list[Row]:
    """False alerts of the whole fold at all levels, any number of keys, one budget of 1 per 100,000."""
    rng, out, known = np.random.default_rng(args.seed), [], nulls.known(CELL_EDGES)
    for streams, classes, size in ((1, 1, 100), (10, 1, 20), (100, 1, 20), (100, 10, 10), (1000, 9, 2), (9999, 1, 10)):
        rules = Rules(Budget(A), known, dict.fromkeys(range(classes), known), alerts=_never_silent())
        names = [(f"s{i:05d}", c) for i in range(streams) for c in range(classes)]
        state = MonitorState.new(rules)
        for i in range(max(1, args.samples // 5 // (len(names) * size))):
            counts = dict(zip(names, draw(rng, size, law(0), len(names)).tolist(), strict=True))
            state, _ = fold(state, Bucket(i, float(i), i + 1.0, counts), rules)
        n = state.samples["stream"]
        row: Row = {"streams": streams, "classes each": classes, "keys": len(state.rows), "samples": n}
        out.append({**row, "raised": state.raises, **per_100k(state.raises, n)})
    return out


def lifecycle(args: argparse.Namespace) -> list[Row]:
    """Surges of 20,000 samples in 60 streams, buckets of 20: raises during each, samples from end to resolve."""
    rng, out, size, length = np.random.default_rng(args.seed), [], 20, 20_000
    rules = Rules(Budget(A, {"stream": 1.0}), nulls.known(CELL_EDGES), alerts=_never_silent())
    names = [f"s{i:02d}" for i in range(60)]
    for c in CONTAMINATION:
        state, raised, over = MonitorState.new(rules), dict.fromkeys(names, 0), {}
        left_out: set[str] = set()
        on, off = 250, 250 + length // size
        for i in range(off + 1500):
            counts = draw(rng, size, law(c if on <= i < off else 0), len(names)).tolist()
            state, said = fold(state, _bucket(i, names, counts), rules)
            if i == on - 1:  # a false alert that still fires would hide the raise: such streams are left out
                left_out = {str(stream) for stream, _ in state.alerts}
            for t in said:
                name = str(t.alert.stream)
                if t.change == "raised" and on <= i < off:
                    raised[name] += 1
                elif t.change == "resolved" and i >= off and t.alert.bucket < off:
                    over[name] = (i - off + 1) * size
            if i > off and len(over) == len(names):
                break
        counted = [n for n in names if n not in left_out]
        times = np.array([over.get(n, np.inf) for n in counted])
        raises = np.array([raised[n] for n in counted])
        row: Row = {"contamination": f"{c:.0%}", "surges": len(counted), "raises a surge": float(raises.mean())}
        row["share with one"] = float((raises == 1).mean())
        row |= {"resolve, median": float(np.median(times)), "resolve, 90 %": float(np.quantile(times, 0.9))}
        out.append(row)
    held = [f"{held_rate(rules.resolve_tables[0, 0, i], 5):.1%}" for i in (2, 4)]
    out.append({"contamination": f"held at any shape from a flag rate of {held[0]} to {held[1]}"})
    return out


def others(args: argparse.Namespace) -> list[Row]:
    """River's and Frouros' detectors, default settings, on the same kind of stream; median of 15 surges."""
    found, missing = installed()
    rng, cap, out = np.random.default_rng(args.seed), 20_000, []
    for detector in found:
        n = int(1_000_000 * detector.share)
        as_input = _flags if detector.on == "flags" else np.asarray
        feed = detector.make()
        raised = sum(feed(v) for v in as_input(rng.standard_normal(n)).tolist())
        row: Row = {"detector": detector.name, "samples": n, "raised": raised, **per_100k(raised, n)}
        for c in CONTAMINATION:
            row[f"{c:.0%}"] = float(np.median([_one_delay(detector.make(), as_input, rng, c, cap) for _ in range(15)]))
        out.append(row)
    ours = {"detector": "e-SR over cells (this package)", **null(args)[0], **delay(args)[0]}
    return [*out, {k: v for k, v in ours.items() if k not in ("", "keys")}, *({"detector": m} for m in missing)]


def _flags(scores: Floats) -> Floats:
    return (scores > norm.isf(0.05)).astype(float)


def _one_delay(feed: Callable[[float], bool], as_input: Any, rng: Any, c: float, cap: int) -> float:
    for v in as_input(rng.standard_normal(2000)).tolist():
        feed(v)
    x = rng.standard_normal(cap) + SHIFT * (rng.random(cap) < c)
    return next((float(i) for i, v in enumerate(as_input(x).tolist(), 1) if feed(v)), math.inf)


def real(args: argparse.Namespace) -> list[Row]:
    """LINe scores of real images: 200 splits of held-out ID images, one half calibrates, the other is the ID stream.

    The interval of false alerts is a bootstrap over splits.
    """
    rows: list[Row] = []
    for name, scores in (("CIFAR-10", cifar10_scores()), ("quickstart digits", quickstart_scores(args.quickstart))):
        if isinstance(scores, str):
            rows.append({"stream": f"{name} not measured: {scores}"})
            continue
        rng = np.random.default_rng(args.seed)
        for rule in ("nominal", "expectation"):
            rows += _real_rows(rng, name, scores, rule, args.samples // 4)
    return rows


def _real_rows(rng: np.random.Generator, name: str, confidence: dict[str, Any], rule: Any, samples: int) -> list[Row]:
    from line_plugin.method.calibration import Calibration

    half = len(confidence["test"]) // 2
    calm, bounds = [], []
    for _ in range(SPLITS):
        order = rng.permutation(2 * half)
        held = Calibration.from_scores(confidence["test"][order[:half]])
        bounds.append(held)
        calm.append(masses_of(held.cells(confidence["test"][order[half:]])))
    known, each = nulls.pooled(half, rule), np.repeat(np.array(calm), ROWS, axis=0)
    spoiled = false_alerts_by_split(rng, known, each, samples, SPLITS, 1)
    out: list[Row] = [{"stream": f"{name} (ID)", "n": half, "rule": rule, **spoiled}]
    for ood_name in (k for k in confidence if k != "test"):
        ood = np.repeat(np.array([masses_of(b.cells(confidence[ood_name])) for b in bounds]), ROWS, axis=0)
        row: Row = {"stream": ood_name, "n": half, "rule": rule}
        for c in CONTAMINATION:
            row[f"{c:.0%}"] = median_delay(rng, known, each, (1 - c) * each + c * ood, SPLITS * ROWS, cap=30_000)
        out.append(row)
    return out


def cost(args: argparse.Namespace) -> list[Row]:
    """State and time of the whole fold: 10,000 keys (909 streams of 10 classes each, each stream a key too)."""
    rng, out = np.random.default_rng(args.seed), []
    pairs = [(f"stream-{i:04d}", c) for i in range(909) for c in range(10)]
    rules = Rules(Budget(A), nulls.known(CELL_EDGES), {3: nulls.pooled(50_000)}, alerts=_never_silent())
    for size in (1, 10, 100):
        buckets = [
            Bucket(i, float(i), i + 1.0, dict(zip(pairs, draw(rng, size, law(0), len(pairs)).tolist(), strict=True)))
            for i in range(8)
        ]
        tracemalloc.start()
        state, _ = fold(MonitorState.new(rules), buckets[0], rules)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        began = time.perf_counter()
        for one in buckets[1:]:
            state, _ = fold(state, one, rules)
        spent = (time.perf_counter() - began) / 7
        row: Row = {"keys": len(state.rows), "samples a key and bucket": size, "state MB": held / 1e6}
        row |= {"ms a bucket": spent * 1e3, "us a sample": spent / (len(pairs) * size) * 1e6}
        row["packed JSON MB"] = len(json.dumps([packing.header(state), packing.streams(state)])) / 1e6
        out.append(row)
    return out


def _never_silent() -> AlertRules:
    return replace(AlertRules(), silence_after=math.inf)


def _bucket(i: int, names: Sequence[str], counts: Sequence[Sequence[int]]) -> Bucket:
    return Bucket(i, float(i), i + 1.0, {(n, 0): c for n, c in zip(names, counts, strict=True)})


TABLES: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    f.__name__: f for f in (null, delay, calibration, limits, keys, lifecycle, others, real, cost)
}


def show(rows: list[Row]) -> None:
    """A table in Markdown."""
    columns = list(dict.fromkeys(k for r in rows for k in r))
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for r in rows:
        print("| " + " | ".join(_cell(r.get(c, "")) for c in columns) + " |")


def _cell(value: Any) -> str:
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, int) or (math.isfinite(value) and value == int(value)):
        return f"{value:,.0f}"
    if not math.isfinite(value):
        return "not within the cap"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000_000, help="ID samples of the null table")
    parser.add_argument("--only", choices=TABLES, nargs="+", default=list(TABLES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quickstart", type=Path, default=Path("quickstart"), help="folder of the quickstart model")
    parser.add_argument("--json", type=Path, help="also write everything here")
    args = parser.parse_args()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"
    print(f"{time.strftime('%Y-%m-%d')}; {machine}; {versions}; seed {args.seed}; one process\n")
    out: Row = {"date": time.strftime("%Y-%m-%d"), "machine": machine, "versions": versions, "seed": args.seed}
    for name in args.only:
        began = time.perf_counter()
        out[name] = TABLES[name](args)
        print(f"## {name}\n{TABLES[name].__doc__}\n")
        show(out[name])
        print(f"\n({time.perf_counter() - began:.0f} s)\n", flush=True)
    if args.json:
        args.json.write_text(json.dumps(out, indent=1, default=float) + "\n", encoding="utf-8")
        print(f"written: {args.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
