"""The fit beside the published procedure, per image, in time and memory; and the thresholds of 1000 classes.

    OPENOOD_LINE_DATA=FOLDER python -m benchmarks.fitting --json out.json

The published procedure: one image at a time, a forward and a full backward pass from the logit of its class, the
contributions (D) and the logits (K) of every image appended as float64 arrays. Both decode with two workers. Memory is
read in processes of their own. What a whole training set would take is the arrays' size times its images.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import measure
from line_plugin import LINe, networks
from line_plugin.benchmark.protocol import images, spec
from line_plugin.math.contributions import ClassSums
from line_plugin.networks.tap import tap_batches


@dataclass(frozen=True)
class Setup:
    """A network and how many images each side gets."""

    arch: str
    classes: int
    benchmark: str
    here: int
    literal: int
    whole: int  # images of the training set that it stands for


SETUPS = {
    "resnet18": Setup("resnet18_32x32", 10, "cifar10", 640, 60, 50_000),
    "densenet": Setup("densenet100_12", 10, "cifar10", 640, 60, 50_000),
    "resnet50": Setup("resnet50", 1000, "imagenet", 128, 24, 1_281_167),
}
BATCH = 32


class Bench:
    """A network with its images, and both ways to fit."""

    def __init__(self, setup: Setup, files: list[Path]) -> None:
        torch.manual_seed(0)
        self.setup, self.files = setup, files
        self.net = networks.build(setup.arch, setup.classes)
        self.preprocessing = spec.load(setup.benchmark).preprocessing
        self.labels = torch.randint(0, setup.classes, (len(files),), generator=torch.Generator().manual_seed(0))

    def batches(self, count: int, size: int) -> Any:
        job = images.Job(tuple(self.files[i % len(self.files)] for i in range(count)), self.preprocessing)
        at = 0
        for _, batch in images.batches([job], size, 2):
            yield batch, self.labels[torch.arange(at, at + len(batch)) % len(self.files)]
            at += len(batch)

    def here(self, count: int) -> None:
        """What ``LINe.fit`` does for each image; its thresholds, which no image adds to, are timed apart."""
        sums = None
        for batch in tap_batches(self.net, self.batches(count, BATCH)):
            sums = sums or ClassSums.zeros(batch.head.out_features, batch.head.in_features)
            sums.add_(batch.features, batch.labels)

    def literal(self, count: int) -> None:
        self.net.requires_grad_(True)
        head, logged, logits_log = _last_linear(self.net), [], []
        entered: list[torch.Tensor] = []

        def keep(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            inputs[0].retain_grad()
            entered.append(inputs[0])

        handle = head.register_forward_pre_hook(keep)
        for image, label in self.batches(count, 1):
            self.net.zero_grad()
            logits = self.net(image)
            logits[0, int(label)].backward()
            feature = entered.pop()
            logged.append((feature.detach() * feature.grad).double().numpy()[0])
            logits_log.append(logits.detach().double().numpy()[0])
        handle.remove()
        np.stack(logged), np.stack(logits_log)


def _last_linear(net: nn.Module) -> nn.Linear:
    return [m for m in net.modules() if isinstance(m, nn.Linear)][-1]


def files_of(setup: Setup, folder: Path) -> list[Path]:
    if setup.benchmark == "imagenet":
        return measure.photographs(folder, 128)
    data = measure.real_data()
    if data is None:
        raise SystemExit("not measured: no images; OPENOOD_LINE_DATA names no folder with openood/ in it")
    lines = (data / "openood/benchmark_imglist/cifar10/train_cifar10.txt").read_text().splitlines()
    return [data / "openood/images_classic" / line.split()[0] for line in lines[:1000]]


def one(name: str, side: str, folder: Path) -> dict[str, float]:
    """A side alone: seconds an image, and by how much memory grew."""
    setup = SETUPS[name]
    bench = Bench(setup, files_of(setup, folder))
    before = measure.peak_mb()
    count = getattr(setup, side)
    took = measure.seconds(lambda: getattr(bench, side)(count))
    return {"seconds": took / count, "before": before, "peak": measure.peak_mb()}


def compare(name: str, repeats: int, folder: Path) -> dict[str, str | float]:
    setup = SETUPS[name]
    bench = Bench(setup, files_of(setup, folder))
    bench.here(BATCH)
    bench.literal(2)
    pairs = []
    for _ in range(repeats):
        here = measure.seconds(lambda: bench.here(setup.here)) / setup.here
        literal = measure.seconds(lambda: bench.literal(setup.literal)) / setup.literal
        pairs.append((here, literal))
    memory = {
        side: measure.child("benchmarks.fitting", "--side", side, "--only", name, "--folder", str(folder))
        for side in ("here", "literal")
    }
    head = _last_linear(bench.net)
    k, d = head.out_features, head.in_features
    return {
        "network": setup.arch,
        "literal ms/image": 1e3 * statistics.median(literal for _, literal in pairs),
        "here ms/image": 1e3 * statistics.median(here for here, _ in pairs),
        "ratio": statistics.median(literal / here for here, literal in pairs),
        "peak MB literal": f"{memory['literal']['peak']:,.0f} (+{_grown(memory['literal']):,.0f})",
        "peak MB here": f"{memory['here']['peak']:,.0f} (+{_grown(memory['here']):,.0f})",
        "whole set, images": f"{setup.whole:,}",
        "arrays literal": f"{setup.whole * (k + d) * 8 / 1e6:,.0f} MB",
        "arrays here": f"{(k * d + k) * 8 / 1e6:,.2f} MB",
    }


def _grown(found: dict[str, float]) -> float:
    return found["peak"] - found["before"]


def thresholds(classes: int) -> list[dict[str, str | float]]:
    """``fit_sums`` of an ImageNet head: all K percentiles; numpy's are timed on some classes and scaled."""
    g = torch.Generator().manual_seed(0)
    k, d = 1000, 2048
    weight = torch.randn(k, d, generator=g) * 0.03
    sums = ClassSums(torch.rand(k, d, generator=g, dtype=torch.float64), torch.ones(k, dtype=torch.int64))
    line = LINe(10, 10, 0.8)
    start = time.perf_counter()
    line.fit_sums(sums, weight, None)
    whole = time.perf_counter() - start
    head, c = weight.double().numpy(), (sums.sums * weight.double()).abs().numpy()
    start = time.perf_counter()
    same = [np.percentile(c[i] * head, 10) for i in range(classes)]
    naive = (time.perf_counter() - start) / classes * k
    equal = same == line._state.thresholds[:classes].tolist()
    row = {"K x D": f"{k} x {d}", "fit_sums, s": whole, f"np.percentile alone, s ({classes} classes, scaled)": naive}
    return [{**row, "ratio": naive / whole, "same bits": str(equal)}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*SETUPS, "thresholds"], action="append")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=("here", "literal"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.side:
        print(json.dumps(one(args.only[0], args.side, args.folder)))
        return
    wanted = args.only or [*SETUPS, "thresholds"]
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        rows = [compare(name, args.repeats, Path(folder)) for name in SETUPS if name in wanted]
    if rows:
        tables["The published procedure beside the fit"] = rows
    if "thresholds" in wanted:
        tables["Thresholds"] = thresholds(40)
    counts = ", ".join(f"{s.arch} {s.literal} and {s.here}" for n, s in SETUPS.items() if n in wanted)
    measure.show(
        measure.about(f"medians of {args.repeats} pairs; images (literal and here): {counts}"), tables, args.json
    )


if __name__ == "__main__":
    main()
