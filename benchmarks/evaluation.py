"""What fitting and evaluating cost beside the bare forward pass over the same images, and metrics beside scikit-learn.

    python -m benchmarks.evaluation --folder quickstart --json out.json
    python -m benchmarks.evaluation --profile

Images are the quickstart's, the network is untrained (its answers are no matter here). The bare pass decodes the same
images through the same loader and forwards them in the same batches and memory format. Every ratio is taken in one run,
pair by pair, the median over ``--repeats``, after one pass to warm up. ``--profile`` says where the time goes instead.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import measure, profiling
from benchmarks.measure import seconds
from line_plugin import LINe, networks
from line_plugin.benchmark.protocol import image_list, images, runner, spec
from line_plugin.benchmark.protocol.features import FeatureCache
from line_plugin.benchmark.protocol.results import Evaluation
from line_plugin.benchmark.protocol.runner import Options
from line_plugin.math.metrics import ood_metrics
from line_plugin.networks.head import find_head
from line_plugin.networks.tap import forward
from line_plugin.quickstart import dataset

BATCH = 32
METHODS = ("line", "msp", "ebo", "react", "dice", "ash", "knn")


class Bench:
    """The network and the images, and the things that are timed."""

    def __init__(self, folder: Path, arch: str, workers: int, every: int) -> None:
        dataset.prepare(folder / "data")
        self.root, self.workers = folder / "data", workers
        if every > 1:
            self.root = _thinned(self.root, folder / f"every-{every}", every)
        self.benchmark = spec.load("quickstart")
        torch.manual_seed(0)
        self.net = networks.build(arch, self.benchmark.num_classes)
        sets = image_list.read_all(self.benchmark, self.root, csid=False, ood_val=True, skip_missing=False)
        self.train = sets.train
        assert sets.ood_val is not None
        self.all = [sets.train, sets.val, sets.test, sets.ood_val, *sets.near.values(), *sets.far.values()]

    def jobs(self, lists: list[image_list.ImageList]) -> list[images.Job]:
        return [images.Job(one.files, self.benchmark.preprocessing) for one in lists]

    def bare(self, lists: list[image_list.ImageList]) -> None:
        jobs = self.jobs(lists)
        head = find_head(self.net, next(images.batches(jobs, 1, 0))[1])
        for _, batch in images.batches(jobs, BATCH, self.workers):
            forward(self.net, head, batch)

    def as_openood(self, lists: list[image_list.ImageList]) -> None:
        """Batches of 200 in the usual memory format."""
        with torch.no_grad():
            for _, batch in images.batches(self.jobs(lists), 200, self.workers):
                self.net(batch)

    def fit(self) -> None:
        at = 0

        def loader() -> Any:
            nonlocal at
            for _, batch in images.batches(self.jobs([self.train]), BATCH, self.workers):
                yield batch, torch.from_numpy(self.train.labels[at : at + len(batch)])
                at += len(batch)

        LINe(10, 10, 0.8).fit(self.net, loader())

    def evaluate(self, cache: Path, methods: tuple[str, ...], search: bool | None) -> Evaluation:
        features = FeatureCache(self.net, cache, device=torch.device("cpu"), num_workers=self.workers)
        return runner.evaluate(self.benchmark, self.root, features, Options(methods, search=search))


def _thinned(root: Path, to: Path, every: int) -> Path:
    """A data root with each so-manieth line of the lists of ``root``, and its images."""
    (to / dataset.LISTS).mkdir(parents=True, exist_ok=True)
    if not (to / "images_classic").exists():
        (to / "images_classic").symlink_to((root / "images_classic").resolve())
    for path in (root / dataset.LISTS).glob("*.txt"):
        lines = path.read_text().splitlines(keepends=True)[::every]
        (to / dataset.LISTS / path.name).write_text("".join(lines))
    return to


def costs(bench: Bench, repeats: int) -> list[dict[str, str | float]]:
    ratios: dict[tuple[str, str], list[float]] = {}

    def note(what: str, bound: str, value: float) -> None:
        ratios.setdefault((what, bound), []).append(value)

    with tempfile.TemporaryDirectory() as cache:
        bench.evaluate(Path(cache), METHODS, True)  # imports, compiled kernels
    for _ in range(repeats):
        train = seconds(lambda: bench.bare([bench.train]))
        note("fit / bare forward pass (train)", "1.05", seconds(bench.fit) / train)
        whole = seconds(lambda: bench.bare(bench.all))
        with tempfile.TemporaryDirectory() as cache:
            first = seconds(lambda: bench.evaluate(Path(cache), METHODS, True))
            note("eval, 7 methods, every search (line: 8 points) / bare (all)", "1.1", first / whole)
            again = seconds(lambda: bench.evaluate(Path(cache), ("line",), True))
            note("eval again, line with its search, cached / bare (all)", "", again / whole)
            forwarded = float(bench.evaluate(Path(cache), ("gen",), False).forwarded)
            note("images forwarded by another method on the cached features", "0", forwarded)
        note(
            "batches of 200, usual memory format / bare (all)", "", seconds(lambda: bench.as_openood(bench.all)) / whole
        )
    return [{"": w, "measured": statistics.median(v), "bound": b} for (w, b), v in ratios.items()]


def metrics(samples: int) -> list[dict[str, str | float]]:
    from sklearn import metrics as sk

    rng = np.random.default_rng(0)
    ind, ood = (rng.normal(m, 1, samples // 2).astype(np.float32) for m in (1, 0))
    label, conf = np.r_[np.zeros(len(ind)), np.ones(len(ood))], np.r_[ind, ood]

    def scikit_learn() -> None:
        sk.auc(*sk.roc_curve(label, -conf)[:2])
        for y, s in ((1 - label, conf), (label, -conf)):
            precision, recall, _ = sk.precision_recall_curve(y, s)
            sk.auc(recall, precision)

    def pytorch_ood() -> None:
        from pytorch_ood.metrics import OODMetrics

        found = OODMetrics()
        found.update(torch.from_numpy(-conf), torch.from_numpy(np.r_[np.zeros(len(ind)), -np.ones(len(ood))]).long())
        found.compute()

    sides: dict[str, Callable[[], object]] = {
        "scikit-learn as OpenOOD calls it": scikit_learn,
        "pytorch-ood": pytorch_ood,
    }
    upstream = _openood_metrics()
    if upstream:
        sides["OpenOOD's compute_all_metrics"] = lambda: upstream(
            conf, np.where(label == 1, -1, 0), np.zeros(len(conf))
        )
    rows: list[dict[str, str | float]] = []
    ours = []
    for name, side in sides.items():
        pairs = [(seconds(lambda: ood_metrics(ind, ood)), seconds(side)) for _ in range(7)]
        ours += [a for a, _ in pairs]
        rows.append({"": f"{name} / ours", "measured": statistics.median(b / a for a, b in pairs), "bound": ""})
    if not upstream:
        rows.append({"": "OpenOOD's compute_all_metrics / ours", "measured": "not measured: no OpenOOD", "bound": ""})
    whole = {"": f"all metrics of {samples:,} scores, s", "measured": statistics.median(ours), "bound": "0.15"}
    return [whole, *rows]


def _openood_metrics() -> Callable[..., object] | None:
    if source := os.environ.get("OPENOOD_SOURCE"):
        sys.path.insert(0, source)
    try:
        from line_plugin.integrations.openood.compat import import_upstream

        import_upstream()
        found: Callable[..., object] = importlib.import_module("openood.evaluators.metrics").compute_all_metrics
    except Exception:
        return None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="of the quickstart's images")
    parser.add_argument("--arch", default="resnet18_32x32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="take each so-manieth image of the quickstart")
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 1) // 4, help="as `openood eval` on a CPU")
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    bench = Bench(args.folder, args.arch, args.workers, args.every)
    about = measure.about(f"medians of {args.repeats} pairs; {args.arch}, {sum(map(len, bench.all))} images")
    if args.profile:
        with tempfile.TemporaryDirectory() as cache:
            bench.evaluate(Path(cache), METHODS, True)
        with tempfile.TemporaryDirectory() as cache:
            tables = profiling.of_bench(bench, Path(cache), METHODS)
    else:
        tables = {"Fit and eval": costs(bench, args.repeats), "Metrics": metrics(1_000_000)}
    measure.show(about, tables, args.json)


if __name__ == "__main__":
    main()
