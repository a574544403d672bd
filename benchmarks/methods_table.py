"""Every method on cached features of several networks: near-OOD, far-OOD, both FPR95s, and the gap to the best.

    python -m benchmarks.methods_table --features FOLDER
    export OPENOOD_LINE_DATA=DATA
    python -m benchmarks.methods_table --features DATA/features --quickstart quickstart --images --write docs

Methods have their default settings, or those of ``--set``; nothing is searched, for the files hold no OOD validation
images. ``--quickstart`` adds the LeNet of ``make demo`` from that command's folder, ``--images`` what `openood eval`
gives on CIFAR-10's images, searches included; both forward images. AUROC and FPR95 are means over the sets of a group,
the mean is that of near and far, the gap is to the best single method on the same network (the panel is none). Its 95 %
interval is a paired bootstrap: ID and OOD images are drawn again, the same for all methods; the best stays the method
that is best on all. LINe has two rows: `line (auto)` chooses its clip from the training images, `line (published)` has
the paper's settings for CIFAR-10. ``--write`` puts the tables into the docs (:mod:`benchmarks.documents`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import documents, feature_files, measure
from benchmarks.method_scores import Measured, Scores, Settings, score_all, score_images, score_quickstart
from line_plugin.benchmark import methods
from line_plugin.cli import options
from line_plugin.math.metrics import ood_metrics
from line_plugin.method.auto import AUTO

WHOLE = "panel"  # not a single method: gaps are to the best of the others
COLUMNS = ["near", "far", "mean", "FPR@95 near", "FPR@95 far", "FPR95 (ID+) near", "FPR95 (ID+) far"]
SHORT = {"cnn_glyphs99": "glyphs", "densenet_bc100_12_cifar10": "dense", "efficientnet_lite0_cifar10": "effnet"}
SHORT |= {"resnet20_cifar10": "resnet20", "small_cnn_cifar10": "cnn", "lenet_quickstart": "lenet"}
WITHOUT_RELU = {"convnext_cifar10": "convnext", "vit_cifar10": "vit"}  # of benchmarks.without_relu


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
    """A row for each method, the best mean first; shares, and gaps to the best single method in per cent."""
    resampled = resampled_means(measured, draws)
    rows = []
    for name, scores in measured.scores.items():
        metrics = {s: ood_metrics(scores["id"], a) for s, a in scores.items() if s != "id"}
        near, far = group_means(scores, lambda s, m=metrics: m[s].auroc)  # type: ignore[misc]
        fpr = group_means(scores, lambda s, m=metrics: m[s].fpr95)  # type: ignore[misc]
        fpr_id = group_means(scores, lambda s, m=metrics: m[s].fpr95_id)  # type: ignore[misc]
        sets = {s: m.auroc for s, m in metrics.items()}
        rows.append({"method": name, "values": [near, far, (near + far) / 2, *fpr, *fpr_id], "sets": sets})
    rows.sort(key=lambda row: -row["values"][2])
    best = next((row for row in rows if row["method"] != WHOLE), rows[0])
    for row in rows:
        low, high = np.quantile(resampled[row["method"]] - resampled[best["method"]], (0.025, 0.975))
        row |= {"gap": 100 * (row["values"][2] - best["values"][2]), "low": float(low), "high": float(high)}
    return rows


def label(method: str, settings: Settings) -> str:
    """The name of a row: of LINe's two, which settings it has."""
    if method == "line-paper":
        return "line (published)" if method not in settings else "line-paper (given)"
    if method == "line":
        return "line (auto)" if settings.get("line", {}).get("clip", AUTO) == AUTO else "line (given)"
    return method


def shown(rows: Sequence[Mapping[str, Any]], settings: Settings) -> list[dict[str, str]]:
    """For Markdown."""
    return [
        {"method": label(row["method"], settings)}
        | {c: f"{100 * v:.2f}" for c, v in zip(COLUMNS, row["values"], strict=True)}
        | {"gap to the best": _gap(row)}
        for row in rows
    ]


def shown_by_set(
    rows: Sequence[Mapping[str, Any]], chosen: Mapping[str, str], settings: Settings
) -> list[dict[str, str]]:
    """The same with the AUROC of every set, and what a search chose."""
    out = []
    for row in rows:
        values = dict(zip(COLUMNS, (f"{100 * v:.2f}" for v in row["values"]), strict=True))
        one = {"method": label(row["method"], settings)}
        for group in ("near", "far"):
            one |= {s.split(".", 1)[1]: f"{100 * v:.2f}" for s, v in row["sets"].items() if s.startswith(f"{group}.")}
            one[group] = values[group]
        one |= {"mean": values["mean"], "gap to the best": _gap(row)}
        out.append(one | {c: values[c] for c in COLUMNS[3:]} | {"chosen": chosen.get(row["method"], "")})
    return out


def _gap(row: Mapping[str, Any]) -> str:
    return f"{row['gap']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"


def gaps(tables: Mapping[str, Sequence[Mapping[str, Any]]], settings: Settings) -> list[dict[str, str]]:
    """A row for each method: its gap on every network, the mean and the worst; the best mean first."""
    by_method: dict[str, dict[str, float]] = {}
    for network, rows in tables.items():
        for row in rows:
            by_method.setdefault(row["method"], {})[network] = row["gap"]
    whole = {m: g for m, g in by_method.items() if len(g) == len(tables)}
    return [
        {"method": label(m, settings)}
        | {(SHORT | WITHOUT_RELU).get(n, n): f"{g[n]:+.2f}" for n in tables}
        | {"mean": f"{np.mean(list(g.values())):+.2f}", "worst": f"{min(g.values()):+.2f}"}
        for m, g in sorted(whole.items(), key=lambda item: -float(np.mean(list(item[1].values()))))
    ]


def gaps_name(networks: Sequence[str]) -> str:
    """The mark of the table of gaps: other networks than the six have another place, or none."""
    return "gaps" if set(networks) == set(SHORT) else "_".join(["gaps", *sorted(networks)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True, help="folder of .safetensors files, a network each")
    parser.add_argument("--quickstart", type=Path, help="folder of `make demo`, for its LeNet")
    parser.add_argument("--images", action="store_true", help="the DenseNet on images too: OPENOOD_LINE_DATA")
    parser.add_argument("--methods", help="comma-separated; all of them by default")
    parser.add_argument("--set", action="append", default=[], metavar="METHOD.SETTING=VALUE", help="as in openood eval")
    parser.add_argument("--draws", type=int, default=500, help="of the bootstrap (500)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the tables into DOCS/*.md, at their marks")
    args = parser.parse_args()
    names = args.methods.split(",") if args.methods else list(methods.names())
    settings = options.settings_of(args.set)
    data = measure.real_data()
    if args.images and data is None:
        raise SystemExit("not measured: --images needs OPENOOD_LINE_DATA, a folder with openood/ and checkpoints/")
    measured = [score_all(network, names, settings) for network in feature_files.read_all(args.features)]
    if args.quickstart:
        measured.append(score_quickstart(args.quickstart, names, settings))
    tables = {m.network: table(m, args.draws) for m in measured}
    for m in measured:
        for name, reason in m.left_out.items():
            print(f"Left out on {m.network}: {name}: {reason}")
    found = {gaps_name(list(tables)): gaps(tables, settings)} | {
        name: shown(rows, settings) for name, rows in tables.items()
    }
    if args.images and data is not None:
        with tempfile.TemporaryDirectory() as fresh:
            one = score_images(data, Path(os.environ.get("OPENOOD_LINE_CACHE", fresh)), names, settings)
        found[one.network] = shown_by_set(table(one, args.draws), one.chosen, settings)
    about = measure.about(f"paired bootstrap of {args.draws} draws; per cent; gaps: to the best single method")
    measure.show(about, found, args.json)
    if args.write:
        for page in documents.put_tables(args.write, found):
            print(f"written: {page}")


if __name__ == "__main__":
    main()
