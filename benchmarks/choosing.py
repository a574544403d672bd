"""What choosing the clip adds to a fit: the sample in the pass, and the rule after it.

    python -m benchmarks.choosing --json out.json

Networks have random weights and images are random tensors, so no decoding is counted. *forward* is the bare pass
without gradients; *sums* and *sample* are what the fit does with each batch of features; *choice* is the rule on a full
sample. All of it is processor time of one thread.
*fit over forward* is for the training set that the network stands for, its images times the first three, plus the last.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import measure
from line_plugin import networks
from line_plugin.math.class_sample import ClassSample
from line_plugin.math.contributions import ClassSums
from line_plugin.math.leave_out import choose_clip
from line_plugin.networks.tap import tap_batches

BATCH = 32


@dataclass(frozen=True)
class Setup:
    """A network, the side of its images, how many are forwarded here and in the training set that it stands for."""

    arch: str
    classes: int
    side: int
    here: int
    whole: int


SETUPS = (
    Setup("lenet_mnist", 8, 28, 2048, 2_800),
    Setup("resnet18_32x32", 10, 32, 128, 50_000),
    Setup("densenet100_12", 100, 32, 128, 50_000),
    Setup("resnet50", 1000, 224, 32, 1_281_167),
)


def timed(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the processor, so that a machine with other work on it gives the same."""

    def once() -> float:
        begin = time.process_time()
        work()
        return time.process_time() - begin

    return statistics.median(once() for _ in range(repeats))


def passing(setup: Setup, add: Callable[[torch.Tensor, torch.Tensor], object], width: int) -> float:
    """Seconds an image of what the fit does with features, over the training set and at most 20,000 images of it."""
    g = torch.Generator().manual_seed(0)
    features = torch.rand(4096, width, generator=g)
    count, spent = min(setup.whole, 20_000), 0.0
    for start in range(0, count, BATCH):
        rows = features[start % 4096 : start % 4096 + BATCH]
        labels = torch.randint(0, setup.classes, (len(rows),), generator=g)
        begin = time.process_time()
        add(rows, labels)
        spent += time.process_time() - begin
    return spent / count


def row(setup: Setup, repeats: int) -> dict[str, str | float]:
    torch.manual_seed(0)
    net = networks.build(setup.arch, setup.classes)
    images = torch.randn(BATCH, 3, setup.side, setup.side)
    loader = [(images, torch.zeros(BATCH, dtype=torch.int64))] * (setup.here // BATCH)
    head = next(iter(tap_batches(net, loader[:1]))).head

    def forward() -> None:
        for _ in tap_batches(net, loader):
            pass

    one = timed(forward, repeats) / setup.here
    width = head.in_features
    sums = passing(setup, ClassSums.zeros(setup.classes, width).add_, width)
    sample = ClassSample(setup.classes)
    drawn = passing(setup, sample.add_, width)
    choice = timed(lambda: choose_clip(sample.features, sample.labels, head.weight, head.bias), repeats)
    each, whole = one + sums + drawn, setup.whole
    return {
        "network": setup.arch,
        "K x D": f"{setup.classes} x {width}",
        "forward, ms an image": 1e3 * one,
        "sums, us": 1e6 * sums,
        "sample, us": 1e6 * drawn,
        "choice, s": choice,
        "rows kept": str(len(sample.labels)),
        "training images": f"{whole:,}",
        "choice, as images forwarded": choice / one,
        "fit over forward": f"{(whole * each + choice) / (whole * one):.4f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=[setup.arch for setup in SETUPS], action="append")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row(setup, args.repeats) for setup in SETUPS if not args.only or setup.arch in args.only]
    measure.show(
        measure.about(f"medians of {args.repeats}, batches of {BATCH}"),
        {"What choosing the clip costs": rows},
        args.json,
    )


if __name__ == "__main__":
    main()
