"""``openood report``, and ``--report`` and ``--save-run`` of ``openood eval``: saves runs, and makes a page of them."""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.cli import options
from line_plugin.errors import SettingsError

if TYPE_CHECKING:
    from line_plugin.benchmark.protocol.results import Evaluation
    from line_plugin.benchmark.report.html import PageOptions


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="write one HTML page about runs that were saved",
        description="Write one self-contained HTML page about one or more runs that `openood eval --save-run` or "
        "`--report` saved. It loads nothing from anywhere and opens from disk.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a results folder, or a folder with run.json")
    parser.add_argument("--output", type=Path, help="the page (RUN/report.html of the first run)")
    parser.add_argument("--data-root", type=Path, help="the folder of the images, if they were moved")
    parser.add_argument("--cache-dir", type=Path, help="the folder of the features, if they were moved")
    parser.add_argument(
        "--artifact",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="show its settings, origin and calibration, and mark its threshold",
    )
    _add_page_flags(parser)
    return parser


def add_eval_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of ``openood eval``."""
    group = parser.add_argument_group("report")
    group.add_argument("--save-run", action="store_true", help="save everything that a report is made from")
    group.add_argument(
        "--report", action="store_true", help="do the same and write report.html: one page that works offline"
    )
    group.add_argument(
        "--artifact", type=Path, action="append", default=[], metavar="FILE", help="show its calibration in the report"
    )
    _add_page_flags(group)


def _add_page_flags(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--bootstrap", type=options.natural, default=1000, metavar="N", help="draws for intervals, 0 for none (1000)"
    )
    parser.add_argument("--bootstrap-seed", type=options.natural, default=0, metavar="N", help="of the draws (0)")
    parser.add_argument(
        "--misses",
        type=options.natural,
        default=6,
        metavar="N",
        help="how many of the worst images of each set are shown (6)",
    )


def check(args: argparse.Namespace) -> None:
    """Refuses, before any image is read, a report that cannot be saved."""
    if args.engine == "openood" and (args.save_run or args.report):
        raise SettingsError("--save-run and --report need the native engine: leave out --engine openood")
    if args.artifact and not (args.save_run or args.report):
        raise SettingsError("--artifact is for the report: give --report or --save-run too")
    if args.artifact:
        from line_plugin.method.loading import load_artifact

        for path in args.artifact:
            load_artifact(path)


def save(
    args: argparse.Namespace,
    runs: Sequence[Evaluation],
    checkpoints: Sequence[tuple[str, Path | None]],
    folder: Path,
    started: datetime,
) -> list[Path]:
    """Saves every run below ``folder/run``, and writes the page if wanted."""
    from line_plugin.benchmark.report import run_folder
    from line_plugin.benchmark.report.artifacts import describe_artifacts
    from line_plugin.benchmark.report.run_record import Made, Network, Places

    saved = []
    cache = _cache_of(args)
    for run, (name, checkpoint) in zip(runs, checkpoints, strict=True):
        known = None if checkpoint is None else {"file": checkpoint.name, "sha256": sha256_of(checkpoint)}
        network = Network.model_validate(
            {
                "arch": args.model or args.arch or run.benchmark.arch,
                "head": run.head,
                "model_sha256": run.model_sha256,
                "checkpoint": known,
            }
        )
        made = Made(
            command=command_of(args),
            started=started.strftime("%Y-%m-%d %H:%M:%S UTC"),
            device=_describe_device(args.device),
            platform=platform.platform(),
            versions=_versions(),
        )
        saved.append(
            run_folder.save_run(
                folder / "run" / name if name else folder / "run",
                run,
                name=name or run.benchmark.name,
                network=network,
                made=made,
                places=Places(data_root=str(args.data_root.absolute()), cache=str(cache.absolute())),
                artifacts=describe_artifacts(
                    args.artifact, {r.name: r.scores["id"] for r in run.results}, run.keys["id"], cache
                ),
            )
        )
    if args.report:
        saved.append(write([path.parent for path in saved], folder / "report.html", _page_options(args)))
    return saved


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from line_plugin.benchmark.report.run_folder import find_runs

    folders = [folder for path in args.runs for folder in find_runs(path)]
    target = args.output or (args.runs[0] if args.runs[0].is_dir() else args.runs[0].parent) / "report.html"
    path = write(folders, target, _page_options(args), args.artifact)
    options.console().print(f"Saved {path} ({path.stat().st_size / 1e6:.1f} MB).", soft_wrap=True)


def write(folders: Sequence[Path], target: Path, chosen: PageOptions, artifacts: Sequence[Path] = ()) -> Path:
    """Makes the page of saved runs and their artifacts, and writes it as a whole."""
    from line_plugin.benchmark.report import html, run_folder, tables

    runs = run_folder.name_apart([run_folder.load_run(folder) for folder in folders], folders)
    if artifacts:
        from line_plugin.benchmark.report.artifacts import add_artifacts

        runs = add_artifacts(runs, artifacts, chosen.cache)
    with options.progress_bar("report", "steps") as progress:
        text = html.make_page(runs, chosen, progress)
    return tables.write_report(target, text)


def _page_options(args: argparse.Namespace) -> PageOptions:
    from line_plugin.benchmark.report.html import PageOptions

    moved = args.command == "report"  # `eval` has just read both from the folders that the run names
    return PageOptions(
        replicates=args.bootstrap,
        seed=args.bootstrap_seed,
        misses=args.misses,
        data_root=args.data_root if moved else None,
        cache=args.cache_dir if moved else None,
    )


def command_of(args: argparse.Namespace) -> tuple[str, ...]:
    """The command as it was typed."""
    return ("openood", *args.typed)


def _cache_of(args: argparse.Namespace) -> Path:
    from line_plugin.benchmark.protocol.features import default_cache_dir

    return Path(args.cache_dir or default_cache_dir())


def _describe_device(name: str) -> str:
    import torch

    device = options.device_of(name)
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({os.cpu_count()} cores)"


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    from line_plugin.version import __version__

    found = {"openood-line": __version__, "python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy", "pillow", "numba", "pytorch-ood", "scikit-learn", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def now() -> datetime:
    """The time at which a run starts, UTC."""
    return datetime.now(tz=timezone.utc)


def typed(argv: Sequence[str] | None) -> list[str]:
    """The arguments of the command line, for the record."""
    return list(sys.argv[1:] if argv is None else argv)
