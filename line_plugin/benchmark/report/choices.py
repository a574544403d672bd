"""A table of the clips that LINe's automatic rule tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from line_plugin.benchmark.report.tables import plain_table

if TYPE_CHECKING:
    from rich.table import Table

    from line_plugin.math.clip_choice import LeaveOut


def candidates(choice: LeaveOut, title: str) -> Table:
    """Lists every clip that was tried, with its AUROC on each fold of left-out classes, and marks the chosen one."""
    out = plain_table(title)
    folds = max((len(c.aurocs) for c in choice.candidates), default=0)
    for name in ("percentile", "clip", "mean AUROC", *(f"fold {f + 1}" for f in range(folds)), ""):
        out.add_column(name, justify="right")
    for c in choice.candidates:
        chosen = c.percentile == choice.percentile
        judged = [f"{100 * value:.2f}" for value in (c.mean, *c.aurocs)] if c.aurocs else ["-"]
        out.add_row(
            f"{c.percentile:g}",
            f"{c.clip:.4g}",
            *judged,
            "chosen" if chosen else "",
            style="bold" if chosen else "",
        )
    return out
