"""``openood eval``: OpenOOD v1.5's protocol for any number of methods in one pass over the images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.cli import leaderboard, options, plots, several_devices, sharing
from line_plugin.cli import report as report_command
from line_plugin.errors import MissingDataError, SettingsError

if TYPE_CHECKING:
    from line_plugin.benchmark.protocol.image_list import Sets
    from line_plugin.benchmark.protocol.passes import Passes
    from line_plugin.benchmark.protocol.results import Evaluation
    from line_plugin.benchmark.protocol.runner import Options
    from line_plugin.benchmark.protocol.spec import Benchmark
    from line_plugin.benchmark.report import Summary


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "eval",
        help="evaluate methods on a benchmark",
        description="Evaluate methods by OpenOOD v1.5's protocol. Every image is decoded and forwarded once, whatever "
        "the number of methods; features are cached, so another method on the same network forwards nothing.",
    )
    parser.add_argument(
        "--postprocessor", default="line", metavar="NAME[,NAME...]", help="methods, comma-separated (line)"
    )
    parser.add_argument("--fsood", action="store_true", help="full-spectrum: covariate-shifted ID counts as ID")
    parser.add_argument(
        "--sweep",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="choose hyper-parameters on the validation sets, for every method (default: as OpenOOD does)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="METHOD.SETTING=VALUE",
        help="e.g. line.p_w=10, line.clip=auto, line.clip=off",
    )
    parser.add_argument("--skip-missing", action="store_true", help="evaluate the data sets that exist")
    parser.add_argument(
        "--engine", choices=("native", "openood"), default="native", help="openood: upstream's own Evaluator"
    )
    options.add_network(parser, runs=True)
    sharing.add_flags(parser)
    out = parser.add_argument_group("output")
    out.add_argument("--save-csv", action="store_true", help="OpenOOD's CSV, one a method")
    out.add_argument("--save-score", action="store_true", help="confidences of every image, npz")
    out.add_argument(
        "--save-parquet",
        nargs="?",
        const="test",
        choices=("test", "all"),
        help="features.parquet: one row for each image with its scores and features; all: also the training images",
    )
    out.add_argument("--plots", action="store_true", help="score histograms and ROC curves, PNG")
    out.add_argument("--brief", action="store_true", help="print the comparison of all methods only")
    out.add_argument("--json", action="store_true", help="print JSON instead of tables")
    out.add_argument("--output-dir", type=Path, help="where files go (results/ID-DATA)")
    report_command.add_eval_flags(parser)
    leaderboard.add_flags(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    benchmark = options.benchmark_of(args)
    chosen = options_of(args)
    leaderboard.check(args, benchmark, chosen.methods)
    report_command.check(args)
    if args.save_parquet:
        from line_plugin.benchmark.report import parquet

        parquet.require_pyarrow()
    started = report_command.now()
    if args.engine == "openood":
        if args.ray:
            raise SettingsError("--ray given with --engine openood, whose passes are upstream's own: leave one out")
        from line_plugin.cli import upstream

        upstream.run(args, benchmark, chosen)
        return
    found = checkpoints(args)
    shared = sharing.passes_of(args)  # flags that contradict each other are refused before anything begins
    devices = [args.device] if args.ray else several_devices.devices_of(args.device, len(found))
    sets = _check(args, benchmark, chosen, [path for _, path in found])
    elsewhere = several_devices.forward_all(args, benchmark, sets, found, devices) if len(devices) > 1 else 0
    args.device = devices[0]
    runs = []
    with shared as passes:
        for name, checkpoint in found:
            runs.append(evaluate(args, benchmark, chosen, checkpoint, sets, passes))
            if name:
                options.console(stderr=True).print(f"{name}: done")
    runs[0].forwarded += elsewhere
    show(args, benchmark, runs, started)


def _check(args: argparse.Namespace, benchmark: Benchmark, chosen: Options, weights: Sequence[Path | None]) -> Sets:
    """Find what would end a run hours later (lists, images, checkpoints), and name all of it in one line."""
    from line_plugin.benchmark.protocol import runner

    gone = [f"no checkpoint at {path}" for path in weights if path is not None and not path.is_file()]
    try:
        sets = runner.read_sets(benchmark, args.data_root, chosen)
    except MissingDataError as error:
        raise MissingDataError("; ".join([*gone, str(error)])) from error
    if len(weights) > 1:  # a broken checkpoint is found now, not after the runs before it
        for path in weights:
            options.network_of(args, benchmark, path)
    return sets


def options_of(args: argparse.Namespace) -> Options:
    """The options of the evaluation."""
    from line_plugin.benchmark import methods
    from line_plugin.benchmark.protocol.runner import Options

    names = tuple(dict.fromkeys(n.strip() for n in args.postprocessor.split(",") if n.strip()))
    if not names:
        raise SettingsError("--postprocessor is empty: give a method such as line, or several with commas")
    settings = options.settings_of(args.set)
    for method in (*names, *settings):
        methods.create(method, settings.get(method))  # refuses unknown names before any work
    return Options(names, settings, args.fsood, args.sweep, args.skip_missing)


def checkpoints(args: argparse.Namespace) -> list[tuple[str, Path | None]]:
    """The checkpoints of the runs to average: ``root/s*/best.ckpt``, as in OpenOOD, or the given one."""
    if args.root is None:
        return [("", args.checkpoint)]
    if args.checkpoint is not None:
        raise SettingsError("give --root or --checkpoint, not both")
    found = sorted(args.root.glob("s*/best.ckpt"))
    if not found:
        raise SettingsError(f"no training run in {args.root}: expected s0/best.ckpt, s1/best.ckpt, ...")
    return [(path.parent.name, path) for path in found]


def evaluate(
    args: argparse.Namespace,
    benchmark: Benchmark,
    chosen: Options,
    checkpoint: Path | None,
    sets: Sets,
    passes: Passes | None = None,
) -> Evaluation:
    """Evaluates one network."""
    from line_plugin.benchmark.protocol import runner

    cache = options.cache_of(args, benchmark, checkpoint, passes)
    with options.progress_bar("forward") as progress:
        return runner.evaluate(benchmark, args.data_root, cache, chosen, progress, sets)


def show(args: argparse.Namespace, benchmark: Benchmark, runs: list[Evaluation], started: datetime) -> None:
    """Prints and saves the results."""
    from line_plugin.benchmark import report

    summaries = report.summarise(runs)
    folder = args.output_dir or Path("results") / benchmark.name
    saved = report.save_csv(folder, summaries, fsood=args.fsood) if args.save_csv else []
    if args.save_score:
        for i, one in enumerate(runs):
            target = folder / f"s{i}" if len(runs) > 1 else folder
            saved += [report.save_scores(target, one, r) for r in one.results]
    if args.save_parquet:
        saved += _save_parquet(args, runs, folder)
    if args.plots:
        saved += plots.save(folder, runs[0])
    if args.board:
        saved += leaderboard.save(args, benchmark, runs, summaries, checkpoints(args), folder / "board")
    if args.save_run or args.report:
        saved += report_command.save(args, runs, checkpoints(args), folder, started)
    if args.json:
        found = report.as_json(runs)
        if args.published:
            found["published"] = report.published_json(leaderboard.published(args, benchmark))
        print(json.dumps(found, indent=2))
        return
    print_tables(args, benchmark, summaries, [f"{s.method}{_settings(runs, i)}" for i, s in enumerate(summaries)])
    out = options.console()
    print_notes(args, runs)
    out.print(f"Images forwarded: {sum(r.forwarded for r in runs)}; the rest came from the cache.")
    for line in runs[0].missing:
        out.print(f"Left out: {line}", soft_wrap=True)
    print_saved(saved)


def _save_parquet(args: argparse.Namespace, runs: list[Evaluation], folder: Path) -> list[Path]:
    """Writes one file for each network."""
    from line_plugin.benchmark.protocol.features import default_cache_dir
    from line_plugin.benchmark.report import parquet

    cache = args.cache_dir or default_cache_dir()
    saved = []
    for (name, _), run in zip(checkpoints(args), runs, strict=True):
        about = {
            "benchmark": run.benchmark.name,
            "model_sha256": run.model_sha256,
            "head": run.head,
            "methods": {r.name: r.settings for r in run.results},
        }
        target = folder / name if name else folder
        saved.append(parquet.save_parquet(target, run, cache, train=args.save_parquet == "all", about=about))
    return saved


def print_tables(args: argparse.Namespace, benchmark: Benchmark, summaries: list[Summary], titles: list[str]) -> None:
    """Prints one table for each method, then all side by side."""
    from line_plugin.benchmark import report

    out = options.console()
    label = f"{benchmark.title or benchmark.name}, {'FS-OOD' if args.fsood else 'OOD'}"
    for summary, title in zip(summaries, titles, strict=True) if not args.brief else ():
        out.print(report.table(summary, f"{title}: {label}"))
    if len(summaries) > 1 or args.brief:
        out.print(report.comparison(summaries, f"AUROC of all methods: {label}"))
    papers = "" if args.brief else " FPR95 (ID+): ID is the positive class (the papers)."
    out.print(f"Per cent. FPR@95: OOD is the positive class (OpenOOD).{papers}")
    if args.published:
        leaderboard.show_published(args, benchmark)


def print_notes(args: argparse.Namespace, runs: list[Evaluation]) -> None:
    """Prints the origin of each method's settings, and what its fit tried."""
    from line_plugin.benchmark import report

    out = options.console()
    for number, result in ((i, r) for i, run in enumerate(runs) for r in run.results):
        of = f" (run s{number})" if len(runs) > 1 else ""
        line = getattr(result.method, "line", None)
        if result.record and line is not None and not args.brief:
            out.print(report.candidates(line.choice, f"Clips that {result.name} tried on left-out classes{of}"))
        for sentence in result.notes:
            out.print(f"{sentence}{of}", soft_wrap=True)


def print_saved(saved: list[Path]) -> None:
    """Prints what was written, one line for each folder."""
    for parent in dict.fromkeys(p.parent for p in saved):
        names = ", ".join(p.name for p in saved if p.parent == parent)
        options.console().print(f"Saved in {parent}: {names}", soft_wrap=True)


def _settings(runs: list[Evaluation], index: int) -> str:
    chosen = runs[0].results[index]
    shown = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in chosen.settings.items())
    origin = " chosen on the validation sets" if chosen.sweep else ""
    return f" ({shown}{origin})" if shown else ""
