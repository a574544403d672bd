"""``openood data``: list what a benchmark needs, what is there, and what differs from what was published."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.cli import options

if TYPE_CHECKING:
    from line_plugin.benchmark.protocol.inventory import SetState
    from line_plugin.benchmark.protocol.spec import Benchmark

INCOMPLETE = 3
"""The exit code if a run would fail."""
_OPTIONAL = {"csid": "for --fsood", "ood val": "for --sweep, and for methods that search by default"}


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "data",
        help="check a benchmark's data: what is missing, and what differs from the published data",
        description="Check the image lists and images of benchmarks: what exists, what is missing and where to get "
        "it, and what differs from the published counts and lists. Without a "
        "benchmark, print one line for each shipped one.",
    )
    parser.add_argument("presets", nargs="*", metavar="PRESET", help="benchmark by name, or your own YAML file")
    parser.add_argument(
        "--root", "--data-root", type=Path, default=Path("data"), dest="data_root", help="folder of the data (./data)"
    )
    parser.add_argument("--fsood", action="store_true", help="for a full-spectrum run: it needs shifted ID sets")
    parser.add_argument("--sweep", action="store_true", help="for a run that searches: it needs the OOD val set")
    parser.add_argument(
        "--verify", action="store_true", help="read and decode every image: hours for ImageNet from a slow disk"
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail also if anything differs from the published data, or is odd"
    )
    parser.add_argument("--workers", type=options.positive, help="threads of --verify (one for each core)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from line_plugin.benchmark.protocol import spec

    benchmarks = {name: spec.load(name) for name in args.presets or spec.shipped()}
    if args.verify and args.presets:
        for benchmark in benchmarks.values():
            benchmark.require_images()
    looked = {name: _look(args, benchmark) for name, benchmark in benchmarks.items()}
    failing = [bool(_failures(args, states)) for states in looked.values()]
    cannot_run = [bad or b.volumes for bad, b in zip(failing, benchmarks.values(), strict=True)]
    if args.json:
        print(json.dumps({name: _as_json(args, states) for name, states in looked.items()}, indent=2))
    elif args.presets:
        for name, states in looked.items():
            _show(args, name, benchmarks[name], states)
    else:
        _show_overview(args, looked, benchmarks)
    # Without a name, one benchmark that can be run is enough, since nobody needs all that are shipped.
    return INCOMPLETE if (any(failing) if args.presets else all(cannot_run)) else 0


def _look(args: argparse.Namespace, benchmark: Benchmark) -> list[SetState]:
    import os

    from line_plugin.benchmark.protocol import inventory, verification

    with options.progress_bar("look") as progress:
        states = inventory.inspect(benchmark, args.data_root, csid=args.fsood, ood_val=args.sweep, progress=progress)
    if args.verify and not benchmark.volumes:
        with options.progress_bar("verify") as progress:
            verification.verify(states, args.data_root, args.workers or os.cpu_count() or 1, progress)
    return states


def _failures(args: argparse.Namespace, states: Sequence[SetState]) -> list[SetState]:
    """The sets with which a run would fail. An optional set fails if it exists and is wrong."""
    return [s for s in states if (s.problems or (args.strict and s.notes)) and (s.needed or not s.absent)]


def _as_json(args: argparse.Namespace, states: Sequence[SetState]) -> dict[str, Any]:
    return {
        "ready": not _failures(args, states),
        "sets": [
            {
                "name": s.name,
                "role": s.role,
                "needed": s.needed,
                "place": str(s.place),
                "images": s.images,
                "present": s.present,
                "published": s.spec.count,
                "list_sha256": s.sha256 or None,
                "published_list_sha256": s.spec.sha256,
                "images_sha256": s.pixels_sha256 or None,
                "problems": s.problems,
                "notes": s.notes,
                "source": s.spec.source,
                "home": s.spec.home,
            }
            for s in states
        ],
    }


def _show(args: argparse.Namespace, name: str, benchmark: Benchmark, states: Sequence[SetState]) -> None:
    from rich.table import Table
    from rich.text import Text

    out = options.console()
    table = Table(title=f"{benchmark.title or benchmark.name} in {args.data_root}", title_justify="left")
    for column in ("set", "role", "images", "published", "list", "state"):
        table.add_column(column, justify="right" if column in ("images", "published") else "left")
    for s in states:
        found = "" if s.images is None else f"{s.present:,}" if s.present == s.images else f"{s.present:,}/{s.images:,}"
        published = "" if s.spec.count is None else f"{s.spec.count:,}"
        table.add_row(Text(s.name), s.role, found, published, s.sha256[:12], _state(args, s))
    out.print(table)
    for s in states:
        if s.problems and s.absent and not s.needed:
            continue
        for sentence in [*s.problems, *s.notes]:
            out.print(f"- {s.name}: {sentence}", soft_wrap=True, markup=False)
        if s.pixels_sha256:
            out.print(
                f"- {s.name}: every image decodes; SHA-256 of all {s.pixels_sha256}", soft_wrap=True, markup=False
            )
    for where in _sources(states):
        out.print(where, soft_wrap=True, markup=False)
    out.print(_verdict(args, name, benchmark, states), soft_wrap=True, markup=False)


def _state(args: argparse.Namespace, state: SetState) -> str:
    if not state.problems:
        return "differs" if state.notes else "ok"
    if not state.absent:
        return "broken"
    return "missing" if state.needed else f"missing ({_OPTIONAL[state.role]})"


def _sources(states: Sequence[SetState]) -> list[str]:
    """List where to get what is missing, one line per source."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for s in states:
        if s.problems and (s.spec.source or s.spec.home):
            lacking.setdefault((s.spec.source, s.spec.home), []).append(s.name)
    return [
        f"Get {', '.join(names)} from {source or home}" + (f" ({home})" if source and home else "")
        for (source, home), names in lacking.items()
    ]


def _verdict(args: argparse.Namespace, name: str, benchmark: Benchmark, states: Sequence[SetState]) -> str:
    failing = _failures(args, states)
    if benchmark.volumes:
        there = f"Look at {', '.join(s.name for s in failing)} above" if failing else "Everything that it names exists"
        return f"{there}. Its files are volumes, and `openood eval` reads images."
    if not failing:
        checked = "every image decodes" if args.verify else "images were not opened, --verify does that"
        return f"`openood eval --id-data {name}` has all that it needs ({checked})."
    hint = ""
    if all(s.role in ("csid", "near", "far") and s.absent for s in failing):
        hint = " `openood eval --skip-missing` would evaluate the rest."
    names = ", ".join(s.name for s in failing)
    return f"`openood eval --id-data {name}` would fail: look at {names} above.{hint}"


def _show_overview(
    args: argparse.Namespace, looked: Mapping[str, Sequence[SetState]], benchmarks: Mapping[str, Benchmark]
) -> None:
    out = options.console()
    width = max(map(len, looked))
    for name, states in looked.items():
        failing = _failures(args, states)
        ready = "there; volumes, which `openood eval` does not read" if benchmarks[name].volumes else "ready"
        verdict = ready if not failing else f"not ready: {', '.join(s.name for s in failing)}"
        if len(failing) == sum(s.needed for s in states) and all(s.absent for s in failing):
            verdict = "nothing is there"
        out.print(f"{name:<{width}}  {verdict}", soft_wrap=True, markup=False)
    out.print(f"Looked in {args.data_root}. `openood data NAME` says more.", soft_wrap=True, markup=False)
