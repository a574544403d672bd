"""``openood fit``: write the artifact that the benchmark and the monitor score with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.cli import options
from line_plugin.errors import SettingsError

if TYPE_CHECKING:
    from line_plugin.benchmark.methods.line import LineMethod


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "fit",
        help="fit LINe on the ID training set and write one file",
        description="Fit LINe on the ID training set of a benchmark (one forward pass, cached) and write the artifact.",
    )
    parser.add_argument("--output", type=Path, default=Path("line.safetensors"), help="the artifact (line.safetensors)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--preset", help="published settings by name, whatever the network (see `openood list`)")
    source.add_argument(
        "--auto",
        action="store_true",
        help="choose the clip from the training images (done anyway, unless settings were published for this network)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="e.g. p_w=10, clip=off")
    options.add_network(parser, runs=False)
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from line_plugin.benchmark import report

    method = fitted(args)
    line, out = method.line, options.console()
    digest = line.save(args.output)
    if line.choice is not None:
        out.print(report.candidates(line.choice, "Clips that were tried on left-out classes"))
    for sentence in method.remarks():
        out.print(sentence, soft_wrap=True)
    out.print(
        f"Fitted {line} on {args.id_data} train.\nSaved {args.output} (content {digest[:12]}). "
        f"Next: `openood calibrate {args.output}` with the same data and network.",
        soft_wrap=True,
    )


def fitted(args: argparse.Namespace) -> LineMethod:
    """LINe fitted as the runner fits it."""
    from line_plugin.benchmark import methods
    from line_plugin.benchmark.methods.line import AUTO, LineMethod
    from line_plugin.benchmark.protocol import image_list, settings
    from line_plugin.benchmark.protocol.features import Request
    from line_plugin.benchmark.protocol.runner import fit_data

    benchmark = options.benchmark_of(args)
    given = {**_preset(args.preset), **({"clip": AUTO} if args.auto else {})}
    named = options.settings_of([f"line.{pair}" for pair in args.set]).get("line", {})
    if args.auto and named.get("clip", AUTO) != AUTO:
        raise SettingsError(f"--auto chooses the clip and --set clip={named['clip']} names one: give one of the two")
    given |= named
    methods.create("line", given)  # refuses unknown names before any work
    splits = [
        image_list.read(f"{benchmark.name} {s}", getattr(benchmark.id, s), args.data_root, benchmark.num_classes)
        for s in ("train", "val")
    ]
    cache = options.cache_of(args, benchmark, args.checkpoint)
    wanted = [
        Request(images, benchmark.preprocessing_of(getattr(benchmark.id, s)))
        for images, s in zip(splits, ("train", "val"), strict=True)
    ]
    method = settings.create("line", benchmark, cache.model, given)
    if not isinstance(method, LineMethod):
        raise SettingsError("the method registered as 'line' is not LINe")
    with options.progress_bar("forward") as progress:
        train, val = cache.get(wanted, progress)
    method.fit(fit_data(benchmark, cache, train, val))
    return method


def _preset(name: str | None) -> dict[str, float | int | str | None]:
    if name is None:
        return {}
    from dataclasses import asdict

    from line_plugin.method.line import LINe

    return {**asdict(LINe.preset(name).settings), "clip_percentile": None}
