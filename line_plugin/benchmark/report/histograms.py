"""Confidence histograms of an evaluation, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.benchmark.report.figures import (
    DPI,
    FAR_COLOUR,
    ID_COLOUR,
    NEAR_COLOUR,
    STYLE,
    WIDTH,
    Sets,
    check_scores,
    make_labeller,
    measure_roc,
    save_figure,
    write_heading,
)

if TYPE_CHECKING:
    from line_plugin.benchmark.report.figures import Array, Scores

_DASHED = (0, (4, 2))


def score_histograms(
    path: Path,
    scores: Scores,
    sets: Sets,
    *,
    thresholds: Mapping[str, float] | None = None,
    threshold_label: str = "threshold: 95 % of ID is to its right",
    labels: Mapping[str, str] | None = None,
    title: str = "",
) -> None:
    """Draws one row for each method and one column for each OOD set: its confidences against those of the ID set.

    Args:
        path: the PNG to write, as a whole or not at all.
        scores: ``{method: {set: confidence (N,)}}``, high = ID.
        sets: the names of the ID and the OOD sets in ``scores``.
        thresholds: the confidence below which a method flags an input as OOD; a method without one gets no line.
        threshold_label: what the line means.
        labels: texts for methods and sets that are not printed by name.
        title: the heading; a general one by default.

    Raises:
        SettingsError: no method or no OOD set is given, or a set is not among the scores.
        NonFiniteError: NaN or Inf among the confidences.
        DataError: a set is empty, or ``path`` cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    check_scores(scores, sets)
    label, lines, ood = make_labeller(labels), thresholds or {}, sets.ood
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.3 * len(scores) + 1.2), dpi=DPI, layout="constrained")
        axes = figure.subplots(len(scores), len(ood), squeeze=False)
        for row, (method, by_set) in zip(axes, scores.items(), strict=True):
            _draw_row(row, by_set, sets, lines.get(method))
            row[0].set_ylabel(label(method), fontsize=10, fontweight="bold")
        for ax, (name, group) in zip(axes[0], ood, strict=True):
            ax.set_title(f"{label(name)}\n{group}")
        about = (
            "confidence, high = ID; each histogram is scaled to its own peak; OOD is the positive class of the AUROC"
        )
        write_heading(figure, title or "Confidence of ID and OOD images", about)
        _add_legend(figure, sets, label(sets.in_distribution), threshold_label if lines else "")
        save_figure(figure, path)


def _draw_row(row: Sequence[Any], by_set: Mapping[str, Array], sets: Sets, threshold: float | None) -> None:
    """Draws one method: the ID set against each OOD set, all over the same bins."""
    import numpy as np

    of_id = by_set[sets.in_distribution]
    low, high = np.quantile(np.concatenate([of_id, *(by_set[name] for name, _ in sets.ood)]), [0.001, 0.999])
    bins = np.linspace(low, high if high > low else low + 1, 41)
    for ax, (name, group) in zip(row, sets.ood, strict=True):
        _draw_histogram(ax, of_id, bins, ID_COLOUR)
        _draw_histogram(ax, by_set[name], bins, NEAR_COLOUR if group == "near-OOD" else FAR_COLOUR)
        if threshold is not None:
            ax.axvline(float(np.clip(threshold, bins[0], bins[-1])), ymax=0.78, color="black", lw=1, ls=_DASHED)
        _, _, area = measure_roc(of_id, by_set[name])
        ax.text(0.03, 0.95, f"AUROC {area:.2f}", transform=ax.transAxes, va="top", fontsize=8)
        ax.set(yticks=[], xlim=(bins[0], bins[-1]), ylim=(0, 1.28))
        ax.locator_params(axis="x", nbins=4)


def _draw_histogram(ax: Any, values: Array, bins: Array, colour: str) -> None:
    """Draws a histogram scaled to its own peak, since methods such as MSP put most ID images into one bin.

    The end bins hold all values beyond.
    """
    import numpy as np

    counts, _ = np.histogram(np.clip(values, bins[0], bins[-1]), bins)
    ax.stairs(counts / counts.max(), bins, fill=True, color=colour, alpha=0.45, lw=0)
    ax.stairs(counts / counts.max(), bins, color=colour, lw=1.1)


def _add_legend(figure: Any, sets: Sets, id_label: str, threshold_label: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    keys: list[Any] = [Patch(facecolor=ID_COLOUR, alpha=0.55, label=f"ID: {id_label}")]
    keys += [Patch(facecolor=NEAR_COLOUR, alpha=0.55, label="near-OOD")] if sets.near else []
    keys += [Patch(facecolor=FAR_COLOUR, alpha=0.55, label="far-OOD")] if sets.far else []
    keys += [Line2D([], [], color="black", lw=1, ls=_DASHED, label=threshold_label)] if threshold_label else []
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False, fontsize=8.5)
