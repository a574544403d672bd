"""Flags that several commands share, and the objects made from them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.errors import SettingsError

if TYPE_CHECKING:
    import torch
    from rich.console import Console
    from torch import nn

    from line_plugin.benchmark.protocol.features import FeatureCache, Progress
    from line_plugin.benchmark.protocol.passes import Passes
    from line_plugin.benchmark.protocol.spec import Benchmark


def add_network(parser: argparse.ArgumentParser, *, runs: bool) -> None:
    """Add the flags for data, network, and how it is run."""
    add_work(parser, add_classifier(parser, runs=runs))
    parser.add_argument("--cache-dir", type=Path, help="folder of cached features (~/.cache/openood-line)")


def add_work(parser: argparse.ArgumentParser, net: argparse._ArgumentGroup) -> None:
    """Add the flags for the device, batch size and workers."""
    net.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (auto); for `eval --root` also cuda:0,cuda:1"
    )
    work = parser.add_argument_group("work")
    work.add_argument("--batch-size", type=positive, help="images a forward pass (200, on a CPU 32)")
    work.add_argument(
        "--num-workers", type=natural, help="decoding processes (8 at most; on a CPU one for every 4 cores)"
    )


def add_classifier(parser: argparse.ArgumentParser, *, runs: bool) -> argparse._ArgumentGroup:
    """Add the flags for data and network. Returns the group of network flags, so that more can be added."""
    data = add_benchmark(parser, "cifar10")
    data.add_argument("--data-root", type=Path, default=Path("data"), help="folder in OpenOOD's layout (./data)")
    return add_weights(parser, runs=runs)


def add_benchmark(parser: argparse.ArgumentParser, default: str | None) -> argparse._ArgumentGroup:
    """Add the flags for the benchmark and the network's own preprocessing."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--id-data", default=default, metavar="NAME|FILE.yml", help="benchmark by name, or your own YAML file"
    )
    data.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="the network's own input mean")
    data.add_argument("--std", type=float, nargs=3, metavar=("R", "G", "B"), help="the network's own input std")
    data.add_argument("--resize", type=size, metavar="N|HxW", help="its own shorter side, or height and width; 0: none")
    data.add_argument("--crop", type=natural, metavar="N", help="its own central crop; 0: none")
    data.add_argument(
        "--interpolation", choices=("bilinear", "bicubic", "nearest", "lanczos"), help="its own, of resize"
    )
    return data


def add_weights(parser: argparse.ArgumentParser, *, runs: bool) -> argparse._ArgumentGroup:
    """Add the flags for the network."""
    net = parser.add_argument_group("network")
    if runs:
        net.add_argument("--root", type=Path, help="folder of training runs s0/best.ckpt, s1/best.ckpt, ...")
    net.add_argument("--checkpoint", type=Path, help="weights: .safetensors or a torch state dict")
    net.add_argument("--arch", help="network by name (`openood list`), torchvision:NAME, timm:NAME, hf:FOLDER")
    net.add_argument("--model", metavar="FILE.py:FUNCTION", help="your own: a function that returns the network")
    net.add_argument("--head", help="module path of the classifier Linear (found by tracing the network)")
    return net


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} given, expected 1 or more")
    return value


def natural(text: str) -> int:
    """A whole number of at least 0, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} given, expected 0 or more")
    return value


def size(text: str) -> int | tuple[int, int]:
    """``232``, or ``224x224`` as height and width, for argparse."""
    height, by, width = text.partition("x")
    return (positive(height), positive(width)) if by else natural(text)


def benchmark_of(args: argparse.Namespace) -> Benchmark:
    """The benchmark, with the network's own preprocessing if it is given."""
    from line_plugin.benchmark.protocol import spec

    benchmark = spec.load(args.id_data)
    benchmark.require_images()
    changed = benchmark.preprocessing.model_copy(update=preprocessing_of(args))
    return benchmark.model_copy(update={"preprocessing": changed})


def preprocessing_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of :class:`.Preprocessing` that the network and the command line give.

    A folder of transformers says how its images are prepared; the flags win.
    """
    from line_plugin.networks.huggingface import PREFIX, read_preprocessing

    found: dict[str, Any] = {k: tuple(v) for k in ("mean", "std") if (v := getattr(args, k)) is not None}
    found |= {k: v or None for k in ("resize", "crop") if (v := getattr(args, k)) is not None}  # 0 leaves the step out
    found |= {"interpolation": args.interpolation} if args.interpolation else {}
    arch = getattr(args, "arch", None) or ""
    if not arch.startswith(PREFIX) or {"mean", "std", "resize", "crop"} <= set(found):
        return found
    return read_preprocessing(Path(arch.removeprefix(PREFIX))) | found


def device_of(name: str) -> torch.device:
    """``auto`` is CUDA, else MPS, else the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingsError(f"device {name!r} is not usable here ({reason}): try --device auto") from error
    return device


def network_of(args: argparse.Namespace, benchmark: Benchmark, checkpoint: Path | None) -> nn.Module:
    """Build the network and load its weights."""
    return build_network(args, benchmark.arch, benchmark.num_classes, f"benchmark {benchmark.name!r}", checkpoint)


def build_network(
    args: argparse.Namespace, usual: str, num_classes: int, owner: str, checkpoint: Path | None
) -> nn.Module:
    """Build the network that the command line names and load its weights.

    Args:
        usual: the default architecture, "" for none; owner: the benchmark or artifact it belongs to, for the message.
        num_classes: K.
    """
    from line_plugin import networks
    from line_plugin.networks.huggingface import PREFIX

    if args.model and args.arch:
        raise SettingsError("give --model or --arch, not both")
    if args.model:
        net = networks.load_user_model(args.model)
    else:
        arch = args.arch or usual
        if not arch:
            raise SettingsError(f"{owner} names no network: give --arch or --model")
        brings_weights = arch.startswith(PREFIX)
        if brings_weights and checkpoint is not None:
            raise SettingsError(f"--arch {arch} brings its own weights: leave out --checkpoint and --root")
        if checkpoint is None and not brings_weights:
            raise SettingsError(f"--arch {arch} starts untrained: give its weights with --checkpoint or --root")
        net = networks.build(arch, num_classes)
    if checkpoint is not None:
        networks.load_checkpoint(net, checkpoint)
    return net


def cache_of(
    args: argparse.Namespace, benchmark: Benchmark, checkpoint: Path | None, passes: Passes | None = None
) -> FeatureCache:
    """Make the feature cache of the network.

    Args:
        passes: runs the network's passes; by default in this process.
    """
    from line_plugin.benchmark.protocol.features import FeatureCache, default_cache_dir

    return FeatureCache(
        network_of(args, benchmark, checkpoint),
        args.cache_dir or default_cache_dir(),
        device=device_of(args.device),
        head=args.head,
        batch_size=args.batch_size,
        num_workers=workers_of(args),
        passes=passes,
    )


def workers_of(args: argparse.Namespace) -> int:
    """How many decoding processes to use: the given number, or one for each core and at most 8.

    If the network itself runs on the cores, it is one for every four of them. Decoding is then a small share of the
    work, and a worker takes a core away from a pass whose threads wait for each other.
    """
    import os

    if args.num_workers is not None:
        return int(args.num_workers)
    cores = os.cpu_count() or 1
    return min(cores // 4 if device_of(args.device).type == "cpu" else cores, 8)


def console(*, stderr: bool = False) -> Console:
    """Makes a console; if it is not a terminal, it is wide enough not to fold tables."""
    from rich.console import Console

    out = Console(stderr=stderr, highlight=False)
    return out if out.is_terminal else Console(stderr=stderr, highlight=False, width=160)


@contextmanager
def progress_bar(what: str, unit: str = "images") -> Iterator[Progress]:
    """A bar on stderr that appears with the first image and stays out of a pipe."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    err = console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Bar(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None, visible=False)

        def report(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield report


def settings_of(pairs: list[str]) -> dict[str, dict[str, float | int | str | None]]:
    """``["line.p_w=10", "line.clip=off"]`` as settings by method."""
    out: dict[str, dict[str, float | int | str | None]] = {}
    for pair in pairs:
        setting, equals, text = pair.partition("=")
        method, dot, key = setting.partition(".")
        if not equals or not dot:
            raise SettingsError(f"--set {pair} given, expected METHOD.SETTING=VALUE such as line.p_w=90")
        out.setdefault(method, {})[key] = _parse_value(text)
    return out


def _parse_value(text: str) -> float | int | str | None:
    if text.lower() in ("off", "none"):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
