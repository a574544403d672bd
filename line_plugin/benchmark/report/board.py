"""Writes rows for OpenOOD's leaderboard, in the formats of its repository (branch ``leaderboard``).

In that repository each benchmark has a CSV under ``results/``, with one row for each method. ``utils/papers.csv`` gives
a link for each name in the column ``Postprocessor``, and the scripts that make the page stop at a name without a link.
The rows and links written here can be appended to those files. The leaderboard has no place for checkpoint hashes, so
they go into a separate JSON file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from line_plugin.benchmark.report.tables import Summary, write_report
from line_plugin.errors import SettingsError
from line_plugin.version import __version__

COLUMNS = (
    "Training",
    "Postprocessor",
    "Near-OOD_AUROC",
    "Far-OOD_AUROC",
    "ID_Accuracy",
    "Outlier_Data",
    "Arch",
    "Additional_Description",
)

_FILES = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet200": "imagenet200", "imagenet": "imagenet1k"}
_TWO_PROTOCOLS = ("imagenet200", "imagenet")  # one file for OOD, one for full-spectrum OOD

NETWORKS = {
    "resnet18_32x32": "ResNet18",
    "resnet18_64x64": "ResNet18",
    "resnet18_224x224": "ResNet18",
    "resnet18_256x256": "ResNet18",
    "resnet50": "ResNet50",
    "swin_t": "Swin-T",
    "vit_b_16": "ViT-B/16",
    "regnet_y_16gf": "RegNet_Y_16GF",
}

_ON_THE_BOARD = {  # our name, and the name for which utils/papers.csv has a link
    "openmax": "OpenMax",
    "msp": "MSP",
    "temp_scaling": "TempScale",
    "mds": "MDS",
    "rmds": "RMDS",
    "ebo": "EBO",
    "gradnorm": "GradNorm",
    "react": "ReAct",
    "mls": "MLS",
    "klm": "KLM",
    "vim": "VIM",
    "knn": "KNN",
    "dice": "DICE",
    "ash": "ASH",
    "she": "SHE",
    "gen": "GEN",
    "nnguide": "NNGuide",
    "scale": "SCALE",
    "fdbd": "fDBD",
    "nci": "NCI",
    "weiper_kldiv": "WeiPer+KLD",
    "mds++": "MDS++",
    "rmds++": "RMDS++",
}
_NEW = {  # our name, and the name and link that a pull request has to add
    "line": ("LINe", "https://arxiv.org/abs/2303.13995"),
    "line-paper": ("LINe", "https://arxiv.org/abs/2303.13995"),
    "vra": ("VRA", "https://arxiv.org/abs/2302.11716"),
    "lts": ("LTS", "https://arxiv.org/abs/2409.01175"),
    "pnml": ("pNML", "https://arxiv.org/abs/2110.09246"),
}


@dataclass(frozen=True)
class Entry:
    """The values that all rows of one evaluation share.

    Attributes:
        benchmark: OpenOOD's name of the benchmark.
        fsood: whether covariate-shifted ID counted as ID.
        network: its name for ``--arch``.
        training: ``CrossEntropy``, or the training method's name.
        outliers: whether outlier data was used in training.
        description: such as ``100 epochs`` or ``torchvision ckpt``; may be empty.
        link: the paper of a method for which neither the board nor this package has a link.
    """

    benchmark: str
    fsood: bool
    network: str
    training: str = "CrossEntropy"
    outliers: bool = False
    description: str = ""
    link: str = ""


def file_of(benchmark: str, *, fsood: bool) -> str:
    """The leaderboard's file of a benchmark.

    Raises:
        SettingsError: the leaderboard has no such benchmark.
    """
    if benchmark not in _FILES or (fsood and benchmark not in _TWO_PROTOCOLS):
        kind = "full-spectrum " if fsood else ""
        known = _TWO_PROTOCOLS if fsood else _FILES
        raise SettingsError(
            f"the leaderboard has no {kind}table of {benchmark!r}, only of {', '.join(known)}: leave out --board"
        )
    protocol = ("_fsood" if fsood else "_ood") if benchmark in _TWO_PROTOCOLS else ""
    return f"results/{_FILES[benchmark]}{protocol}.csv"


def network_on_the_board(arch: str) -> str:
    """The leaderboard's name of a network, or ``arch`` itself if it has none."""
    name = arch.removeprefix("torchvision:")
    return NETWORKS.get(name, name)


def rows_of(entry: Entry, summaries: Sequence[Summary]) -> list[dict[str, str]]:
    """One row for each method: ``mean ± std`` over several runs, or the figure of one run, with two decimals."""
    return [_row(entry, summary) for summary in summaries]


def _row(entry: Entry, summary: Summary) -> dict[str, str]:
    near, far = (summary.rows.index(name) for name in ("nearood", "farood"))
    values = (summary.cell(near, 1), summary.cell(far, 1), summary.cell(near, 4))
    name, _ = _name_and_link(summary.method)
    outliers = "Yes" if entry.outliers else "No"
    rest = (outliers, network_on_the_board(entry.network), entry.description)
    return dict(zip(COLUMNS, (entry.training, name, *values, *rest), strict=True))


def needs_link(method: str) -> bool:
    """Whether neither the board nor this package has a link for a method."""
    return method not in _ON_THE_BOARD and method not in _NEW


def name_on_the_board(method: str) -> str:
    """The leaderboard's name for a method of this package; its own name if the leaderboard has none."""
    return _name_and_link(method)[0]


def _name_and_link(method: str, link: str = "") -> tuple[str, str]:
    """Its name on the board, and the link to add to the board; empty if the board has one."""
    if method in _ON_THE_BOARD:
        return _ON_THE_BOARD[method], ""
    return _NEW.get(method, (method, link))


def save_board(
    folder: Path,
    entry: Entry,
    summaries: Sequence[Summary],
    checkpoints: Sequence[Mapping[str, str]],
    settings: Mapping[str, Any],
) -> list[Path]:
    """Writes the rows, the links that are missing on the board, and the checkpoints and settings behind the rows.

    Args:
        folder: gets ``results/*.csv``, ``utils/papers.csv`` if a link is needed, and ``checkpoints.json``.
        checkpoints: one for each run: ``run``, ``file``, ``sha256`` of the file, ``model_sha256`` of the loaded
            network.
        settings: each method's settings, a list over runs.

    Raises:
        SettingsError: the leaderboard has no such benchmark. DataError: the folder cannot be written.
    """
    name = file_of(entry.benchmark, fsood=entry.fsood)
    rows = rows_of(entry, summaries)
    saved = [write_report(folder / name, _csv(COLUMNS, rows))]
    links = dict.fromkeys(_name_and_link(s.method, entry.link) for s in summaries)
    missing = [{"Alias": alias, "Link": link} for alias, link in links if link]
    if missing:
        saved.append(write_report(folder / "utils" / "papers.csv", _csv(("Alias", "Link"), missing)))
    about = {
        "results": name,
        "rows": rows,
        "checkpoints": list(checkpoints),
        "settings": dict(settings),
        "evaluated_with": f"openood-line {__version__}",
    }
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    return [*saved, write_report(folder / "checkpoints.json", text)]


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
