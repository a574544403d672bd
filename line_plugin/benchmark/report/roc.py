"""ROC curves of an evaluation, as PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.benchmark.report.figures import (
    DPI,
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
    from line_plugin.benchmark.report.figures import Scores

_CURVES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C6D31", "#777777")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
_HIGHLIGHT = "#D55E00"


def roc_curves(
    path: Path,
    scores: Scores,
    sets: Sets,
    *,
    log_fpr: bool = True,
    highlight: str | None = "line",
    labels: Mapping[str, str] | None = None,
    title: str = "",
) -> None:
    """Draws one panel for each OOD set and one curve for each method: the share of OOD flagged over that of ID.

    OOD is the positive class. The legend gives the AUROC in percent, best first; it is the area under the upper,
    linear panel.

    Args:
        path: the PNG to write, as a whole or not at all.
        scores: ``{method: {set: confidence (N,)}}``, high = ID.
        sets: the names of the ID and the OOD sets in ``scores``.
        log_fpr: draw each panel again below with a logarithmic false positive rate, which separates good methods.
        highlight: the method to draw boldly, if it was evaluated.
        labels: texts for methods and sets that are not printed by name.
        title: the heading; a general one by default.

    Raises:
        SettingsError, NonFiniteError, DataError: as in :func:`.histograms.score_histograms`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    check_scores(scores, sets)
    label, ood = make_labeller(labels), sets.ood
    columns = min(len(ood), 4) if len(ood) != 5 else 3
    bands, per = -(-len(ood) // columns), 1 + log_fpr
    with mpl.rc_context(STYLE):
        side = WIDTH / max(columns, 3)
        figure = Figure(figsize=(side * columns, side * bands * per + 0.75), dpi=DPI, layout="constrained")
        axes = figure.subplots(bands * per, columns, squeeze=False)
        for place in range(bands * columns):
            band, column = divmod(place, columns)
            panels = [axes[band * per + i][column] for i in range(per)]
            if place >= len(ood):
                for ax in panels:
                    ax.set_visible(False)
                continue
            name, group = ood[place]
            _draw_set(panels, scores, sets.in_distribution, name, highlight, label)
            panels[0].set_title(f"{label(name)} ({group})", fontweight="bold")
            for ax in panels if column == 0 else ():
                ax.set_ylabel("TPR")
        id_label = label(sets.in_distribution)
        about = f"OOD is the positive class: TPR = share of OOD caught, FPR = share of {id_label} flagged"
        write_heading(figure, title or "ROC curves, ID against OOD", about)
        save_figure(figure, path)


def _draw_set(
    panels: Sequence[Any], scores: Scores, id_set: str, name: str, highlight: str | None, label: Callable[[str], str]
) -> None:
    """Draws one OOD set: the linear panel, and the logarithmic one if there are two."""
    _draw_panel(panels[0], scores, id_set, name, highlight, label)
    panels[0].set_xlabel("FPR")
    for ax in panels[1:]:
        _draw_panel(ax, scores, id_set, name, highlight, None)
        floor = 1 / len(next(iter(scores.values()))[id_set])
        ax.set(xscale="log", xlim=(min(floor, 1e-2), 1), xlabel="FPR, logarithmic")
        ax.xaxis.set_major_formatter(lambda value, _place: f"{value:g}")


def _draw_panel(
    ax: Any, scores: Scores, id_set: str, name: str, highlight: str | None, label: Callable[[str], str] | None
) -> None:
    """Draws every method's curve and, with ``label``, a legend sorted by AUROC."""
    import numpy as np

    ramp = np.geomspace(1e-5, 1, 200)
    ax.plot(ramp, ramp, color="#BBBBBB", lw=0.9, ls=":", zorder=1)
    drawn = []
    for place, (method, by_set) in enumerate(scores.items()):
        fpr, tpr, area = measure_roc(by_set[id_set], by_set[name])
        bold = method == highlight
        colour = _HIGHLIGHT if bold else _CURVES[place % len(_CURVES)]
        dashes = _DASHES[place // len(_CURVES) % len(_DASHES)] if not bold else "-"
        (curve,) = ax.plot(fpr, tpr, color=colour, ls=dashes, lw=2.2 if bold else 1.3, zorder=3 if bold else 2)
        drawn.append((area, method, curve))
    ax.set(xlim=(-0.01, 1), ylim=(0, 1.01), box_aspect=1)
    ax.grid(visible=True, color="#EEEEEE", lw=0.7)
    if label is not None:
        _add_legend(ax, drawn, label)


def _add_legend(ax: Any, drawn: list[tuple[float, str, Any]], label: Callable[[str], str]) -> None:
    """Adds a legend of the methods with their AUROC, best first."""
    drawn.sort(key=lambda item: -item[0])
    texts = [f"{area:.2f}  {label(method)}" for area, method, _ in drawn]
    legend = ax.legend([c for _, _, c in drawn], texts, loc="lower right", title="AUROC", fontsize=8, handlelength=1.8)
    legend.set(zorder=5)
    legend.get_frame().set(edgecolor="none", alpha=0.85)
    legend.get_title().set_fontsize(8)
