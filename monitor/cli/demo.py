"""``ood-monitor demo``: a broker, a Redis, a surge: one alert raised, one resolved."""

from __future__ import annotations

import argparse

from monitor.cli.options import Commands


def add(commands: Commands) -> None:
    """Describe the command."""
    demo = commands.add_parser("demo", help="a broker, a Redis, a surge: one alert raised, one resolved")
    demo.set_defaults(command=run)
    demo.add_argument(
        "--folder", default="quickstart", help="folder of the quickstart model, which is made if it is missing"
    )
    demo.add_argument("--postprocessor", default="line", choices=("line", "panel"), help="what scores (line)")
    demo.add_argument("--contamination", type=float, default=0.2, help="share of OOD inputs during the surge")
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument("--json", action="store_true", help="end with one line of JSON")


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from monitor.demo.run import run as run_demo

    return run_demo(
        options.folder,
        method=options.postprocessor,
        contamination=options.contamination,
        seed=options.seed,
        as_json=options.json,
    )
