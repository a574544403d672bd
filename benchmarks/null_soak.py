"""False alerts over 10^8 ID samples, against the budget that is proved: ``python -m benchmarks.null_soak``.

Every row is a kind of ID traffic ("null"). *A look after every sample* is the most looks that there can be: 100
streams of 10 classes, and each class, each stream and everything together may raise, by the evidence rule of
:mod:`monitor.math.evidence`, compiled (:mod:`benchmarks.null_kernel`; a test holds the two together). It sees
``--samples``, after a run-in that is not counted. *Whole fold* runs :func:`monitor.math.fold.fold` itself over a
twentieth of that, alerts and resolves included. ``affordable`` is what the budget of 1 per 100,000 allows in
expectation. Rows with calibration sets of their own, a fifth of the samples each, are averages over sets, with a
bootstrap interval over sets. The rule promises a fair bet for 95 % of calibration sets: ``unfair`` is the share of the
others, and ``kept`` is about the fair ones. The exit code is 1 if a row raises more than its budget does with
probability .001.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import norm, poisson

from benchmarks import null_kernel
from benchmarks.alerting import A, Floats, Row, draw, law, per_100k, per_100k_by_split, show
from benchmarks.null_kernel import Keys
from line_plugin.math.conformal import CELL_EDGES
from line_plugin.method.calibration import Calibration
from monitor.math import evidence as ev
from monitor.math import nulls
from monitor.math.budget import Budget, Level
from monitor.math.fold import fold
from monitor.math.lifecycle import AlertRules, Transition
from monitor.math.nulls import Nulls, ratios
from monitor.math.state import Bucket, MonitorState, Rules

STREAMS, CLASSES, SIZE = 100, 10, 10
SETS = 400
RUN_IN = 20_000
"""Samples a key before those that are counted."""


def every_sample(rng: np.random.Generator, samples: int) -> Row:
    """A look after every sample at all levels, cell masses known."""
    budget, known = Budget(A), nulls.known(CELL_EDGES)
    table, finest = ev.log_bets(known), STREAMS * CLASSES
    sizes: dict[Level, int] = {"class": 1, "stream": CLASSES, "everything": finest}
    levels = {
        level: Keys(table, np.tile(law(0), (finest // joined, 1)), budget.threshold(level))
        for level, joined in sizes.items()
    }
    both = [(keys, sizes[level]) for level, keys in levels.items()]
    null_kernel.run(both, RUN_IN * finest, finest, rng)
    for keys in levels.values():
        keys.raised[:] = 0
    null_kernel.run(both, samples, finest, rng)
    raised = {level: int(keys.raised.sum()) for level, keys in levels.items()}
    row = judged(sum(raised.values()), samples, budget.spent(dict.fromkeys(sizes, samples)))
    return {**row, "stream, class, everything": f"{raised['stream']}, {raised['class']}, {raised['everything']}"}


def whole_fold(rng: np.random.Generator, samples: int) -> Row:
    """The whole fold: 100 streams of 10 classes, 10 samples of each class in every bucket."""

    def steady() -> Iterator[Floats]:
        while True:
            yield draw(rng, SIZE, law(0), STREAMS * CLASSES)

    return folded(steady(), samples)


def drifting_amounts(rng: np.random.Generator, samples: int) -> Row:
    """The same, but the amount of traffic rises and falls tenfold, differs between streams, stops, comes in bursts."""

    def changing() -> Iterator[Floats]:
        weights = np.repeat(rng.lognormal(0, 1.5, STREAMS), CLASSES)
        awake, t = np.ones(STREAMS, dtype=bool), 0
        while True:
            day = 10 ** math.sin(2 * math.pi * t / 500)
            burst = 20.0 if rng.random() < 0.01 else 1.0
            awake ^= rng.random(STREAMS) < 0.01  # a stream falls silent, or comes back
            mean = SIZE * day * burst * weights / weights.mean() * np.repeat(awake, CLASSES)
            yield rng.multinomial(rng.poisson(mean), law(0))
            t += 1

    return folded(changing(), samples)


def tied_scores(rng: np.random.Generator, samples: int) -> Row:
    """400 calibration sets of 2,000 scores of 9 values only: whole cells are ties."""
    return with_sets(rng, samples, 2000, np.arange(-4, 5.0))


def coarse_p_values(rng: np.random.Generator, samples: int) -> Row:
    """400 calibration sets of 300 scores of 33 values: p-values of few values, the first cells mostly out of reach."""
    return with_sets(rng, samples, 300, np.arange(-4, 4.01, 0.25))


def calibration_of_100(rng: np.random.Generator, samples: int) -> Row:
    """400 calibration sets of 100 continuous scores."""
    return with_sets(rng, samples, 100)


def calibration_of_600(rng: np.random.Generator, samples: int) -> Row:
    """400 calibration sets of 600 continuous scores."""
    return with_sets(rng, samples, 600)


def with_sets(rng: np.random.Generator, samples: int, n: int, values: Floats | None = None) -> Row:
    """False alerts averaged over calibration sets of n scores N(0, 1), rounded to the nearest of ``values`` if any."""
    known = nulls.pooled(n)
    laws = np.stack([_law_of_a_set(rng, n, values) for _ in range(SETS)])
    keys, each = Keys(ev.log_bets(known), laws, A), samples // SETS
    null_kernel.run([(keys, 1)], RUN_IN * SETS, SETS, rng)
    keys.raised[:] = 0
    null_kernel.run([(keys, 1)], each * SETS, SETS, rng)
    fair = laws @ np.array(ratios(known.steps)) / known.margin <= 1 + 1e-12
    row = judged(int(keys.raised.sum()), each * SETS, each * SETS / A)
    of_fair = judged(int(keys.raised[fair].sum()), each * int(fair.sum()), each * fair.sum() / A)
    return {
        **row,
        **_rates(per_100k_by_split(rng, keys.raised, each)),
        "kept": of_fair["kept"],
        "unfair": f"{1 - fair.mean():.1%}",
        "fair sets: raised, affordable": f"{of_fair['raised']}, {of_fair['affordable']:.0f}",
    }


def _law_of_a_set(rng: np.random.Generator, n: int, values: Floats | None) -> Floats:
    """(7,) true masses of the cells that a calibration set of n cuts; OOD has low scores."""
    scores = rng.standard_normal(n)
    if values is None:
        bounds = np.array(Calibration.from_scores(torch.from_numpy(scores)).cell_bounds())
        return np.diff(np.concatenate([[0.0], norm.cdf(bounds)]))
    edges = (values[1:] + values[:-1]) / 2
    held = Calibration.from_scores(torch.from_numpy(values[np.searchsorted(edges, scores)]))
    masses = np.diff(np.concatenate([[0.0], norm.cdf(edges), [1.0]]))
    return np.bincount(held.cells(torch.from_numpy(values)).numpy(), weights=masses, minlength=len(CELL_EDGES))


def folded(counts: Iterator[Floats], samples: int, known: Nulls | None = None) -> Row:
    """Raises of the whole fold, level by level, over buckets of (streams x classes, 7) counts."""
    known = known or nulls.known(CELL_EDGES)
    rules = Rules(
        Budget(A), known, dict.fromkeys(range(CLASSES), known), alerts=replace(AlertRules(), silence_after=math.inf)
    )
    names = [(f"s{i:03d}", c) for i in range(STREAMS) for c in range(CLASSES)]
    state, levels, critical, i, seen = MonitorState.new(rules), Counter[str](), 0, 0, 0
    while seen < samples:
        drawn = next(counts)
        seen += int(drawn.sum())
        state, said = fold(state, Bucket(i, float(i), i + 1.0, dict(zip(names, drawn.tolist(), strict=True))), rules)
        i += 1
        levels.update(level_of(t) for t in said if t.change == "raised")
        critical += sum(t.change == "updated" and t.alert.severity == "critical" for t in said)
    row = judged(state.raises, state.samples["stream"], rules.budget.spent(state.samples))
    return {**row, "stream, class, everything": ", ".join(str(levels[x]) for x in ("stream", "class", "everything"))}


def level_of(said: Transition) -> str:
    """The level whose evidence raised an alert."""
    if said.alert.stream is None:
        return "everything"
    return "class" if said.alert.scope else "stream"


def judged(raised: int, samples: int, affordable: float) -> Row:
    """A row: ``kept`` is "no" if so many raises have probability .001 at most with the budget as their mean."""
    kept = "yes" if raised <= poisson.ppf(0.999, affordable) else "no"
    row: Row = {"samples": samples, "raised": raised, "affordable": affordable, "kept": kept}
    return {**row, **_rates(per_100k(raised, samples))}


def _rates(found: Row) -> Row:
    return {"per 100,000": found["per_100k"], "low": found["low"], "high": found["high"]}


NULLS: dict[str, tuple[float, Callable[[np.random.Generator, int], Row]]] = {
    "a look after every sample": (1.0, every_sample),
    "whole fold": (0.05, whole_fold),
    "whole fold, drifting amounts": (0.05, drifting_amounts),
    "ties: 9 values, n = 2,000": (0.2, tied_scores),
    "ties: 33 values, n = 300": (0.2, coarse_p_values),
    "n = 100": (0.2, calibration_of_100),
    "n = 600": (0.2, calibration_of_600),
}
COLUMNS = (
    "ID traffic", "seed", "samples", "raised", "affordable", "kept", "per 100,000", "low", "high", "unfair",
    "fair sets: raised, affordable", "stream, class, everything",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--json", type=Path, help="also write everything here")
    args = parser.parse_args()
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}; Python {platform.python_version()}, numpy {np.__version__}"
    )
    print(f"{time.strftime('%Y-%m-%d')}; {machine}; budget 1 per {A:,.0f}\n", flush=True)
    rows: list[Row] = []
    for seed in args.seeds:
        for k, (name, (part, run)) in enumerate(NULLS.items()):
            began = time.perf_counter()
            found = run(np.random.default_rng((seed, k)), round(args.samples * part))
            rows.append({c: {"ID traffic": name, "seed": seed, **found}.get(c, "") for c in COLUMNS})
            print(f"{name}, seed {seed}: {found['raised']} raised, {time.perf_counter() - began:.0f} s", flush=True)
    print()
    show(rows)
    if args.json:
        args.json.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "rows": rows}, indent=1) + "\n")
    return int(any(r["kept"] == "no" for r in rows))


if __name__ == "__main__":
    sys.exit(main())
