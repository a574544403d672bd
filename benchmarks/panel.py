"""How near the panel stays to the best single method, and what each of its experts earns.

    python -m benchmarks.panel --features FOLDER [--quickstart QUICKSTART] --json out.json

FOLDER and QUICKSTART are those of ``benchmarks.settings``. A score is the mean of near and far AUROC in per cent, each
the mean of its sets. A *gap* is the score less that of the best single method on that network, chosen with hindsight
among every other method of the benchmark at its defaults (and KNN with 10 neighbours), which nobody can do who deploys.
Every method is fitted on training rows alone. Intervals are 95 % of bootstrap resamples of the test rows of each set,
the same rows for both methods, the best single method held fixed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import measure
from benchmarks.settings import Network, networks_of
from line_plugin import Panel
from line_plugin.benchmark import methods
from line_plugin.benchmark.methods.base import FeatureSet, FitData
from line_plugin.math.experts.combination import Scale
from line_plugin.method.panel_fit import EXPERTS

CANDIDATES = ("fdbd", "gen", "nci")
PROTOTYPES = (1, 3, 5)
KNN10 = "knn, K = 10"
ORIGINALS = {"prototypes": KNN10, "virtual_logit": "vim"}  # what an expert is a cheaper form of
Floats = NDArray[np.float64]
Scores = dict[str, Floats]  # by set: "test", "near.NAME", "far.NAME"
Row = dict[str, str | float]


@dataclass(frozen=True)
class Measured:
    """One network: the scores of every single method, and the scaled experts, old and new, and smaller panels."""

    name: str
    classes: int
    singles: dict[str, Scores]
    experts: dict[str, Scores]
    small: dict[int, Scores]

    def best(self, value: Callable[[Scores], float]) -> tuple[str, float]:
        """The single method with the highest value, and that value."""
        return max(((n, value(s)) for n, s in self.singles.items()), key=lambda pair: pair[1])

    def panel(self, experts: Iterable[str]) -> Scores:
        """The sum of some experts."""
        chosen = [self.experts[name] for name in experts]
        return {name: np.sum([scores[name] for scores in chosen], axis=0) for name in chosen[0]}


def auroc(inside: Floats, outside: Floats) -> float:
    """In per cent; ties count half."""
    ordered = np.sort(inside)
    below = np.searchsorted(ordered, outside, "left") + np.searchsorted(ordered, outside, "right")
    return float(100 * (1 - below.mean() / (2 * len(ordered))))


def group(scores: Scores, prefix: str) -> float:
    """The mean AUROC of the near or far sets."""
    return statistics.mean(auroc(scores["test"], s) for n, s in scores.items() if n.startswith(f"{prefix}."))


def near(scores: Scores) -> float:
    return group(scores, "near")


def both(scores: Scores) -> float:
    """The mean of near and far AUROC."""
    return (near(scores) + group(scores, "far")) / 2


def measure_network(network: Network, without: Sequence[str] = (), rows: int = 3000) -> Measured:
    n, generator = network, torch.Generator().manual_seed(0)
    sets = {"test": n.test} | {f"{g}.{name}": x for g, found in n.ood.items() for name, x in found.items()}
    order = torch.randperm(len(n.train), generator=generator)
    data = fit_data(n, order[: min(2000, len(order) // 5)])
    training = n.train[order[:rows]]

    def score(method: Callable[[Tensor], Tensor], x: Tensor) -> Floats:
        with torch.no_grad():
            return torch.cat([method(part).double() for part in x.split(2048)]).numpy()

    def scaled(name: str, method: Callable[[Tensor], Tensor]) -> Scores:
        scale = Scale.find(name, torch.from_numpy(score(method, training)))
        return {k: scale.apply(torch.from_numpy(score(method, x))).numpy() for k, x in sets.items()}

    panel = Panel().fit_features(n.train, n.labels, n.weight, n.bias)
    small = {
        p: Panel(prototypes=p, line=panel.line.settings).fit_features(n.train, n.labels, n.weight, n.bias)
        for p in PROTOTYPES
    }
    singles: dict[str, Scores] = {}
    experts = {k: panel.score_experts(x) for k, x in sets.items()}
    found = {name: {k: experts[k][name].numpy() for k in sets} for name in EXPERTS}
    for name in [*methods.names(), KNN10]:
        if name == "panel" or name in without:
            continue
        method = methods.create(name.split(",")[0], {"K": 10} if name == KNN10 else None)
        try:
            method.fit(data)
            singles[name] = {k: score(method.score, x) for k, x in sets.items()}
        except Exception as error:  # one that cannot be fitted on this network is no rival there
            print(f"{n.name}: {name} left out, {type(error).__name__}: {error}", file=sys.stderr)
            continue
        if name in (*CANDIDATES, *ORIGINALS.values()):
            found[name] = scaled(name, method.score)
    return Measured(
        n.name,
        len(n.weight),
        singles,
        found,
        {p: {k: score(one.score, x) for k, x in sets.items()} for p, one in small.items()},
    )


def fit_data(n: Network, val: Tensor) -> FitData:
    def feature_set(name: str, rows: Tensor, labels: Tensor) -> FeatureSet:
        predicted = (rows @ n.weight.T + n.bias).argmax(dim=1).numpy()
        return FeatureSet(name, rows, predicted, labels.numpy(), name)

    return FitData(
        feature_set("train", n.train, n.labels), feature_set("val", n.train[val], n.labels[val]), n.weight, n.bias
    )


def gaps(measured: Sequence[Measured], scores: Callable[[Measured], Scores]) -> Row:
    """One row: the gap of each network, mean and worst, and both for near AUROC alone."""
    each = [both(scores(m)) - m.best(both)[1] for m in measured]
    only_near = [near(scores(m)) - m.best(near)[1] for m in measured]
    row: Row = {m.name: f"{gap:+.2f}" for m, gap in zip(measured, each, strict=True)}
    row |= {"mean": f"{statistics.mean(each):+.2f}", "worst": f"{min(each):+.2f}"}
    return row | {"near: mean": f"{statistics.mean(only_near):+.2f}", "near: worst": f"{min(only_near):+.2f}"}


def bootstrap(measured: Sequence[Measured], draws: int, seed: int = 0) -> Row:
    """95 % intervals of the gaps of the whole panel."""
    rng, drawn = np.random.default_rng(seed), np.empty((draws, len(measured)))
    for column, m in enumerate(measured):
        pair = m.panel(EXPERTS), m.singles[m.best(both)[0]]
        for draw in range(draws):
            rows = {name: rng.integers(0, len(s), len(s)) for name, s in pair[0].items()}
            first, second = ({name: s[rows[name]] for name, s in scores.items()} for scores in pair)
            drawn[draw, column] = both(first) - both(second)

    def interval(values: Floats) -> str:
        low, high = np.quantile(values, [0.025, 0.975])
        return f"{low:+.2f} to {high:+.2f}"

    row: Row = {m.name: interval(drawn[:, i]) for i, m in enumerate(measured)}
    return row | {"mean": interval(drawn.mean(axis=1)), "worst": interval(drawn.min(axis=1))}


def tables(measured: Sequence[Measured], draws: int) -> Mapping[str, Sequence[Row]]:
    def named(name: str, row: Row) -> Row:
        return {"": name, **row}

    def without(name: str) -> list[str]:
        return [e for e in EXPERTS if e != name]

    whole = gaps(measured, lambda m: m.panel(EXPERTS))
    best = {m.name: "{} {:.2f}".format(*m.best(both)) for m in measured}
    interval = bootstrap(measured, draws)
    empty = {"near: mean": "", "near: worst": ""}
    first = [
        named("best single method", {**best, "mean": "", "worst": "", **empty}),
        named(
            "panel", {m.name: f"{both(m.panel(EXPERTS)):.2f}" for m in measured} | {"mean": "", "worst": "", **empty}
        ),
        named("gap", whole),
        named("95 %", {**interval, **empty}),
    ]
    names = [name for name in measured[0].singles if all(name in m.singles for m in measured)]

    def of_single(name: str) -> Row:
        return gaps(measured, lambda m: m.singles[name])

    ranked = sorted(((name, of_single(name)) for name in names), key=lambda pair: -float(pair[1]["mean"]))
    ablation = [named("panel", whole)]
    ablation += [named(f"without {e}", gaps(measured, lambda m, e=e: m.panel(without(e)))) for e in EXPERTS]
    ablation += [named(f"with {c}", gaps(measured, lambda m, c=c: m.panel([*EXPERTS, c]))) for c in CANDIDATES]
    ablation += [
        named(f"{c} instead of {e}", gaps(measured, lambda m, c=c, e=e: m.panel([*without(e), c])))
        for e in EXPERTS[1:]
        for c in CANDIDATES
    ]
    ablation += [
        named(f"{o} instead of {e}", gaps(measured, lambda m, o=o, e=e: m.panel([*without(e), o])))
        for e, o in ORIGINALS.items()
    ]
    ablation += [named(f"{e} alone", gaps(measured, lambda m, e=e: m.panel([e]))) for e in EXPERTS]
    small = [named(f"{p} prototypes", gaps(measured, lambda m, p=p: m.small[p])) for p in PROTOTYPES]
    return {
        "The panel and the best single method of each network, AUROC in per cent": first,
        "What each expert earns: gaps": ablation,
        "Fewer prototypes a class: gaps": small,
        "Single methods: gaps": [named(*pair) for pair in ranked],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True, help="folder of NAME.safetensors")
    parser.add_argument("--quickstart", type=Path, help="folder that `openood quickstart` wrote")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="METHOD", help="single methods to leave out, for time"
    )
    parser.add_argument("--draws", type=int, default=200, help="bootstrap resamples (200)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    measured = [measure_network(network, args.without) for network in networks_of(args.features, args.quickstart)]
    if not measured:
        raise SystemExit(f"no network in {args.features}: expected NAME.safetensors files")
    header = measure.about(f"{args.draws} bootstrap draws; {len(measured[0].singles)} single methods")
    measure.show(header, tables(measured, args.draws), args.json)


if __name__ == "__main__":
    main()
