"""Whether the false-alert budget holds with few calibration inputs, and what a stream adds that is a sample itself.

    python -m benchmarks.calibration_size                          # 600 calibration inputs, a minute or two on one core
    python -m benchmarks.calibration_size --quickstart quickstart  # the folder of `make demo`; trained if it is empty

The promise: for 95 % of calibration sets the bets of the default rule are fair on ID traffic, that is
``sum_k q_k ratio_k <= margin`` with q the true masses of the cells. Whoever measures it needs q. If it is taken from
another sample of n inputs instead, the error of that sample adds to the error of the calibration set, and more splits
look unfair than are. Each split is a calibration set and the law of its stream:

    known law       n of 2n uniform scores calibrate, the stream is uniform: q is exact
    other half      the same calibration set, the stream is drawn from the other n scores: q is their shares
    quickstart      the same ranks among 1,200 real scores; equals `other half` but for ties
    CIFAR-10        n of 10,000 real scores calibrate (without and with replacement), the stream is all 10,000

False alerts are simulated for the first splits, each with its own q, at a budget of 1 per 100,000.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import beta

from benchmarks import measure
from benchmarks.alerting import false_alerts_by_split, show
from benchmarks.held_out_scores import cifar10_scores, masses_of, quickstart_scores
from line_plugin.method.calibration import Calibration
from monitor.math import nulls

Floats = Any
Row = dict[str, Any]
RULES: tuple[nulls.Rule, ...] = ("expectation", "nominal")


def split_in_halves(rng: np.random.Generator, splits: int, n: int, real: Floats | None) -> dict[str, Floats]:
    """(splits, 7) masses of the ID stream by law; all laws of a split have the calibration set of the same ranks.

    Args:
        real: (2n,) real confidences, for a law of their own.
    """
    found: dict[str, list[Floats]] = {"known law": [], "other half": []}
    ordered = None if real is None else np.sort(real)
    for _ in range(splits):
        scores, order = np.sort(rng.random(2 * n)), rng.permutation(2 * n)
        calibrating, streaming = order[:n], order[n:]
        held = Calibration.from_scores(torch.from_numpy(scores[calibrating]))
        found["known law"].append(uniform_masses(held))
        found["other half"].append(masses_of(held.cells(torch.from_numpy(scores[streaming]))))
        if ordered is not None:
            held = Calibration.from_scores(torch.from_numpy(ordered[calibrating]))
            found.setdefault("quickstart", []).append(masses_of(held.cells(torch.from_numpy(ordered[streaming]))))
    return {law: np.array(masses) for law, masses in found.items()}


def uniform_masses(calibration: Calibration) -> Floats:
    """(7,) the exact masses of the cells for confidences that are uniform on [0, 1]."""
    return np.diff(np.clip(calibration.cell_bounds(), 0, 1), prepend=0.0)


def drawn_from_all(rng: np.random.Generator, splits: int, n: int, real: Floats, *, replace: bool) -> Floats:
    """(splits, 7) masses of a stream that is all of ``real``, calibrated on n of them."""
    every = torch.from_numpy(real)
    masses = []
    for _ in range(splits):
        held = Calibration.from_scores(every[torch.from_numpy(rng.choice(len(real), n, replace=replace))])
        masses.append(masses_of(held.cells(every)))
    return np.array(masses)


def expected_bets(masses: Floats, known: nulls.Nulls) -> Floats:
    """(splits,) ``sum_k q_k ratio_k / margin``: above 1 the bets are not fair."""
    return masses @ np.array(nulls.ratios(known.steps)) / known.margin


def describe(rng: np.random.Generator, law: str, masses: Floats, n: int, simulated: int, samples: int) -> list[Row]:
    """A row for each rule: the share of unfair splits, and simulated false alerts."""
    rows = []
    for rule in RULES:
        known = nulls.pooled(n, rule)
        bets = expected_bets(masses, known)
        unfair = int((bets > 1 + 1e-12).sum())
        low, high = (float(beta.ppf(q, unfair + a, len(bets) - unfair + 1 - a)) for q, a in ((0.025, 0), (0.975, 1)))
        row: Row = {"stream": law, "n": n, "rule": rule, "splits": len(bets), "unfair": f"{unfair / len(bets):.1%}"}
        row["95 %"] = f"{low if unfair else 0.0:.1%} to {high:.1%}"
        row["bet, 95th percentile"] = f"{np.quantile(bets, 0.95):.3f}"
        found = false_alerts_by_split(rng, known, masses[:simulated], samples, min(simulated, len(masses)), 1)
        rows.append({**row, **found})
    return rows


def measure_all(args: argparse.Namespace) -> list[Row]:
    rng, n, rows = np.random.default_rng(args.seed), args.inputs, []
    real = quickstart_scores(args.quickstart)["test"].numpy() if args.quickstart else None
    if real is not None and len(real) != 2 * n:
        print(f"quickstart left out: it has {len(real)} held-out scores, and {2 * n} are needed for {n} inputs\n")
        real = None
    for law, masses in split_in_halves(rng, args.splits, n, real).items():
        rows += describe(rng, law, masses, n, args.simulated, args.samples)
    embeddings = cifar10_scores()
    if isinstance(embeddings, str):
        print(f"CIFAR-10 left out: {embeddings}\n")
        return rows
    for replace in (False, True):
        masses = drawn_from_all(rng, args.splits, n, embeddings["test"].numpy(), replace=replace)
        law = f"CIFAR-10, {'with' if replace else 'without'} replacement"
        rows += describe(rng, law, masses, n, args.simulated, args.samples)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=600, help="calibration inputs n (600)")
    parser.add_argument("--splits", type=int, default=2000, help="for the share of unfair splits (2,000)")
    parser.add_argument("--simulated", type=int, default=400, help="of them, for false alerts (400)")
    parser.add_argument("--samples", type=int, default=4_000_000, help="ID samples of each simulation, all splits")
    parser.add_argument("--quickstart", type=Path, help="folder of `make demo`, for its real scores")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    about = measure.about(f"seed {args.seed}; intervals of false alerts are a bootstrap over splits")
    print(f"{about['date']}; {about['machine']}; {about['versions']}; {about['method']}\n")
    began = time.perf_counter()
    show(measure_all(args))
    print(f"\n({time.perf_counter() - began:.0f} s)")


if __name__ == "__main__":
    main()
