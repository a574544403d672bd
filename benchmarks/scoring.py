"""What scoring costs beside one dense product of the head: ``python benchmarks/scoring.py --threads 1``.

Every ratio is taken pair by pair: the path, then at once ``x @ W.T + b`` of the same rows, again and again; the median
of the ratios is shown. No ratio compares two runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measure import about, seconds
from line_plugin import ClassSums, LINe
from line_plugin.kernels import cpu
from line_plugin.kernels.scorer import Scorer
from line_plugin.math import masks
from line_plugin.method.fit import Fitted

CASES = [  # K, D, preset
    (1000, 2048, "imagenet-resnet50"),
    (100, 342, "cifar100-densenet"),
    (10, 342, "cifar10-densenet"),
]
BATCHES = (1, 64, 2048, 16384)
LITERAL_ROWS = 8  # a literal K x D mask a row: more rows only repeat the same cost


def fitted(k: int, d: int, preset: str) -> LINe:
    g = torch.Generator().manual_seed(0)
    sums = ClassSums(torch.rand(k, d, generator=g, dtype=torch.float64), torch.ones(k, dtype=torch.int64))
    return LINe.preset(preset).fit_sums(sums, torch.randn(k, d, generator=g) * 0.05, torch.zeros(k))


def features(line: LINe, n: int, zeros: bool) -> Tensor:
    """Rows that are predicted as random classes; with ``zeros``, half of the neurons did not fire."""
    g = torch.Generator().manual_seed(1)
    weight = line._state.weight
    classes = torch.randint(0, line.num_classes, (n,), generator=g)
    x = torch.rand(n, line.width, generator=g) + 4 * weight[classes].relu()
    return x * (torch.rand(n, line.width, generator=g) < 0.5) if zeros else x


def literal(line: LINe, x: Tensor, classes: Tensor) -> Tensor:
    """The published code's step: a gathered K x D mask a row and a broadcast product."""
    s = line._state
    kept = torch.stack([s.weight * (s.weight > s.floors[c]) for c in classes.tolist()])
    return torch.logsumexp((kept * x[:, None, :]).sum(dim=2) + s.bias, dim=1)


def ratio(
    path: Callable[[], object],
    dense: Callable[[], object],
    budget_s: float = 2.0,
    clock: Callable[[Callable[[], object]], float] = seconds,
) -> float:
    """Median over pairs, 3 to 60 of them."""
    path(), dense()
    pairs: list[float] = []
    end = time.perf_counter() + budget_s
    while len(pairs) < 3 or (len(pairs) < 60 and time.perf_counter() < end):
        pairs.append(clock(path) / clock(dense))
    return statistics.median(pairs)


def measure(line: LINe, n: int, zeros: bool) -> dict[str, Any]:
    s, x, clip = line._state, features(line, n, zeros), line.settings.clip
    with mock.patch.object(cpu, "installed", return_value=False):
        plain = Scorer(s.weight, s.bias, s.floors)
    packed = s.scorer.packed()
    from line_plugin.kernels.cpu.blocked.halves import halves

    assert isinstance(packed, cpu.PackedHead), "numba is not installed, or this CPU has no fused multiply-add"
    classes = line.predict(x)[0]

    def dense() -> Tensor:
        return x @ s.weight.T + s.bias

    def whole() -> Tensor:
        return line.score(x)

    predict, mask = halves(packed.head[1].shape[2])
    delta = np.float32(np.inf if clip is None else clip)
    keys, scores = np.empty(n, np.int64), np.empty(n, np.float32)
    few = x[:LITERAL_ROWS]
    parts = {
        "class prediction": lambda: predict(x.numpy(), delta, packed.head, packed.screen, keys, 0, n),
        "masked logits": lambda: mask(x.numpy(), delta, packed.head, keys, scores, 0, n),
    }
    row = {
        "K": line.num_classes,
        "D": line.width,
        "batch": n,
        "zeros": "half" if zeros else "none",
        "classes": int(classes.unique().numel()),
        "literal": ratio(lambda: literal(line, few, classes[: len(few)]), lambda: few @ s.weight.T + s.bias),
        "torch": ratio(lambda: plain.predict(x, clip), dense, 4.0),
        "score": ratio(whole, dense, 4.0),
    }
    shares = {f"{name} %": 100 * ratio(part, whole) for name, part in parts.items()}
    return {**row, **shares, "checks and calls %": 100 - sum(shares.values())}


def percentile_ratio() -> float:
    """numpy's percentile over ours, one class of an ImageNet head."""
    g = np.random.default_rng(0)
    values = (np.abs(g.normal(size=2048)) * g.normal(size=(1000, 2048))).ravel()
    return ratio(lambda: np.percentile(values.copy(), 10, overwrite_input=True), lambda: masks.percentile(values, 10))


def ready_seconds(line: LINe) -> float:
    """From the stored sums and thresholds to the first score: the import of numba, the cached kernel, the layout."""
    s, settings = line._state, line.settings

    def ready() -> None:
        again = Fitted.make(s.weight, s.bias, s.sums, settings, thresholds=s.thresholds)
        again.scorer.predict(torch.rand(1, 2048), settings.clip)

    return seconds(ready)


def shown(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if name.endswith("%") else f"{value:.2f}"
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    machine = {
        **about("median of ratios taken pair by pair; the unit is one x @ W.T + b of the same rows"),
        "vector_unit": torch.backends.cpu.get_cpu_capability(),
        "numba": metadata.version("numba"),
    }
    print(json.dumps(machine, indent=1))
    rows: list[dict[str, Any]] = []
    for k, d, preset in CASES:
        line = fitted(k, d, preset)
        if k == 1000:
            machine["ready_s"] = round(ready_seconds(line), 2)
        line.score(torch.rand(1, d))
        for n in options.batches:
            for zeros in (False, True):
                rows.append(measure(line, n, zeros))
                if len(rows) == 1:
                    print("|" + "|".join(rows[0]) + "|\n" + "|-" * len(rows[0]) + "|")
                print("|" + "|".join(shown(name, value) for name, value in rows[-1].items()) + "|", flush=True)
    machine["percentile_speedup"] = round(percentile_ratio(), 2)
    result = {**machine, "rows": rows}
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
