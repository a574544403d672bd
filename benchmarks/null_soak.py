"""False alerts over 10^8 ID samples, against the budget that is proved: ``python -m benchmarks.null_soak``.

Every table row is a kind of ID traffic ("null"), run through :func:`monitor.math.fold.fold` or through
:func:`monitor.math.evidence.update` themselves, over many keys at once. The first two rows see ``--samples`` each, the
hard ones a tenth of that. ``affordable`` is what the budget of 1 per 100,000 allows in expectation, by
:meth:`monitor.math.budget.Budget.spent`. Rows with calibration sets of their own are averages over sets, with a
bootstrap interval over sets; ``unfair`` is the share of sets for which the bets are not fair: the rule promises 5 % at
most. The exit code is 1 if a row raises more than its budget does with probability .001.
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

from benchmarks.alerting import A, Floats, Row, draw, law, per_100k, per_100k_by_split, raises_by_row, show
from line_plugin.math.conformal import CELL_EDGES
from line_plugin.method.calibration import Calibration
from monitor.math import nulls
from monitor.math.budget import Budget
from monitor.math.fold import fold
from monitor.math.lifecycle import AlertRules, Transition
from monitor.math.nulls import Nulls, ratios
from monitor.math.state import Bucket, MonitorState, Rules

STREAMS, CLASSES, SIZE = 100, 10, 10
SETS = 400


def one_key_a_time(rng: np.random.Generator, samples: int) -> Row:
    """The evidence of 1,000 keys, a look after every sample, cell masses known."""
    raised, each = raises_by_row(rng, nulls.known(CELL_EDGES), law(0), samples, 1000, 1)
    return judged(int(raised.sum()), each * 1000, each * 1000 / A)


def all_levels(rng: np.random.Generator, samples: int) -> Row:
    """The whole fold: 100 streams of 10 classes, each, each class and all together may raise; 10 samples a key."""

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
    raised, each = raises_by_row(rng, known, laws, samples, SETS, 5)
    unfair = float((laws @ np.array(ratios(known.steps)) / known.margin > 1 + 1e-12).mean())
    row = judged(int(raised.sum()), each * SETS, each * SETS / A)
    return {**row, **_rates(per_100k_by_split(rng, raised, each)), "unfair": f"{unfair:.1%}"}


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
    "one sample a bucket": (1.0, one_key_a_time),
    "all levels": (1.0, all_levels),
    "all levels, drifting amounts": (0.1, drifting_amounts),
    "ties: 9 values, n = 2,000": (0.1, tied_scores),
    "ties: 33 values, n = 300": (0.1, coarse_p_values),
    "n = 100": (0.1, calibration_of_100),
    "n = 600": (0.1, calibration_of_600),
}
COLUMNS = (
    "ID traffic", "seed", "samples", "raised", "affordable", "kept", "per 100,000", "low", "high", "unfair",
    "stream, class, everything",
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
