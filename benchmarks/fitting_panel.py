"""What a fit of the panel costs beside the bare forward pass over the same images, and beside LINe's own.

    OPENOOD_LINE_DATA=FOLDER python -m benchmarks.fitting_panel --threads 1 --json out.json

The bare pass decodes the same images through the same loader and forwards them in the same batches; finding the head is
counted in. A round is the bare pass, then at once ``LINe.auto().fit``, then ``Panel().fit``; ratios are taken within a
round. A part of a fit grows with the images, the rest comes after the pass and does not grow beyond a sample of 32,768
rows: the second table tells the two apart, on random features, and what they come to on the whole training set.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
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

IMAGES = {"densenet": 1500, "resnet50": 1000}  # of resnet50 one a class
Row = dict[str, str | float]


def bare(bench: Bench, count: int) -> None:
    head = None
    for images, _ in bench.batches(count, BATCH):
        head = head or find_head(bench.net, images[:1])
        forward(bench.net, head, images)


def compare(setup: Setup, count: int, repeats: int, folder: Path) -> Row:
    """The whole fit over the bare pass."""
    bench = Bench(setup, files_of(setup, folder))
    bench.net.eval()
    bench.labels = torch.arange(len(bench.files) * setup.classes) % setup.classes  # every class has an image
    bare(bench, BATCH)
    passes, lines, panels = [], [], []
    for _ in range(repeats):
        passes.append(measure.seconds(lambda: bare(bench, count)))
        lines.append(measure.seconds(lambda: LINe.auto().fit(bench.net, bench.batches(count, BATCH))))
        panels.append(measure.seconds(lambda: Panel().fit(bench.net, bench.batches(count, BATCH))))
    return {
        "network": setup.arch,
        "images": f"{count:,}",
        "bare pass, ms an image": 1e3 * statistics.median(passes) / count,
        "LINe.auto / bare pass": f"{statistics.median(a / b for a, b in zip(lines, passes, strict=True)):.2f}",
        "panel / bare pass": f"{statistics.median(a / b for a, b in zip(panels, passes, strict=True)):.2f}",
        "all rounds": ", ".join(f"{a / b:.2f}" for a, b in zip(panels, passes, strict=True)),
        "panel less LINe.auto, s": statistics.median(a - b for a, b in zip(panels, lines, strict=True)),
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

        return 1e6 * measure.seconds(all_of) / ((last - first) * BATCH)

    line_us, _ = add(alone, 0, batches), add(both, 0, batches)
    panel_us = add(both, 0, 64)  # the sample is full: as for most of a large training set
    line_s = measure.seconds(lambda: LINe.auto().fit_sums(alone.sums, weight, None, sample=alone.sample))
    panel_s = measure.seconds(lambda: panel.fit_gathered(both, weight, None))
    whole = setup.whole * pass_ms / 1e3
    return {
        "K": str(k),
        "D": str(width),
        "LINe.auto, us an image": line_us,
        "panel, us an image": panel_us,
        "LINe.auto, s after the pass": line_s,
        "panel, s after the pass": panel_s,
        "images": f"{setup.whole:,}",
        "panel / bare pass, from these": f"{1 + (setup.whole * panel_us / 1e6 + panel_s) / whole:.3f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=IMAGES, action="append")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3, help="rounds of the small network (3); resnet50 has one")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    fits, parts = [], []
    widths = {"densenet": 342, "resnet50": 2048}
    for name in args.only or IMAGES:
        setup, repeats = SETUPS[name], 1 if name == "resnet50" else args.repeats
        with tempfile.TemporaryDirectory() as folder:
            fits.append(compare(setup, IMAGES[name], repeats, Path(folder)))
        parts.append(take_apart(setup, widths[name], float(fits[-1]["bare pass, ms an image"])))
    header = measure.about("fits over bare passes of the same round, medians; then random features")
    measure.show(header, {"The whole fit": fits, "What grows with the images": parts}, args.json)


if __name__ == "__main__":
    main()
