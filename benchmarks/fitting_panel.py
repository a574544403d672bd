"""What a fit of the panel costs beside the bare forward pass over the same images, and beside LINe's own.

    OPENOOD_LINE_DATA=FOLDER python -m benchmarks.fitting_panel --threads 1 --json out.json

The bare pass decodes the same images through the same loader and forwards them in the same batches; finding the head is
counted in. A round is the bare pass, then at once ``LINe.auto().fit``, then ``Panel().fit``; ratios are taken within a
round, of CPU seconds of this process, which hardly depend on what else the machine does (workers decode apart, for all
three alike). A part of a fit grows with the images, the rest comes after the pass and does not grow beyond a sample of
32,768 rows: the second table tells the two apart, on random features, and what they come to on the whole training set
beside a bare pass as fast as the one measured here. Of ResNet-50 only that pass is measured, for a fit needs 1,000
images.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import measure
from benchmarks.fitting import BATCH, SETUPS, Bench, Setup, files_of
from benchmarks.scoring_panel import rows
from line_plugin import LINe, Panel
from line_plugin.method import fit, panel_fit
from line_plugin.method.auto import Rule
from line_plugin.networks.head import find_head
from line_plugin.networks.tap import forward

IMAGES = {"densenet": 320, "resnet50": 64}
WIDTHS = {"densenet": 342, "resnet50": 2048}
Row = dict[str, str | float]


def bare(bench: Bench, count: int) -> None:
    head = None
    for images, _ in bench.batches(count, BATCH):
        head = head or find_head(bench.net, images[:1])
        forward(bench.net, head, images)


def bench_of(setup: Setup, count: int, folder: Path) -> Bench:
    """With ``count`` images, and classes in turn, so that as many as can be have one."""
    bench = Bench(setup, files_of(setup, folder))
    bench.net.eval()
    bench.files = [bench.files[i % len(bench.files)] for i in range(count)]
    bench.labels = torch.arange(count) % setup.classes
    bare(bench, BATCH)
    return bench


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process, all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(bench: Bench, count: int, repeats: int) -> Row:
    """The whole fit over the bare pass, after one of few images that loads what is compiled."""
    Panel().fit(bench.net, bench.batches(BATCH, BATCH))
    passes, lines, panels = [], [], []
    for _ in range(repeats):
        passes.append(cpu_seconds(lambda: bare(bench, count)))
        lines.append(cpu_seconds(lambda: LINe.auto().fit(bench.net, bench.batches(count, BATCH))))
        panels.append(cpu_seconds(lambda: Panel().fit(bench.net, bench.batches(count, BATCH))))
    return {
        "network": bench.setup.arch,
        "images": f"{count:,}",
        "bare pass, CPU ms an image": 1e3 * statistics.median(passes) / count,
        "LINe.auto / bare pass": f"{statistics.median(a / b for a, b in zip(lines, passes, strict=True)):.2f}",
        "panel / bare pass": f"{statistics.median(a / b for a, b in zip(panels, passes, strict=True)):.2f}",
        "all rounds": ", ".join(f"{a / b:.2f}" for a, b in zip(panels, passes, strict=True)),
        "panel less LINe.auto, CPU s": statistics.median(a - b for a, b in zip(panels, lines, strict=True)),
    }


def take_apart(setup: Setup, width: int, pass_ms: float) -> Row:
    """What grows with the images and what does not, from random features in batches."""
    k, batches = setup.classes, panel_fit.SAMPLE_ROWS // BATCH + 1
    x, y, weight = rows(k, width, 4096)
    panel = Panel()
    both = panel_fit.Gathered.nothing(k, width, panel.settings)
    alone = fit.Gathered.nothing(k, width, Rule())

    def add(to: fit.Gathering, first: int, last: int) -> float:
        def all_of() -> None:
            for i in range(first, last):
                at = i * BATCH % 4096
                to.add_(x[at : at + BATCH], y[at : at + BATCH])

        return 1e6 * cpu_seconds(all_of) / ((last - first) * BATCH)

    line_us, _ = add(alone, 0, batches), add(both, 0, batches)
    panel_us = add(both, 0, 64)  # the sample is full: as for most of a large training set
    line_s = cpu_seconds(lambda: LINe.auto().fit_sums(alone.sums, weight, None, sample=alone.sample))
    panel_s = cpu_seconds(lambda: panel.fit_gathered(both, weight, None))
    whole = setup.whole * pass_ms / 1e3
    return {
        "network": setup.arch,
        "bare pass, CPU ms an image": pass_ms,
        "K": str(k),
        "D": str(width),
        "LINe.auto, CPU us an image": line_us,
        "panel, CPU us an image": panel_us,
        "LINe.auto, CPU s after the pass": line_s,
        "panel, CPU s after the pass": panel_s,
        "images": f"{setup.whole:,}",
        "panel / bare pass, from these": f"{1 + (setup.whole * panel_us / 1e6 + panel_s) / whole:.3f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=IMAGES, action="append")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3, help="rounds of the whole fit (3)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    fits, parts = [], []
    for name in args.only or IMAGES:
        setup, count = SETUPS[name], IMAGES[name]
        with tempfile.TemporaryDirectory() as folder:
            bench = bench_of(setup, count, Path(folder))
            if setup.classes <= count:
                fits.append(compare(bench, count, args.repeats))
            pass_ms = 1e3 * statistics.median(cpu_seconds(lambda: bare(bench, count)) for _ in range(3)) / count  # noqa: B023
        parts.append(take_apart(setup, WIDTHS[name], pass_ms))
    header = measure.about("fits over bare passes of the same round, medians, CPU time; then random features")
    tables = {"The whole fit": fits, "What grows with the images": parts}
    measure.show(header, {title: rows for title, rows in tables.items() if rows}, args.json)


if __name__ == "__main__":
    main()
