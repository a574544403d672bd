"""OpenOOD's own Evaluator and `openood eval` on the same network, images and methods: images forwarded, time, memory.

    OPENOOD_LINE_DATA=FOLDER python -m benchmarks.beside_openood --every 20 --json out.json

Each side runs in a process of its own, with two data workers and its own default batch (OpenOOD 200, here 32 on a CPU),
and chooses the hyper-parameters of react and ash as OpenOOD does, those of line by the search of its yml. Images are
counted by a forward hook. CPU seconds are those of a side and of its data workers, and hardly depend on what else the
machine does. `every` keeps each so-manieth image of each list. Upstream is taken from OPENOOD_SOURCE or an
installed `openood`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import measure

METHODS = ("line", "msp", "ebo", "react", "dice", "ash", "knn")
SEARCHED = ("line", "react", "ash")  # not knn: the thinned training list has fewer images than the K of its search
LISTS = ("train_cifar10", "val_cifar10", "test_cifar10", "val_tin", "test_tin", "test_cifar100", "test_mnist")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class WithFeatures(nn.Module):
    """The paper's DenseNet with the methods that upstream's postprocessors call."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.fc = net, net.fc
        self.forwarded = 0
        self.register_forward_hook(self._count)

    def _count(self, _module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        self.forwarded += len(inputs[0])

    def forward(self, x: Tensor, return_feature: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        seen: list[Tensor] = []
        handle = self.fc.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
        logits = self.net(x)
        handle.remove()
        return (logits, seen[0]) if return_feature else logits

    def get_fc(self) -> tuple[Any, Any]:
        return self.fc.weight.detach().numpy(), self.fc.bias.detach().numpy()

    def get_fc_layer(self) -> nn.Linear:
        return self.fc


def network(data: Path) -> WithFeatures:
    from line_plugin import networks

    net = networks.build("densenet100_12", 10)
    networks.load_checkpoint(net, data / "checkpoints/densenet_bc100_12_cifar10.safetensors")
    return WithFeatures(net).eval()


def thin(data: Path, root: Path, every: int) -> dict[str, int]:
    """The data root with every so-manieth line of each list; how many images each has."""
    lists = Path("benchmark_imglist/cifar10")
    (root / lists).mkdir(parents=True)
    (root / "images_classic").symlink_to((data / "openood/images_classic").resolve())
    counts = {}
    for name in (*LISTS, "test_texture"):
        lines = (data / "openood" / lists / f"{name}.txt").read_text().splitlines()[::every]
        (root / lists / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
        counts[name] = len(lines)
    return counts


def upstream(data: Path, root: Path, methods: tuple[str, ...]) -> dict[str, Any]:
    from line_plugin.benchmark.protocol import images, spec
    from line_plugin.openood import evaluate_with_openood, register

    register()
    from openood.evaluation_api import datasets

    # The sets that are not there are left out on both sides.
    info = datasets.DATA_INFO["cifar10"]
    info["csid"]["datasets"], info["ood"]["far"]["datasets"] = [], ["mnist", "texture"]
    datasets.benchmarks_dict["cifar10"] = ["cifar10", "cifar100", "tin", "mnist", "texture"]
    prepare = images.transform(spec.load("cifar10").preprocessing.model_copy(update={"mean": MEAN, "std": STD}))
    net, rows, tables = network(data), {}, {}
    before = measure.peak_mb()
    for method in methods:
        net.forwarded, start, cpu = 0, time.perf_counter(), cpu_seconds()
        tables[method] = evaluate_with_openood(
            net, "cifar10", root, method, num_workers=2, preprocessor=prepare, sweep=method in SEARCHED
        )
        took = time.perf_counter() - start
        rows[method] = {"images": net.forwarded, "seconds": took, "cpu": cpu_seconds() - cpu}
        print(method, tables[method], file=sys.stderr)
    return {"methods": rows, "tables": tables, "before": before, "peak": measure.peak_mb()}


def ours(data: Path, root: Path, methods: tuple[str, ...]) -> dict[str, Any]:
    from line_plugin.benchmark.protocol import runner, spec
    from line_plugin.benchmark.protocol.features import FeatureCache

    benchmark = spec.load("cifar10")
    own = benchmark.preprocessing.model_copy(update={"mean": MEAN, "std": STD})
    benchmark = benchmark.model_copy(update={"preprocessing": own})
    net, tables = network(data), {}
    before = measure.peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), cpu_seconds()
        cache = FeatureCache(net, Path(folder), device=torch.device("cpu"), num_workers=2)
        searched = [m for m in methods if m in SEARCHED]
        found = []
        for names, search in ((searched, True), ([m for m in methods if m not in SEARCHED], False)):
            if names:
                found += runner.evaluate(
                    benchmark, root, cache, runner.Options(tuple(names), search=search, skip_missing=True)
                ).results
        took, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    settings = {result.name: result.settings for result in found}
    for result in found:
        tables[result.name] = {r.name: {"AUROC": 100 * r.metrics.auroc, "ACC": 100 * r.acc} for r in result.rows}
    memory = {"before": before, "peak": measure.peak_mb()}
    return {"images": net.forwarded, "seconds": took, "cpu": cpu, "tables": tables, "settings": settings, **memory}


def why_not() -> str | None:
    """What is missing, if anything is."""
    source = os.environ.get("OPENOOD_SOURCE")
    if source and source not in sys.path:
        sys.path.insert(0, source)
    if importlib.util.find_spec("openood") is None:
        return "OpenOOD is not here: name a checkout by OPENOOD_SOURCE, or install it"
    absent = [name for name in ("pandas", "tqdm", "faiss") if importlib.util.find_spec(name) is None]
    if absent:
        return f"{', '.join(absent)} is not installed"
    return None if measure.real_data() else "no images: OPENOOD_LINE_DATA names no folder with openood/ in it"


def compare(every: int, methods: tuple[str, ...], to: Path | None) -> None:
    data = measure.real_data()
    assert data is not None
    with tempfile.TemporaryDirectory() as folder:
        counts = thin(data, Path(folder), every)
        flags = ["--root", folder, "--methods", ",".join(methods)]
        theirs = measure.child("benchmarks.beside_openood", "--side", "upstream", *flags)
        mine = measure.child("benchmarks.beside_openood", "--side", "ours", *flags)
        line = measure.child("benchmarks.beside_openood", "--side", "ours", "--root", folder, "--methods", "line")
    apart = {
        m: max(abs(value[c] - theirs["tables"][m][row][c]) for row, value in table.items() for c in value)
        for m, table in mine["tables"].items()
    }
    per = theirs["methods"]
    together = {key: sum(r[key] for r in per.values()) for key in ("images", "seconds", "cpu")}
    whole = [row(f"all {len(methods)} methods", together, theirs, mine), row("line alone", per["line"], None, line)]
    each = [
        {"method": m, "images forwarded": r["images"], "seconds": r["seconds"], "CPU seconds": r["cpu"]}
        for m, r in per.items()
    ]
    header = measure.about(f"one pair; the paper's DenseNet, CIFAR-10; images {counts}")
    header["largest difference of an AUROC or ACC, per cent points"] = apart
    header["settings here"] = mine["settings"]
    measure.show(header, {"Beside OpenOOD": whole, "OpenOOD, method by method": each}, to)


def cpu_seconds() -> float:
    """Of this process and of its children that have ended, the data workers: user and system."""
    return sum(os.times()[:4])


def row(
    what: str, there: dict[str, Any], theirs: dict[str, Any] | None, mine: dict[str, Any]
) -> dict[str, str | float]:
    grown = f"{theirs['peak']:,.0f} (+{theirs['peak'] - theirs['before']:,.0f})" if theirs else "not separate"
    return {
        "": what,
        "images, OpenOOD": there["images"],
        "here": mine["images"],
        "ratio": there["images"] / mine["images"],
        "s, OpenOOD": there["seconds"],
        "s, here": mine["seconds"],
        "s ratio": there["seconds"] / mine["seconds"],
        "CPU s, OpenOOD": there["cpu"],
        "CPU s, here": mine["cpu"],
        "CPU ratio": there["cpu"] / mine["cpu"],
        "peak MB, OpenOOD": grown,
        "peak MB, here": f"{mine['peak']:,.0f} (+{mine['peak'] - mine['before']:,.0f})",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=("ours", "upstream"), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    methods = tuple(args.methods.split(","))
    if missing := why_not():
        print(f"not measured: {missing}")
    elif args.side:
        data = measure.real_data()
        assert data is not None
        print(json.dumps((ours if args.side == "ours" else upstream)(data, args.root, methods)))
    else:
        compare(args.every, methods, args.json)


if __name__ == "__main__":
    main()
