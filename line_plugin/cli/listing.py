"""``openood list``: list methods, benchmarks and other names for the command line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from line_plugin.cli import options

if TYPE_CHECKING:
    from line_plugin.benchmark.methods import Described

_METHODS = "methods (--postprocessor)"
_LEGEND = (
    "Below a method: what it reads of an image, how many numbers it keeps beside the head, whose code computes it.\n"
    "K classes, D features, N training images; bank: it keeps training features."
)


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser("list", help="list benchmarks, methods, networks, presets")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import json
    from dataclasses import asdict

    from line_plugin import networks
    from line_plugin.benchmark import methods
    from line_plugin.benchmark.protocol import spec
    from line_plugin.method.settings import PRESETS

    benchmarks = {name: spec.load(name) for name in spec.shipped()}
    found: dict[str, dict[str, str]] = {
        "benchmarks (--id-data)": {
            n: f"{b.title}; OOD: {', '.join(name for _, name, _ in b.ood_sets())}" for n, b in benchmarks.items()
        },
        _METHODS: methods.names(),
        "networks (--arch)": dict.fromkeys(networks.names(), ""),
        "LINe presets (--preset)": {n: f"p_w={s.p_w} p_a={s.p_a} clip={s.clip}" for n, s in PRESETS.items()},
    }
    details = methods.described()
    if args.json:
        print(json.dumps({**found, "methods in detail": {n: asdict(d) for n, d in details.items()}}, indent=2))
        return
    out = options.console()
    for title, items in found.items():
        out.print(f"[bold]{title}[/bold]")
        width = max(map(len, items))
        for name, about in items.items():
            out.print(f"  {name:<{width}}  {about}".rstrip(), markup=False)
            if items is found[_METHODS] and (line := _about_costs(details[name])):
                out.print(f"  {'':<{width}}  {line}", markup=False, highlight=False, style="dim")
    out.print(_LEGEND, style="dim", highlight=False)


def _about_costs(method: Described) -> str:
    """The inputs, the state and the source of a method, as far as its class names them."""
    parts = [method.needs, f"keeps {method.state}" if method.state else "", method.source]
    return "; ".join(part for part in parts if part)
