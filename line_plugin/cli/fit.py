"""``openood fit``: writes the artifact with which the benchmark and the monitor score."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.cli import options, sharing
from line_plugin.errors import SettingsError

if TYPE_CHECKING:
    from line_plugin.benchmark.methods.base import Method
    from line_plugin.method.line import LINe
    from line_plugin.method.panel import Panel


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "fit",
        help="fit LINe or the panel on the ID training set and write one file",
        description="Fit LINe or the panel on the ID training set of a benchmark (one forward pass, cached) and write "
        "the artifact.",
    )
    parser.add_argument("--postprocessor", choices=("line", "panel"), default="line", help="what to fit (line)")
    parser.add_argument("--output", type=Path, help="the artifact (line.safetensors or panel.safetensors)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--preset", help="published settings by name, whatever the network (see `openood list`)")
    source.add_argument(
        "--auto",
        action="store_true",
        help="choose the clip from the training images (done anyway, unless settings were published for this network)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="e.g. p_w=10, clip=off")
    options.add_network(parser, runs=False)
    sharing.add_flags(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from line_plugin.benchmark import report

    method, found = fitted(args)
    output = args.output or Path(f"{args.postprocessor}.safetensors")
    out, choice = options.console(), found.choice
    digest = found.save(output)
    if choice is not None:
        out.print(report.candidates(choice, "Clips that were tried on left-out classes"))
    for sentence in method.remarks():
        out.print(sentence, soft_wrap=True)
    out.print(
        f"Fitted {found} on {args.id_data} train.\nSaved {output} (content {digest[:12]}). "
        f"Next: `openood calibrate {output}` with the same data and network.",
        soft_wrap=True,
    )


def fitted(args: argparse.Namespace) -> tuple[Method, LINe | Panel]:
    """Fits the method as the runner does; returns it and the contents of its artifact."""
    from line_plugin.benchmark import methods
    from line_plugin.benchmark.methods.line import LineMethod
    from line_plugin.benchmark.methods.panel import PanelMethod
    from line_plugin.benchmark.protocol import image_list, settings
    from line_plugin.benchmark.protocol.features import Request
    from line_plugin.benchmark.protocol.forwarding import check_head
    from line_plugin.benchmark.protocol.runner import fit_data

    benchmark, name = options.benchmark_of(args), args.postprocessor
    given = _given(args)
    methods.create(name, given)  # refuses unknown names before any work
    splits = image_list.read_splits(benchmark, args.data_root, "train", "val")
    wanted = [
        Request(images, benchmark.preprocessing_of(getattr(benchmark.id, s)))
        for images, s in zip(splits, ("train", "val"), strict=True)
    ]
    with sharing.passes_of(args) as passes:
        cache = options.cache_of(args, benchmark, args.checkpoint, passes)
        method = settings.create(name, benchmark, cache.model, given)
        check_head(benchmark, cache, wanted[0])
        with options.progress_bar("forward") as progress:
            train, val = cache.get(wanted, progress)
    method.fit(fit_data(benchmark, cache, train, val))
    if isinstance(method, LineMethod):
        return method, method.line
    if isinstance(method, PanelMethod):
        return method, method.panel
    raise SettingsError(f"the method registered as {name!r} writes no artifact: fit line or panel")


def _given(args: argparse.Namespace) -> dict[str, float | int | str | None]:
    """The settings that the command line names."""
    from line_plugin.method.auto import AUTO

    name = args.postprocessor
    if name != "line" and (args.auto or args.preset):
        raise SettingsError(f"--{'auto' if args.auto else 'preset'} is for line; the panel always chooses its clip")
    given = {**_preset(args.preset), **({"clip": AUTO} if args.auto else {})}
    named = options.settings_of([f"{name}.{pair}" for pair in args.set]).get(name, {})
    if args.auto and named.get("clip", AUTO) != AUTO:
        raise SettingsError(f"--auto chooses the clip and --set clip={named['clip']} names one: give one of the two")
    return given | named


def _preset(name: str | None) -> dict[str, float | int | str | None]:
    if name is None:
        return {}
    from dataclasses import asdict

    from line_plugin.method.line import LINe

    return {**asdict(LINe.preset(name).settings), "clip_percentile": None}
