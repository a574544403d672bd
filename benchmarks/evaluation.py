"""What fitting and evaluating cost beside the bare forward pass over the same images, and metrics beside scikit-learn.

    python -m benchmarks.evaluation --folder quickstart --json out.json

Images are the quickstart's, the network is an untrained ResNet-18 (its answers are no matter here). Every ratio is
taken in one run, pair by pair, the median over ``--repeats``, after one pass to warm up.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from line_plugin import LINe, architectures
from line_plugin.benchmark import image_list, images, quickstart, runner, spec
from line_plugin.benchmark.features import FeatureCache
from line_plugin.benchmark.runner import Options
from line_plugin.math.metrics import ood_metrics
from line_plugin.networks import find_head

METHODS = ("line", "msp", "ebo", "react", "dice", "ash", "knn")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Bench:
    """The network and the images, and the things that are timed."""

    def __init__(self, folder: Path, arch: str, workers: int) -> None:
        quickstart.prepare(folder / "data")
        self.root, self.workers = folder / "data", workers
        self.benchmark = spec.load("quickstart")
        torch.manual_seed(0)
        self.net = architectures.build(arch, self.benchmark.num_classes)
        sets = image_list.read_all(self.benchmark, self.root, csid=False, ood_val=True, skip_missing=False)
        self.train = sets.train
        assert sets.ood_val is not None
        self.all = [sets.train, sets.val, sets.test, sets.ood_val, *sets.near.values(), *sets.far.values()]

    def jobs(self, lists: list[image_list.ImageList]) -> list[images.Job]:
        return [images.Job(one.files, self.benchmark.preprocessing) for one in lists]

    def decode(self, lists: list[image_list.ImageList]) -> None:
        for _ in images.batches(self.jobs(lists), 200, self.workers):
            pass

    def bare(self, lists: list[image_list.ImageList]) -> None:
        with torch.no_grad():
            for _, batch in images.batches(self.jobs(lists), 200, self.workers):
                self.net(batch)

    def fit(self) -> None:
        at = 0

        def loader() -> Any:
            nonlocal at
            for _, batch in images.batches(self.jobs([self.train]), 200, self.workers):
                yield batch, torch.from_numpy(self.train.labels[at : at + len(batch)])
                at += len(batch)

        LINe(10, 10, 0.8).fit(self.net, loader())

    def literal_fit(self, count: int) -> None:
        """The published procedure: one image at a time, with a backward pass, everything logged."""
        logged = []
        for (_, image), label in zip(images.batches(self.jobs([self.train]), 1, 0), self.train.labels, strict=False):
            head = find_head(self.net, image, "fc").linear
            seen: list[torch.Tensor] = []
            handle = head.register_forward_pre_hook(lambda _m, x, seen=seen: seen.append(x[0].requires_grad_()))
            logit = self.net(image)[0, int(label)]
            handle.remove()
            (gradient,) = torch.autograd.grad(logit, seen[0])
            logged.append((seen[0].detach() * gradient).double().numpy())
            if len(logged) == count:
                return

    def evaluate(self, cache: Path, methods: tuple[str, ...], search: bool | None) -> int:
        features = FeatureCache(self.net, cache, device=torch.device("cpu"), num_workers=self.workers)
        return runner.evaluate(self.benchmark, self.root, features, Options(methods, search=search)).forwarded


def costs(bench: Bench, repeats: int, literal: int) -> dict[str, float]:
    ratios: dict[str, list[float]] = {}
    bench.bare([bench.train])
    for _ in range(repeats):
        train = seconds(lambda: bench.bare([bench.train]))
        ratios.setdefault("fit / bare forward pass (train)", []).append(seconds(bench.fit) / train)
        slow = seconds(lambda: bench.literal_fit(literal)) / literal * len(bench.train)
        ratios.setdefault("literal fit / bare forward pass (train)", []).append(slow / train)
        whole = seconds(lambda: bench.bare(bench.all))
        ratios.setdefault("decoding alone / bare forward pass (all)", []).append(
            seconds(lambda: bench.decode(bench.all)) / whole
        )
        with tempfile.TemporaryDirectory() as cache:
            first = seconds(lambda: bench.evaluate(Path(cache), METHODS, None))
            ratios.setdefault("eval, 7 methods, OpenOOD's searches / bare (all)", []).append(first / whole)
            again = seconds(lambda: bench.evaluate(Path(cache), ("line",), True))
            ratios.setdefault("eval again, line sweep of 8, cached / bare (all)", []).append(again / whole)
            assert bench.evaluate(Path(cache), ("gen",), False) == 0, "a second run forwarded images"
    return {name: statistics.median(values) for name, values in ratios.items()}


def metrics(samples: int) -> dict[str, float]:
    from sklearn import metrics as sk

    rng = np.random.default_rng(0)
    ind, ood = (rng.normal(m, 1, samples // 2).astype(np.float32) for m in (1, 0))
    label, conf = np.r_[np.zeros(len(ind)), np.ones(len(ood))], np.r_[ind, ood]

    def openood() -> None:
        sk.auc(*sk.roc_curve(label, -conf)[:2])
        for y, s in ((1 - label, conf), (label, -conf)):
            precision, recall, _ = sk.precision_recall_curve(y, s)
            sk.auc(recall, precision)

    pairs = [(seconds(lambda: ood_metrics(ind, ood)), seconds(openood)) for _ in range(7)]
    return {
        f"all metrics of {samples:,} scores, s": statistics.median(a for a, _ in pairs),
        "scikit-learn as OpenOOD calls it / ours": statistics.median(b / a for a, b in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="of the quickstart's images")
    parser.add_argument("--arch", default="resnet18_32x32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--literal", type=int, default=100, help="images of the literal fit")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    bench = Bench(args.folder, args.arch, args.workers)
    found = {**costs(bench, args.repeats, args.literal), **metrics(1_000_000)}
    about = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "method": f"medians of {args.repeats} pairs; {args.arch}, {sum(map(len, bench.all))} images",
        "date": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(about))
    print("| | |\n|-|-|")
    for name, value in found.items():
        print(f"| {name} | {value:.3g} |")
    if args.json:
        args.json.write_text(json.dumps({**about, "results": found}, indent=2))


if __name__ == "__main__":
    main()
