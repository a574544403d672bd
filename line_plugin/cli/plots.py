"""``openood eval --plots``: score histograms and ROC curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from line_plugin.benchmark.protocol.results import Evaluation


def save(folder: Path, run: Evaluation) -> list[Path]:
    """Saves histograms and ROC curves of the first run."""
    import numpy as np

    from line_plugin.benchmark.report import figures, histograms, roc

    scores = {r.name: r.scores for r in run.results}
    by_group = {g: [n for n, group in run.groups.items() if group == g] for g in ("near", "far")}
    sets = figures.Sets("id", by_group["near"], by_group["far"])
    thresholds = {name: float(np.quantile(s["id"], 0.05)) for name, s in scores.items()}
    title = run.benchmark.title or run.benchmark.name
    labels = {"id": f"{run.benchmark.name} test"}
    saved = [folder / "histograms.png", folder / "roc.png"]
    histograms.score_histograms(saved[0], scores, sets, thresholds=thresholds, labels=labels, title=title)
    roc.roc_curves(saved[1], scores, sets, labels=labels, title=title)
    return saved
