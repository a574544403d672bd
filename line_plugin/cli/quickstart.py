"""``openood quickstart``: train a small network and print a results table, on images that Python packages ship."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from line_plugin.cli import options

_METHODS = "line,line-paper,panel,msp,ebo,mls,react,dice,ash,knn"


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "quickstart",
        help="train, fit, calibrate and evaluate on images that packages ship",
        description="Prepare a small benchmark from images that installed packages ship, train a small network, then "
        "run `openood fit`, `openood calibrate` and `openood eval` on it. About a minute on two cores.",
    )
    parser.add_argument("--output-dir", type=Path, default=Path("quickstart"), help="everything goes here (quickstart)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (0)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from line_plugin.cli import parser
    from line_plugin.quickstart import dataset, training

    out, folder = options.console(), args.output_dir
    data, checkpoint, artifact = folder / "data", folder / "lenet.safetensors", folder / "line.safetensors"
    _print_title(
        "1. Images: MNIST digits 0 to 7 are in-distribution; faces, textures, photographs and digits 8, 9 are not"
    )
    dataset.prepare(data)
    out.print(f"In {data}, in OpenOOD's layout.")
    _print_title(f"2. A small network, trained on the digits (seed {args.seed})")
    with options.progress_bar("train", "epochs") as progress:
        report = training.train(data, checkpoint, seed=args.seed, progress=lambda e, of, _loss: progress(e, of))
    out.print(
        f"{report['val_accuracy']:.2%} of the validation digits right after {report['epochs']} epochs in "
        f"{report['seconds']:.0f} s. Saved {checkpoint}."
    )
    network = ["--id-data", "quickstart", "--data-root", str(data), "--checkpoint", str(checkpoint)]
    network += ["--cache-dir", str(folder / "cache")]
    results = ["--output-dir", str(folder / "results"), "--brief", "--save-csv", "--plots"]
    results += ["--report", "--artifact", str(artifact)]
    steps = [
        ("3. LINe, fitted on the training digits", ["fit", "--output", str(artifact), *network]),
        ("4. Its threshold, from held-out digits", ["calibrate", str(artifact), *network]),
        (
            "5. LINe beside the baselines, by OpenOOD's protocol",
            ["eval", "--postprocessor", _METHODS, *network, *results],
        ),
    ]
    for title, command in steps:
        _print_title(title)
        out.print(f"$ openood {shlex.join(command)}", style="dim", soft_wrap=True, markup=False)
        step = parser().parse_args(command)
        step.typed = command
        step.run(step)


def _print_title(title: str) -> None:
    options.console().print(f"\n[bold]{title}[/bold]")
