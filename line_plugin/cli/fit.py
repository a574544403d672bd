"""``openood fit``: write the artifact that the benchmark and the monitor score with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.cli import options
from line_plugin.errors import SettingsError

if TYPE_CHECKING:
    from line_plugin.method.line import LINe


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "fit",
        help="fit LINe on the ID training set and write one file",
        description="Fit LINe on the ID training set of a benchmark (one forward pass, cached) and write the artifact.",
    )
    parser.add_argument("--output", type=Path, default=Path("line.safetensors"), help="the artifact (line.safetensors)")
    parser.add_argument("--preset", help="a published setting instead of the benchmark's (see `openood list`)")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="e.g. p_w=10, clip=off")
    options.add_network(parser, runs=False)
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    line = fitted(args)
    digest = line.save(args.output)
    options.console().print(
        f"Fitted {line} on {args.id_data} train.\nSaved {args.output} (content {digest[:12]}). "
        f"Next: `openood calibrate {args.output}` with the same data and network.",
        soft_wrap=True,
    )


def fitted(args: argparse.Namespace) -> LINe:
    """A LINe fitted as the runner fits it."""
    from line_plugin.benchmark import methods
    from line_plugin.benchmark.methods.line import LineMethod
    from line_plugin.benchmark.protocol import image_list
    from line_plugin.benchmark.protocol.features import Request
    from line_plugin.benchmark.protocol.runner import fit_data

    benchmark = options.benchmark_of(args)
    settings = {**benchmark.methods.get("line", {}), **_preset(args.preset)}
    settings |= options.settings_of([f"line.{pair}" for pair in args.set]).get("line", {})
    method = methods.create("line", settings)
    if not isinstance(method, LineMethod):
        raise SettingsError("the method registered as 'line' is not LINe")
    splits = [
        image_list.read(f"{benchmark.name} {s}", getattr(benchmark.id, s), args.data_root, benchmark.num_classes)
        for s in ("train", "val")
    ]
    cache = options.cache_of(args, benchmark, args.checkpoint)
    wanted = [
        Request(images, benchmark.preprocessing_of(getattr(benchmark.id, s)))
        for images, s in zip(splits, ("train", "val"), strict=True)
    ]
    with options.progress_bar("forward") as progress:
        train, val = cache.get(wanted, progress)
    method.fit(fit_data(benchmark, cache, train, val))
    return method.line


def _preset(name: str | None) -> dict[str, float | int | str | None]:
    if name is None:
        return {}
    from dataclasses import asdict

    from line_plugin.method.line import LINe

    return {**asdict(LINe.preset(name).settings), "clip_percentile": None}
