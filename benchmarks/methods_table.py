"""Every method on cached features of several networks: near-OOD, far-OOD, both FPR95s, and the gap to the best.

    python -m benchmarks.methods_table --features FOLDER
    python -m benchmarks.methods_table --features FOLDER --quickstart quickstart --json out.json

Methods have their default settings, or those of ``--set``; nothing is searched, for the files hold no OOD validation
images. ``--quickstart`` adds the LeNet of ``make demo`` from that command's folder. AUROC and FPR95 are means over the
sets of a group, the mean is that of near and far, the gap is to the best single method on the same network. Its 95 %
interval is a paired bootstrap: ID and OOD images are drawn again, the same for all methods; the best stays the method
that is best on all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import feature_files, measure
from line_plugin.benchmark import methods
from line_plugin.benchmark.methods.base import Setting
from line_plugin.cli import options
from line_plugin.errors import FitError, SettingsError
from line_plugin.math.metrics import ood_metrics

Scores = dict[str, NDArray[np.float32]]
"""Confidences by set: ``id``, ``near.NAME``, ``far.NAME``."""


@dataclass(frozen=True)
class Measured:
    """All methods on one network: confidences by method, and why a method is missing."""

    network: str
    scores: dict[str, Scores]
    left_out: dict[str, str]


Settings = dict[str, dict[str, Setting]]
"""By method, over its defaults."""


def score_all(network: feature_files.Network, names: list[str], settings: Settings) -> Measured:
    """Fit and score each method; one that cannot be fitted is left out by name."""
    scores: dict[str, Scores] = {}
    left_out: dict[str, str] = {}
    for name in names:
        start = time.perf_counter()
        method = methods.create(name, settings.get(name))
        try:
            method.fit(network.data)
        except (FitError, SettingsError) as error:
            left_out[name] = str(error)
            continue
        sets = {"id": network.test, **network.ood}
        with torch.no_grad():
            scores[name] = {
                key: torch.cat([method.score(part).float() for part in rows.split(4096)]).numpy()  # type: ignore[no-untyped-call]
                for key, rows in sets.items()
            }
        print(f"{network.name}: {name} {time.perf_counter() - start:.1f} s", flush=True)
    return Measured(network.name, scores, left_out)


def score_quickstart(folder: Path, names: list[str], settings: Settings) -> Measured:
    """The same on the network that ``make demo`` trained, from its cache."""
    from line_plugin import networks
    from line_plugin.benchmark.protocol import runner, spec
    from line_plugin.benchmark.protocol.features import FeatureCache

    benchmark = spec.load("quickstart")
    assert benchmark.arch is not None
    net = networks.build(benchmark.arch, benchmark.num_classes)
    networks.load_checkpoint(net, folder / "lenet.safetensors")
    cache = FeatureCache(net, folder / "cache", device=torch.device("cpu"), num_workers=0)
    every = {
        name: dict(methods.create(name, settings.get(name)).settings) for name in names
    }  # over the benchmark's own
    chosen = runner.Options(tuple(names), every, search=False)
    run = runner.evaluate(benchmark, folder / "data", cache, chosen)
    scores = {r.name: {_in_group(run.groups[s], s): a for s, a in r.scores.items()} for r in run.results}
    return Measured("lenet_quickstart", scores, {})


def _in_group(group: str, name: str) -> str:
    return "id" if group == "id" else f"{group}.{name}"


def group_means(scores: Scores, measure_of: Callable[[str], float]) -> tuple[float, float]:
    """The unweighted means over near and over far sets."""
    near, far = ([measure_of(s) for s in scores if s.startswith(g)] for g in ("near.", "far."))
    return float(np.mean(near)), float(np.mean(far))


def resampled_auroc(
    id_scores: NDArray[Any], ood_scores: NDArray[Any], id_counts: NDArray[Any], ood_counts: NDArray[Any]
) -> NDArray[np.float64]:
    """AUROC (B,) if each image counts as often as a draw says: counts (B, N) of ID and (B, M) of OOD images."""
    order = np.argsort(id_scores, kind="stable")
    ranked = id_scores[order]
    below = np.zeros((len(id_counts), len(ranked) + 1))
    np.cumsum(id_counts[:, order], axis=1, out=below[:, 1:])
    less, at_most = (below[:, np.searchsorted(ranked, ood_scores, side)] for side in ("left", "right"))
    wrong = (ood_counts * (less + at_most)).sum(axis=1) / 2
    return 1 - wrong / (id_counts.sum(axis=1) * ood_counts.sum(axis=1))


def resampled_means(measured: Measured, draws: int) -> dict[str, NDArray[np.float64]]:
    """The mean of near and far AUROC (draws,) in per cent by method, the same draws for all."""
    rng = np.random.default_rng(0)
    first = next(iter(measured.scores.values()))
    counts = {s: rng.multinomial(len(a), np.full(len(a), 1 / len(a)), draws) for s, a in first.items()}
    out = {}
    for name, scores in measured.scores.items():
        aurocs = {s: resampled_auroc(scores["id"], a, counts["id"], counts[s]) for s, a in scores.items() if s != "id"}
        groups = [np.mean([a for s, a in aurocs.items() if s.startswith(g)], axis=0) for g in ("near.", "far.")]
        out[name] = 100 * np.mean(groups, axis=0)
    return out


def table(measured: Measured, draws: int) -> list[dict[str, Any]]:
    """A row for each method, the best mean first; per cent."""
    resampled = resampled_means(measured, draws)
    rows = []
    for name, scores in measured.scores.items():
        metrics = {s: ood_metrics(scores["id"], a) for s, a in scores.items() if s != "id"}
        near, far = group_means(scores, lambda s, m=metrics: m[s].auroc)  # type: ignore[misc]
        fpr = group_means(scores, lambda s, m=metrics: m[s].fpr95)  # type: ignore[misc]
        fpr_id = group_means(scores, lambda s, m=metrics: m[s].fpr95_id)  # type: ignore[misc]
        rows.append({"method": name, "values": [near, far, (near + far) / 2, *fpr, *fpr_id]})
    rows.sort(key=lambda row: -row["values"][2])
    best = rows[0]
    for row in rows:
        low, high = np.quantile(resampled[row["method"]] - resampled[best["method"]], (0.025, 0.975))
        row |= {"gap": 100 * (row["values"][2] - best["values"][2]), "low": float(low), "high": float(high)}
    return rows


def shown(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """For Markdown."""
    columns = ["near", "far", "mean", "FPR@95 near", "FPR@95 far", "FPR95 (ID+) near", "FPR95 (ID+) far"]
    return [
        {"method": row["method"]}
        | {c: f"{100 * v:.2f}" for c, v in zip(columns, row["values"], strict=True)}
        | {"gap to the best": f"{row['gap']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"}
        for row in rows
    ]


def gaps(tables: dict[str, list[dict[str, Any]]]) -> list[dict[str, str]]:
    """A row for each method: its gap on every network, the mean and the worst; the best mean first."""
    by_method: dict[str, dict[str, float]] = {}
    for network, rows in tables.items():
        for row in rows:
            by_method.setdefault(row["method"], {})[network] = row["gap"]
    whole = {m: g for m, g in by_method.items() if len(g) == len(tables)}
    return [
        {"method": m}
        | {n: f"{g[n]:.2f}" for n in tables}
        | {"mean": f"{np.mean(list(g.values())):.2f}", "worst": f"{min(g.values()):.2f}"}
        for m, g in sorted(whole.items(), key=lambda item: -float(np.mean(list(item[1].values()))))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True, help="folder of .safetensors files, a network each")
    parser.add_argument("--quickstart", type=Path, help="folder of `make demo`, for its LeNet")
    parser.add_argument("--methods", help="comma-separated; all of them by default")
    parser.add_argument("--set", action="append", default=[], metavar="METHOD.SETTING=VALUE", help="as in openood eval")
    parser.add_argument("--draws", type=int, default=500, help="of the bootstrap (500)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    names = args.methods.split(",") if args.methods else list(methods.names())
    settings = options.settings_of(args.set)
    measured = [score_all(network, names, settings) for network in feature_files.read_all(args.features)]
    if args.quickstart:
        measured.append(score_quickstart(args.quickstart, names, settings))
    tables = {m.network: table(m, args.draws) for m in measured}
    for m in measured:
        for name, reason in m.left_out.items():
            print(f"Left out on {m.network}: {name}: {reason}")
    about = measure.about(f"default settings, paired bootstrap of {args.draws} draws; per cent")
    every = {"Gap of the mean of near and far AUROC to the best single method": gaps(tables)}
    measure.show(about, every | {name: shown(rows) for name, rows in tables.items()}, args.json)


if __name__ == "__main__":
    main()
