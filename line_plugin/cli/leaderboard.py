"""``openood eval --published`` and ``--board``: show published rows beside the tables, and write rows to publish."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from line_plugin.cli import options
from line_plugin.cli.report import sha256_of
from line_plugin.errors import SettingsError

if TYPE_CHECKING:
    from line_plugin.benchmark.protocol.results import Evaluation
    from line_plugin.benchmark.protocol.spec import Benchmark
    from line_plugin.benchmark.report import Summary
    from line_plugin.benchmark.report.published import PublishedRow


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    board = parser.add_argument_group("leaderboard")
    board.add_argument(
        "--published", action="store_true", help="print published results of this benchmark, in a table of their own"
    )
    board.add_argument(
        "--board", action="store_true", help="write rows for OpenOOD's leaderboard, with checkpoint hashes"
    )
    board.add_argument("--board-training", default="CrossEntropy", metavar="NAME", help="training (CrossEntropy)")
    board.add_argument("--board-description", default="", metavar="TEXT", help="e.g. '100 epochs'")
    board.add_argument("--board-outlier-data", action="store_true", help="the training saw outlier data")
    board.add_argument(
        "--board-link", default="", metavar="URL", help="the paper of a method that is missing on the board"
    )


def check(args: argparse.Namespace, benchmark: Benchmark, methods: Sequence[str]) -> None:
    """Refuses, before any image is read, rows that cannot be shown or written."""
    from line_plugin.benchmark import report

    if args.published:
        published(args, benchmark)
    if not args.board:
        return
    report.file_of(benchmark.name, fsood=args.fsood)
    if args.engine == "openood":
        raise SettingsError("--board needs the native engine: leave out --engine openood")
    if args.skip_missing:
        raise SettingsError("--board needs every data set of the benchmark: leave out --skip-missing")
    if not args.arch and args.model:
        raise SettingsError("--board writes the network's name: give it by --arch instead of --model")
    if args.root is None and args.checkpoint is None:
        raise SettingsError("--board writes the hash of the weights: give them by --checkpoint or --root")
    unknown = [method for method in methods if report.needs_link(method)]
    if unknown and not args.board_link:
        raise SettingsError(
            f"the leaderboard needs a link to the paper of {', '.join(unknown)}: give it by --board-link"
        )


def published(args: argparse.Namespace, benchmark: Benchmark) -> list[PublishedRow]:
    """The published rows of this benchmark on this network, or on all networks if this one has none."""
    from line_plugin.benchmark import report

    if args.fsood:
        raise SettingsError("--published has no full-spectrum rows: leave out --published or --fsood")
    arch = args.arch or benchmark.arch
    return report.published_rows(benchmark.name, report.network_on_the_board(arch) if arch else None)


def show_published(args: argparse.Namespace, benchmark: Benchmark) -> None:
    """Prints the published rows."""
    from line_plugin.benchmark import report

    options.console().print(report.published_table(published(args, benchmark)))


def save(
    args: argparse.Namespace,
    benchmark: Benchmark,
    runs: Sequence[Evaluation],
    summaries: Sequence[Summary],
    checkpoints: Sequence[tuple[str, Path | None]],
    folder: Path,
) -> list[Path]:
    """Writes the rows, and the checkpoints and settings behind them."""
    from line_plugin.benchmark import report

    entry = report.Entry(
        benchmark=benchmark.name,
        fsood=args.fsood,
        network=args.arch or benchmark.arch or "",
        training=args.board_training,
        outliers=args.board_outlier_data,
        description=args.board_description,
        link=args.board_link,
    )
    hashes = [
        {"run": name, "file": path.name, "sha256": sha256_of(path), "model_sha256": run.model_sha256}
        for (name, path), run in zip(checkpoints, runs, strict=True)
        if path is not None
    ]
    settings = {s.method: [run.results[i].settings for run in runs] for i, s in enumerate(summaries)}
    return report.save_board(folder, entry, summaries, hashes, settings)
