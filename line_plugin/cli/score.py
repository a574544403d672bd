"""``openood score``: score your own images with a fitted artifact, one row per image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.cli import options, sharing
from line_plugin.cli.score_output import Records, Table, open_receiver
from line_plugin.errors import ImageError, SettingsError

if TYPE_CHECKING:
    from line_plugin.benchmark.protocol.passes import Passes
    from line_plugin.benchmark.protocol.spec import Benchmark, Preprocessing
    from line_plugin.image_scoring.extremes import Extremes
    from line_plugin.image_scoring.scorer import ImageScorer
    from line_plugin.image_scoring.sources import Source
    from line_plugin.method.line import LINe
    from line_plugin.method.panel import Panel

INCOMPLETE = 3
"""The exit code of a run that ended without all of its images or sets."""
_FORMATS = ("table", "csv", "json", "jsonl", "parquet")


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "score",
        help="score images, folders or lists with an artifact",
        description="Score your own images with an artifact: class, confidence, p-value, flagged or not, and for a "
        "panel what each expert says. Images are prepared as in the fit, read one batch at a time and never kept. "
        "Exit code 3: some images cannot be scored, their rows say why.",
    )
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="IMAGE|FOLDER|LIST",
        help="images, folders, or lists with 'path label' on each line",
    )
    parser.add_argument("--artifact", type=Path, required=True, help="written by `openood fit` and `openood calibrate`")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="the folder from which the paths of a LIST start (by default the folder of the list)",
    )
    parser.add_argument("--level", type=float, help="share of ID images that may be flagged (that of the calibration)")
    parser.add_argument("--strict", action="store_true", help="stop at the first image that cannot be scored")
    out = parser.add_argument_group("output")
    out.add_argument("--format", choices=_FORMATS, help="by the suffix of the output if not given, else table")
    out.add_argument("--output", type=Path, help="the file, written whole or not at all (standard output)")
    out.add_argument("--rows", type=options.positive, default=40, metavar="N", help="the most rows of the table (40)")
    out.add_argument(
        "--explain", type=options.natural, default=0, metavar="N", help="the N neurons that made each confidence"
    )
    out.add_argument("--plots", type=Path, metavar="FILE.png", help="draw the most OOD and the most ID images")
    options.add_benchmark(parser, None)
    options.add_work(parser, options.add_weights(parser, runs=False))
    sharing.add_flags(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from line_plugin.image_scoring import writers
    from line_plugin.image_scoring.sources import find_sources
    from line_plugin.method.loading import load_artifact

    form = writers.format_of(args.output, args.format)
    if args.explain and form not in ("table", *writers.NESTED):
        raise SettingsError(f"--explain goes with --format table, json or jsonl: {form} has no place for it")
    if args.plots and args.plots.suffix.lower() != ".png":
        raise SettingsError(f"--plots {args.plots} given, expected a file that ends in .png")
    sources = find_sources(args.inputs, args.images)
    with sharing.passes_of(args) as passes:
        return _run(args, form, sources, _scorer(args, load_artifact(args.artifact), passes))


def _run(args: argparse.Namespace, form: str, sources: list[Source], scorer: ImageScorer) -> int:
    """Scores, writes and draws; returns the exit code."""
    from line_plugin.image_scoring import gallery
    from line_plugin.image_scoring.extremes import Extremes

    notes = options.console(stderr=True)
    for sentence in scorer.limits():
        notes.print(f"openood: note: {sentence}", soft_wrap=True, markup=False)
    drawn = Extremes(gallery.EACH) if args.plots else None
    with open_receiver(args, form, scorer, scorer.layout(sources)) as receiver:
        counts = _score_all(args, scorer, sources, receiver, drawn)
        receiver.end(counts)
    if drawn is not None:
        gallery.draw_gallery(args.plots, drawn)
        notes.print(f"Saved {args.plots}", soft_wrap=True, markup=False)
    notes.print(_summary(counts, scorer), soft_wrap=True, markup=False)
    return INCOMPLETE if counts["unreadable"] else 0


def _score_all(
    args: argparse.Namespace,
    scorer: ImageScorer,
    sources: list[Source],
    receiver: Table | Records,
    drawn: Extremes | None,
) -> dict[str, int]:
    """Passes every row on; returns how many rows of each kind there were."""
    from line_plugin.errors import DataError
    from line_plugin.image_scoring.rows import printable, readable

    counts = {"images": 0, "flagged": 0, "unreadable": 0}
    with options.progress_bar("score") as progress:
        for row in scorer.score(sources):
            if row.error and args.strict:
                raise ImageError(f"image {printable(readable(row.path))} cannot be scored ({row.error})")
            counts["images"] += 1
            counts["flagged"] += bool(row.flagged)
            counts["unreadable"] += bool(row.error)
            receiver.write(row)
            if drawn is not None:
                drawn.add(row)
            progress(counts["images"], None)
    if not counts["images"]:
        raise DataError(f"no image in {', '.join(str(p) for p in args.inputs)}: nothing was scored")
    return counts


def _summary(counts: dict[str, int], scorer: ImageScorer) -> str:
    found = f"{counts['images']:,} images"
    scored = counts["images"] - counts["unreadable"]
    if scorer.level is not None and scored:
        found += (
            f"; {counts['flagged']:,} flagged ({counts['flagged'] / scored:.1%}; of ID images at most "
            f"{scorer.level:.3g} would be)"
        )
    return found + (
        f"; {counts['unreadable']:,} could not be scored, their rows say why" if counts["unreadable"] else ""
    )


def _scorer(args: argparse.Namespace, artifact: LINe | Panel, passes: Passes | None) -> ImageScorer:
    """The scorer, from the artifact and the network of the command line."""
    from line_plugin.image_scoring.scorer import ImageScorer

    benchmark = _benchmark(args, artifact)
    usual, owner = (benchmark.arch, f"benchmark {benchmark.name!r}") if benchmark else ("", str(args.artifact))
    return ImageScorer(
        options.build_network(args, usual, artifact.num_classes, owner, args.checkpoint),
        artifact,
        _preprocessing(args, artifact, benchmark),
        device=options.device_of(args.device),
        head=args.head,
        batch_size=args.batch_size,
        num_workers=options.workers_of(args),
        level=args.level,
        keep_features=bool(args.explain),
        passes=passes,
    )


def _benchmark(args: argparse.Namespace, artifact: LINe | Panel) -> Benchmark | None:
    """The named benchmark, or the shipped benchmark of the fit, if it had one."""
    from line_plugin.benchmark.protocol import spec

    if args.id_data is not None:
        return options.benchmark_of(args)
    name = artifact.provenance.extra.get("benchmark")
    return spec.load(name) if isinstance(name, str) and name in spec.shipped() else None


def _preprocessing(args: argparse.Namespace, artifact: LINe | Panel, benchmark: Benchmark | None) -> Preprocessing:
    """The preprocessing of the fit, since the artifact is not valid for images that are prepared in another way."""
    from line_plugin.benchmark.protocol.spec import Preprocessing

    recorded = artifact.provenance.extra.get("preprocessing")
    if recorded is None:
        if benchmark is None:
            raise SettingsError(
                f"{args.artifact} does not say how its images were prepared, as `openood fit` did not write it: name a "
                "benchmark with the same preprocessing by --id-data, or your own YAML file"
            )
        return benchmark.preprocessing
    known = Preprocessing.model_validate(recorded)
    given = options.preprocessing_of(args)
    asked = benchmark.preprocessing if args.id_data and benchmark else known.model_copy(update=given)
    if asked != known:
        raise SettingsError(
            f"{args.artifact} was fitted on images prepared with {known!r}, and the command line asks for {asked!r}: "
            "leave out --id-data and what changes the preprocessing (--mean to --interpolation), or fit again"
        )
    return known
