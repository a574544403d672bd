"""``openood eval --engine openood``: run the same networks and methods through OpenOOD's own Evaluator."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.cli import options
from line_plugin.cli.evaluate import checkpoints, print_saved, print_tables
from line_plugin.errors import SettingsError

if TYPE_CHECKING:
    from torch import nn

    from line_plugin.benchmark.protocol.runner import Options
    from line_plugin.benchmark.protocol.spec import Benchmark
    from line_plugin.method.line import LINe


@dataclass
class _Method:
    """The results of one method: for each network a table, and the LINe that it fitted."""

    name: str
    tables: list[dict[str, dict[str, float]]] = field(default_factory=list)
    lines: list[LINe | None] = field(default_factory=list)
    origin: str = ""

    def keep_line(self, postprocessor: Any) -> None:
        """Keeps the LINe of a postprocessor.

        LINe's has one, the panel's has one among its experts, upstream's have none.
        """
        line: LINe | None = getattr(getattr(postprocessor, "panel", postprocessor), "line", None)
        # A search or a clip_percentile replaces the clip that the fit chose.
        used = line is not None and line.choice is not None and line.choice.clip == line.settings.clip
        self.lines.append(line if used and not postprocessor.APS_mode else None)


def run(args: argparse.Namespace, benchmark: Benchmark, chosen: Options) -> None:
    """Evaluates, and prints upstream's tables in the form of the native engine.

    Raises:
        SettingsError: a flag that needs the native engine. OpenOODError: upstream is not installed or cannot run.
    """
    from line_plugin.benchmark import report
    from line_plugin.benchmark.protocol import image_list

    if args.save_score or args.plots or args.save_parquet:
        raise SettingsError(
            "--save-score, --save-parquet and --plots need the native engine: leave out --engine openood"
        )
    # Upstream opens every list and cannot skip sets.
    image_list.read_all(benchmark, args.data_root, csid=chosen.fsood, ood_val=True, skip_missing=False)
    nets = [options.network_of(args, benchmark, checkpoint) for _, checkpoint in checkpoints(args)]
    methods = [_evaluate(args, benchmark, chosen, name, nets) for name in chosen.methods]
    summaries = [report.from_upstream(m.name, m.tables) for m in methods]
    folder = args.output_dir or Path("results") / benchmark.name
    saved = report.save_csv(folder, summaries, fsood=args.fsood) if args.save_csv else []
    if args.json:
        rows = {s.method: report.rows_json(s) for s in summaries}
        print(json.dumps({"engine": "openood", "methods": rows, "choice": _choices_json(methods)}, indent=2))
        return
    print_tables(args, benchmark, summaries, [s.method for s in summaries])
    for method in methods:
        _print_choices(method, brief=args.brief)
    print_saved(saved)


def _evaluate(
    args: argparse.Namespace, benchmark: Benchmark, chosen: Options, name: str, nets: list[nn.Module]
) -> _Method:
    """Evaluates one method on every network."""
    from line_plugin.benchmark.protocol import images
    from line_plugin.integrations.openood import evaluate_with_openood

    own = bool(options.preprocessing_of(args))
    method = _Method(name)
    for net in nets:
        settings, method.origin = _settings(name, benchmark, net, chosen)
        method.tables.append(
            evaluate_with_openood(
                net,
                benchmark.name,
                args.data_root,
                name,
                device=options.device_of(args.device),
                batch_size=args.batch_size or 200,
                num_workers=options.workers_of(args),
                fsood=chosen.fsood,
                # As in the native engine, LINe keeps the benchmark's setting unless a search is wanted.
                sweep=False if chosen.search is None and name == "line" else chosen.search,
                preprocessor=images.transform(benchmark.preprocessing) if own else None,
                settings=settings,
                after_fit=method.keep_line,
            )
        )
    return method


def _settings(name: str, benchmark: Benchmark, net: nn.Module, chosen: Options) -> tuple[dict[str, Any], str]:
    """The settings that replace those of upstream's YAML file, and their origin.

    For LINe these are all settings, so that both engines start from the same ones.
    """
    from line_plugin.benchmark.protocol import settings

    given = chosen.settings.get(name, {})
    if name == "line":
        start = settings.create(name, benchmark, net, given)
        return dict(start.settings), start.origin
    return {**benchmark.methods.get(name, {}), **given}, ""


def _print_choices(method: _Method, *, brief: bool) -> None:
    """Prints the candidates and choices of the fits in the words of the native engine."""
    from line_plugin.benchmark import report
    from line_plugin.method.auto import describe_choice

    out = options.console()
    for number, line in enumerate(method.lines):
        if line is None or line.choice is None:
            continue
        of = f" (run s{number})" if len(method.lines) > 1 else ""
        sentences = [f"{method.name}: {sentence}" for sentence in line.choice.limits()]
        if method.name == "line":
            sentences = describe_choice(line.settings, line.choice, method.name, method.origin)
            if not brief:
                out.print(report.candidates(line.choice, f"Clips that {method.name} tried on left-out classes{of}"))
        for sentence in sentences:
            out.print(f"{sentence}{of}", soft_wrap=True)


def _choices_json(methods: list[_Method]) -> dict[str, list[Any]]:
    """The choices as in an artifact; empty for a method that chose nothing."""
    from line_plugin.method.auto import CHOICE_KEY

    found = {m.name: [line.provenance.extra.get(CHOICE_KEY) if line else None for line in m.lines] for m in methods}
    return {name: choices for name, choices in found.items() if any(choices)}
