"""Writes an evaluation as a table for people, as OpenOOD's CSV, as JSON, and as scores on disk."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from line_plugin.benchmark.protocol.results import Evaluation, MethodResult, Row
from line_plugin.errors import DataError
from line_plugin.files import write_whole

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC")
"""OpenOOD's columns, in its order, in per cent. OOD is the positive class of ``FPR@95``."""
PAPER_COLUMN = "FPR95 (ID+)"
"""The papers' FPR95, with ID as the positive class. It is never in OpenOOD's CSV."""


@dataclass(frozen=True)
class Summary:
    """One method over one or more training runs, in per cent.

    Attributes:
        rows: names of data sets and group means.
        mean, std: (rows, 6), OpenOOD's five columns, then the papers' FPR95. std is the population's over runs, as in
            OpenOOD.
        runs: how many.
    """

    method: str
    rows: tuple[str, ...]
    mean: np.ndarray[Any, np.dtype[np.float64]]
    std: np.ndarray[Any, np.dtype[np.float64]]
    runs: int

    def cell(self, row: int, column: int) -> str:
        """A cell as OpenOOD prints it: two decimals, ``mean ± std`` for several runs, ``-`` if it was not measured."""
        if np.isnan(self.mean[row, column]):
            return "-"
        if self.runs == 1:
            return f"{self.mean[row, column]:.2f}"
        return f"{self.mean[row, column]:.2f} ± {self.std[row, column]:.2f}"


def summarise(runs: Sequence[Evaluation]) -> list[Summary]:
    """Computes the mean and standard deviation of each method's table over training runs."""
    out = []
    for i, first in enumerate(runs[0].results):
        tables = np.stack([[_cells(r) for r in run.results[i].rows] for run in runs])
        names = tuple(r.name for r in first.rows)
        out.append(Summary(first.name, names, tables.mean(axis=0), tables.std(axis=0), len(runs)))
    return out


def from_upstream(method: str, tables: Sequence[Mapping[str, Mapping[str, float]]]) -> Summary:
    """Summarises upstream's own tables, one for each run. They do not have the papers' FPR95."""
    cells = np.array([[[*(t[row][c] for c in COLUMNS), np.nan] for row in tables[0]] for t in tables])
    return Summary(method, tuple(tables[0]), cells.mean(axis=0), cells.std(axis=0), len(tables))


def _cells(row: Row) -> list[float]:
    m = row.metrics
    return [100 * v for v in (m.fpr95, m.auroc, m.aupr_in, m.aupr_out, row.acc, m.fpr95_id)]


def table(summary: Summary, title: str) -> Table:
    """Makes one method's full table."""
    out = plain_table(title)
    out.add_column("data set")
    for name in (*COLUMNS, PAPER_COLUMN):
        out.add_column(name, justify="right")
    for i, name in enumerate(summary.rows):
        cells = [summary.cell(i, j) for j in range(6)]
        out.add_row(name, *cells, style="bold" if is_mean(name) else "", end_section=is_mean(name))
    return out


def comparison(summaries: Sequence[Summary], title: str) -> Table:
    """Puts all methods side by side: the AUROC of each set, and the papers' FPR95 of the group means."""
    rows = summaries[0].rows
    out = plain_table(title)
    out.add_column("AUROC")
    for name in rows:
        style = "bold" if is_mean(name) else ""
        out.add_column(name.replace("_", " "), justify="right", style=style, overflow="fold")
    means = [i for i, n in enumerate(rows) if is_mean(n)]
    for i in means:
        out.add_column(f"FPR@95 {rows[i]}", justify="right", style="dim")
    for s in summaries:
        out.add_row(s.method, *(s.cell(i, 1) for i in range(len(rows))), *(s.cell(i, 0) for i in means))
    return out


def plain_table(title: str) -> Table:
    """A table without vertical lines, so that ten columns fit a terminal of 80 characters."""
    from rich import box
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )


def is_mean(name: str) -> bool:
    """Whether a row is a group mean."""
    return name in ("nearood", "farood")


def csv_text(summary: Summary) -> str:
    """OpenOOD's CSV: the row names, then its five columns."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["", *COLUMNS])
    for i, name in enumerate(summary.rows):
        writer.writerow([name, *(summary.cell(i, j) for j in range(len(COLUMNS)))])
    return buffer.getvalue()


def rows_json(summary: Summary) -> dict[str, dict[str, dict[str, float]]]:
    """Every measured cell, full precision, in per cent."""
    return {
        name: {
            column: {"mean": float(summary.mean[r, c]), "std": float(summary.std[r, c])}
            for c, column in enumerate((*COLUMNS, "FPR95_ID_positive"))
            if not np.isnan(summary.mean[r, c])
        }
        for r, name in enumerate(summary.rows)
    }


def as_json(runs: Sequence[Evaluation]) -> dict[str, Any]:
    """All results for scripts, in full precision and in per cent."""
    first = runs[0]
    return {
        "benchmark": first.benchmark.name,
        "protocol": "FS-OOD" if first.fsood else "OOD",
        "runs": len(runs),
        "images_forwarded": sum(r.forwarded for r in runs),
        "missing": list(first.missing),
        "methods": {
            s.method: {
                "settings": [run.results[i].settings for run in runs],
                "notes": [run.results[i].notes for run in runs],
                "choice": [run.results[i].record for run in runs],
                "sweep": [
                    [{"settings": p.settings, "auroc": 100 * p.auroc} for p in run.results[i].sweep] for run in runs
                ],
                "rows": rows_json(s),
            }
            for i, s in enumerate(summarise(runs))
        },
    }


def save_csv(folder: Path, summaries: Sequence[Summary], *, fsood: bool) -> list[Path]:
    """Writes one CSV for each method under ``ood/`` or ``fsood/``, as OpenOOD does."""
    return [_write(folder / ("fsood" if fsood else "ood") / f"{s.method}.csv", csv_text(s).encode()) for s in summaries]


def save_scores(folder: Path, run: Evaluation, result: MethodResult) -> Path:
    """Saves the confidences, the network's classes and the labels of every set as one compressed npz, no pickle."""
    buffer = io.BytesIO()
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, confidence in result.scores.items():
        arrays |= {
            f"{name}/confidence": confidence,
            f"{name}/predicted": run.predicted[name],
            f"{name}/label": run.labels[name],
        }
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return _write(folder / "scores" / f"{result.name}.npz", buffer.getvalue())


def write_report(path: Path, text: str) -> Path:
    """Writes a text file as a whole, and makes its folder.

    Raises:
        DataError: it cannot be written.
    """
    return _write(path, text.encode())


def _write(path: Path, blob: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, blob)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    return path
