"""What the panel costs beside LINe: ``python -m benchmarks.scoring_panel --threads 1``.

Microseconds a row, and ratios taken pair by pair: the panel, then at once LINe on the same rows, again and again; the
median of the ratios is shown, of each expert's cost by itself too, and of the panel as it would be if its angle were
not taken out of LINe's sums. Then the state, in the artifact and in memory, and what a fit adds to a pass that yields
features.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from benchmarks import measure
from benchmarks.scoring import ratio
from line_plugin import LINeSettings, Panel
from line_plugin.kernels.cpu import PackedHead
from line_plugin.kernels.cpu.experts import PackedExperts
from line_plugin.math.experts.literal import NAMES

CASES = [(1000, 2048, (10, 3, 1)), (100, 342, (10,)), (10, 342, (10,))]
BATCHES = (1, 64, 2048)
Row = dict[str, str | float]


def rows(k: int, d: int, n: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Features of n rows, their classes, and the head that their classes stand for."""
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(k, d, generator=g) * 0.05
    g = torch.Generator().manual_seed(seed)
    classes = torch.arange(n) % k
    x = torch.rand(n, d, generator=g) + 4 * weight[classes].relu()
    return x * (torch.rand(n, d, generator=g) < 0.5), classes, weight


def fitted(k: int, d: int, prototypes: int, n: int) -> tuple[Panel, float]:
    """A panel of n training rows, and the microseconds a row of its fit."""
    x, y, weight = rows(k, d, n)
    panel = Panel(prototypes=prototypes, line=LINeSettings(None, 10, 0.8))
    return panel, 1e6 * measure.seconds(lambda: panel.fit_features(x, y, weight, None)) / n


def own_bytes(panel: Panel) -> int:
    """Bytes of the tensors and the packed arrays that scoring holds."""
    line, experts = panel.line._state, panel._state.scorer.experts
    head, packed = line.scorer.packed(), panel._state.scorer.packed()
    assert isinstance(head, PackedHead), "numba is not installed, or this CPU has no fused multiply-add"
    assert isinstance(packed, PackedExperts)
    tensors = [line.weight, line.bias, line.floors, line.sums.sums, experts.centred_weight, experts.prototypes]
    tensors += [experts.subspace.basis]
    return sum(t.nbytes for t in tensors) + head.own_bytes + packed.angle[2].nbytes + packed.residual[2].nbytes


def measure_scoring(panel: Panel, n: int, clock: Callable[[Callable[[], object]], float]) -> Row:
    x, _, weight = rows(panel.num_classes, panel.width, n, seed=2)
    classes, scorer = panel.line.predict(x)[0], panel._state.scorer

    def whole() -> Tensor:
        return panel.score(x)

    def line() -> Tensor:
        return panel.line.score(x)

    whole()
    best = min(measure.seconds(whole) for _ in range(20)) / n * 1e6
    shares: Row = {
        name: f"{ratio(lambda name=name: scorer.score(x, classes, [name]), line, 1.0, clock):.2f}" for name in NAMES
    }
    together = ratio(whole, line, clock=clock)
    with mock.patch.object(panel._state._angle, "predict", return_value=None):
        apart = ratio(whole, line, clock=clock)
    return {
        "K": str(panel.num_classes),
        "D": str(panel.width),
        "prototypes": str(panel.settings.prototypes),
        "batch": str(n),
        "us a row": f"{best:.1f}",
        "panel / LINe": f"{together:.2f}",
        "angle by itself: panel / LINe": f"{apart:.2f}",
        **{f"{name} / LINe": value for name, value in shares.items()},
        "LINe / dense": f"{ratio(line, lambda: x @ weight.T, clock=clock):.2f}",
    }


def measure_state(panel: Panel, fit_us: float) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "panel.safetensors")
        panel.save(path)
        size = path.stat().st_size
        load = measure.seconds(lambda: Panel.load(path))
    return {
        "K": str(panel.num_classes),
        "D": str(panel.width),
        "prototypes": str(panel.settings.prototypes),
        "artifact MB": f"{size / 1e6:.1f}",
        "in memory MB": f"{own_bytes(panel) / 1e6:.1f}",
        "load s": f"{load:.2f}",
        "fit, us a row without the clip's choice": f"{fit_us:.0f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu", action="store_true", help="ratios of CPU time, for a machine with other work")
    parser.add_argument("--classes", type=int, help="only the heads of that many classes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    scored: list[Row] = []
    states: list[Row] = []
    clock = measure.cpu_seconds if args.cpu else measure.seconds
    for k, d, counts in (case for case in CASES if args.classes in (None, case[0])):
        for prototypes in counts:
            panel, fit_us = fitted(k, d, prototypes, 20 * k if k == 1000 else 10_000)
            scored += [measure_scoring(panel, n, clock) for n in (BATCHES if prototypes == 10 else BATCHES[1:2])]
            states.append(measure_state(panel, fit_us))
    header = measure.about("medians of ratios taken pair by pair; us a row is the best of 20")
    measure.show(header, {"Scoring": scored, "State and fit": states}, args.json)


if __name__ == "__main__":
    main()
