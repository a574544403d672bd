"""What scoring costs on a CUDA device: ``python -m benchmarks.scoring_cuda --json out.json``.

Three tables: the scoring head beside one dense ``x @ W.T + b`` of the same rows; ResNet-50 with LINe beside ResNet-50
without; batches that come from host memory, copied and scored in turn or overlapped. Times are CUDA events around a
call, so what the host takes to launch counts; every ratio is taken pair by pair, the median is shown. Before anything
is timed the scores are compared with float64. Without a CUDA device nothing is measured, and that is said.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import about
from benchmarks.scoring import CASES, features, fitted
from line_plugin import LINe
from line_plugin.kernels import cpu, torch_ops
from line_plugin.kernels.cuda.packed import SWITCH
from line_plugin.math import scoring
from line_plugin.networks.head import find_head
from line_plugin.networks.tap import forward

Call = Callable[[], object]
BATCHES = (1, 64, 2048)


def milliseconds(call: Call) -> float:
    """Of the device, from before the first launch to after the last."""
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    call()
    after.record()
    after.synchronize()
    return float(before.elapsed_time(after))


def ratio(path: Call, unit: Call, budget_s: float = 2.0) -> float:
    """Median over pairs, 5 to 200 of them."""
    for _ in range(3):
        path(), unit()
    pairs: list[float] = []
    end = time.perf_counter() + budget_s
    while len(pairs) < 5 or (len(pairs) < 200 and time.perf_counter() < end):
        pairs.append(milliseconds(path) / milliseconds(unit))
    return statistics.median(pairs)


def median_ms(call: Call) -> float:
    for _ in range(3):
        call()
    return statistics.median(milliseconds(call) for _ in range(30))


def captured(call: Call) -> Call:
    """The same launches as one CUDA graph: the host no longer pays for each."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def worst_error(line: LINe, x: Tensor) -> float:
    """The largest relative error of a confidence beside torch's operations in float64."""
    s = line._state
    doubled = [t.double() for t in (s.weight, s.bias, s.floors)]
    classes, expected = torch_ops.score(scoring.clip(x, line.settings.clip).double(), *doubled)
    got_classes, got = line.predict(x)
    if not torch.equal(classes, got_classes):
        raise SystemExit("the classes differ from those of float64: nothing is measured")
    return float(((got - expected).abs() / (1 + expected.abs())).max())


def head_row(line: LINe, n: int, zeros: bool) -> dict[str, Any]:
    s, delta = line._state, line.settings.clip
    x = features(line, n, zeros).to("cuda")
    line.to("cuda")
    s = line._state
    kernels = s.scorer.packed()
    assert not isinstance(kernels, cpu.PackedHead)
    z = scoring.clip(x, delta)
    classes = torch_ops.predict_class(z, s.weight, s.bias)
    compiled = torch.compile(masked_by_torch)

    def dense() -> Tensor:
        return x @ s.weight.T + s.bias

    row = {
        "K": line.num_classes,
        "D": line.width,
        "batch": n,
        "zeros": zeros,
        "worst_error": worst_error(line, x),
        "dense_ms": median_ms(dense),
        "torch": ratio(lambda: torch_ops.score(scoring.clip(x, delta), s.weight, s.bias, s.floors), dense),
        "torch_compile_masked": ratio(lambda: compiled(z, classes, s.weight, s.bias, s.floors), dense),
        "triton": ratio(lambda: kernels.predict(x, delta), dense) if kernels else None,
        "score": ratio(lambda: line.score(x), dense),
        "triton_graph_over_dense_graph": (
            ratio(captured(lambda: kernels.predict(x, delta)), captured(dense)) if kernels else None
        ),
    }
    line.to("cpu")
    return row


def masked_by_torch(z: Tensor, classes: Tensor, weight: Tensor, bias: Tensor, floors: Tensor) -> Tensor:
    """What torch.compile fuses into one pass over K x D a row."""
    kept = torch.where(weight > floors[classes][:, None, :], weight, 0.0)
    return torch.logsumexp((kept * z[:, None, :]).sum(dim=2) + bias, dim=1)


def model_row(line: LINe, n: int, dtype: torch.dtype) -> dict[str, Any]:
    """ResNet-50 with LINe beside ResNet-50 alone, images already on the device."""
    import torchvision

    net = torchvision.models.resnet50().eval().to("cuda", dtype, memory_format=torch.channels_last)
    images = torch.rand(n, 3, 224, 224, device="cuda", dtype=dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        head = find_head(net, images)
        overhead = ratio(lambda: line.score(forward(net, head, images)[0]), lambda: net(images), 8.0) - 1
        alone = median_ms(lambda: net(images))
        penultimate = forward(net, head, images)[0]
        return {
            "batch": n,
            "dtype": str(dtype).removeprefix("torch."),
            "resnet50_ms": alone,
            "score_ms": median_ms(lambda: line.score(penultimate)),
            "overhead_percent": 100 * overhead,
        }


def stream_row(line: LINe, n: int, batches: int = 50) -> dict[str, Any]:
    """Rows a second from host memory: plain, pinned, and pinned with the next copy under the current scoring."""
    x = torch.rand(n, line.width)
    pinned = x.pin_memory()
    side = torch.cuda.Stream()

    def in_turn(source: Tensor) -> None:
        for _ in range(batches):
            line.predict(source.to("cuda", non_blocking=True))

    def overlapped() -> None:
        main = torch.cuda.current_stream()
        with torch.cuda.stream(side):
            coming = pinned.to("cuda", non_blocking=True)
        for _ in range(batches):
            main.wait_stream(side)
            now = coming
            now.record_stream(main)
            with torch.cuda.stream(side):
                coming = pinned.to("cuda", non_blocking=True)
            line.predict(now)
        main.wait_stream(side)

    def rate(call: Call) -> float:
        call()
        return batches * n / (milliseconds(call) / 1000)

    return {
        "batch": n,
        "pageable_rows_s": rate(lambda: in_turn(x)),
        "pinned_rows_s": rate(lambda: in_turn(pinned)),
        "overlapped_rows_s": rate(overlapped),
    }


def table(rows: list[dict[str, Any]]) -> None:
    print("|" + "|".join(rows[0]) + "|\n|" + "-|" * len(rows[0]))
    for row in rows:
        print("|" + "|".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()) + "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.setdefault(SWITCH, "1")  # the kernels are what is measured here
    if not torch.cuda.is_available():
        print("not measured: no CUDA device")
        return
    machine = {
        **about("median of ratios taken pair by pair, CUDA events; the unit is one x @ W.T + b of the same rows"),
        "device": torch.cuda.get_device_name(),
        "capability": torch.cuda.get_device_capability(),
        "cuda": torch.version.cuda,
        "triton": metadata.version("triton") if util.find_spec("triton") else None,
    }
    print(json.dumps(machine, indent=1))
    heads: list[dict[str, Any]] = []
    for k, d, preset in CASES:
        line = fitted(k, d, preset)
        heads += [head_row(line, n, zeros) for n in options.batches for zeros in (False, True)]
        if k == 1000:
            imagenet = line
    table(heads)
    imagenet.to("cuda")
    models = [model_row(imagenet, n, dtype) for n in (1, 64) for dtype in (torch.float32, torch.float16)]
    table(models)
    streams = [stream_row(imagenet, n) for n in (64, 512)]
    table(streams)
    result = {**machine, "head": heads, "resnet50": models, "host_memory": streams}
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
