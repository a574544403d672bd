"""``openood calibrate``: sets the threshold and the conformal cells of an artifact, and prints what they support."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.cli import options
from line_plugin.errors import CalibrationError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from line_plugin.method.calibration import Calibration
    from line_plugin.method.line import LINe
    from line_plugin.method.panel import Panel


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "calibrate",
        help="set an artifact's threshold on held-out ID data",
        description="Score held-out ID inputs and store threshold and conformal cells in the artifact. Takes the ID "
        "val split of a benchmark, or features of your own traffic.",
    )
    parser.add_argument("artifact", type=Path, help="written by `openood fit`")
    parser.add_argument("--output", type=Path, help="the file to write (replaces the artifact)")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--tpr", type=float, help="share of ID inputs to keep (0.95)")
    rate.add_argument("--fpr", type=float, help="share of ID inputs to flag (0.05)")
    parser.add_argument(
        "--features", type=Path, metavar="FILE.npy", help="(n, D) features of held-out ID inputs instead of a benchmark"
    )
    parser.add_argument(
        "--evidence",
        nargs="+",
        metavar="NAME",
        help="for a panel: the scores that collect evidence of their own in the monitor, "
        "`panel` as a whole or experts (panel line)",
    )
    options.add_network(parser, runs=False)
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from line_plugin.method.loading import load_artifact

    line = load_artifact(args.artifact)
    tpr = args.tpr if args.tpr is not None else 1 - args.fpr if args.fpr is not None else 0.95
    if args.features:
        features, source = _from_file(args.features), args.features.name
    else:
        features, source = _from_benchmark(args, line), f"{args.id_data} val"
    calibration = _calibrated(line, features, tpr, source, args.evidence)
    target = args.output or args.artifact
    digest = line.save(target)
    out = options.console()
    out.print(
        f"Calibrated on {calibration.n} inputs of {source}: OOD if confidence < {calibration.threshold:.4f} "
        f"(TPR {calibration.tpr:.1%}).\nSaved {target} (content {digest[:12]})."
    )
    for sentence in calibration.limits():
        out.print(f"- {sentence}", soft_wrap=True)


def _calibrated(
    line: LINe | Panel, features: Tensor, tpr: float, source: str, evidence: list[str] | None
) -> Calibration:
    from line_plugin.method.panel import Panel

    if isinstance(line, Panel):
        return line.calibrate(features, tpr, source, evidence)
    if evidence:
        raise CalibrationError(
            f"--evidence {' '.join(evidence)} given, but the artifact is of LINe alone: leave it out, or fit a panel"
        )
    return line.calibrate(features, tpr, source)


def _from_file(path: Path) -> Tensor:
    import numpy as np
    import torch

    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot read features {path} ({error}): save a float array (n, D) with numpy.save") from error


def _from_benchmark(args: argparse.Namespace, line: LINe | Panel) -> Tensor:
    from line_plugin.benchmark.protocol import image_list
    from line_plugin.benchmark.protocol.features import Request

    benchmark = options.benchmark_of(args)
    val = image_list.read(f"{benchmark.name} val", benchmark.id.val, args.data_root, benchmark.num_classes)
    cache = options.cache_of(args, benchmark, args.checkpoint)
    if line.provenance.model_sha256 and line.provenance.model_sha256 != cache.model_sha256:
        raise CalibrationError(
            f"{args.artifact} was fitted on another network (weights {line.provenance.model_sha256[:12]}, "
            f"given {cache.model_sha256[:12]}): calibrate with the checkpoint of the fit"
        )
    with options.progress_bar("forward") as progress:
        (found,) = cache.get([Request(val, benchmark.preprocessing_of(benchmark.id.val))], progress)
    return found.features
