"""The charts of one OOD set: histograms of a method's confidences, and ROC curves of all methods.

All charts have their axes in the same place, :data:`FRAME`, so that the page's script can draw a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.benchmark.report.html import svg

WIDTH, HEIGHT = 260.0, 190.0  # points
FRAME = (34.0, 16.0, 250.0, 158.0)  # left, top, right and bottom edge of the axes in the picture
LEAST_FPR = 1e-3  # smallest share of ID on the logarithmic axis
_BINS = 60
_GRID = np.unique(np.r_[np.linspace(0, 1, 301), np.geomspace(1e-4, 1, 200)])


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    left, top, right, bottom = FRAME
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
    place = (left / WIDTH, 1 - bottom / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT)
    return figure, figure.add_axes(place)


def span_of(id_scores: NDArray[np.floating], ood_scores: Mapping[str, NDArray[np.floating]]) -> tuple[float, float]:
    """The range of a method's histograms: all confidences but a thousandth at either end."""
    both = np.concatenate([id_scores, *ood_scores.values()]).astype(np.float64)
    low, high = (float(v) for v in np.quantile(both, [0.001, 0.999]))
    return low, high if high > low else low + 1


def histogram(
    name: str,
    title: str,
    id_scores: NDArray[np.floating],
    ood_scores: NDArray[np.floating],
    span: tuple[float, float],
    *,
    far: bool,
) -> str:
    """Draws the confidences of an OOD set over those of ID, each scaled to its peak.

    The end bins hold all values beyond.
    """
    bins = np.linspace(*span, _BINS + 1)
    with svg.page_style():
        figure, ax = _figure()
        for values, colour in ((id_scores, svg.ID), (ood_scores, svg.FAR if far else svg.NEAR)):
            counts, _ = np.histogram(np.clip(values.astype(np.float64), bins[0], bins[-1]), bins)
            heights = counts / max(1, counts.max())
            ax.stairs(heights, bins, fill=True, color=colour, alpha=0.3, lw=0)
            ax.stairs(heights, bins, color=colour, lw=1.3)
        ax.set(xlim=span, ylim=(0, 1.05), yticks=[])
        ax.set_xlabel("confidence", labelpad=2)
        ax.spines["left"].set_visible(False)
        ax.locator_params(axis="x", nbins=5)
        about = f"Histogram of the confidences of ID and of {title}; the table of shares below says it in figures."
        return svg.inline(figure, name, about)


def roc(
    name: str,
    title: str,
    curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    logarithmic: bool = False,
) -> str:
    """Draws the share of OOD flagged over the share of ID flagged, one curve for each method (:func:`style_of`)."""
    with svg.page_style():
        figure, ax = _figure()
        ax.plot(_GRID, _GRID, color=svg.MUTED, lw=0.8, ls=":")
        for place, (fpr, tpr) in enumerate(curves):
            colour, _ = style_of(place)
            (line,) = ax.plot(fpr, tpr, color=colour, lw=1.3)
            line.set_gid(f"curve-{place}")
        ax.set(ylim=(-0.01, 1.01), xlim=(LEAST_FPR, 1) if logarithmic else (0, 1))
        ticks = [0, 0.25, 0.5, 0.75, 1]
        ax.set_yticks(ticks, ["0", "25", "50", "75", "100"])
        if logarithmic:
            ax.set_xscale("log")
            ax.set_xticks([1e-3, 1e-2, 1e-1, 1], [".1", "1", "10", "100"])
            ax.minorticks_off()
        else:
            ax.set_xticks(ticks, ["0", "25", "50", "75", "100"])
        ax.grid(visible=True)
        ax.set_xlabel("% of ID flagged", labelpad=2)
        ax.set_ylabel("% of OOD flagged", labelpad=2)
        scale = ", logarithmic in the share of ID" if logarithmic else ""
        about = f"ROC curves of {len(curves)} methods against {title}{scale}; their areas are in the table of AUROC."
        return svg.inline(figure, name, about)


def style_of(place: int) -> tuple[str, str]:
    """Colour (to be replaced by the page's) and dash pattern of the n-th method."""
    return svg.SERIES[place % len(svg.SERIES)], svg.DASHES[place // len(svg.SERIES) % len(svg.DASHES)]


def thin(
    id_scores: NDArray[np.floating], ood_scores: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Thins a ROC curve out to some 500 shares of ID: FPR and TPR, ascending, with both ends.

    At a share of ID that is drawn, the curve is exact; in between it is a straight line.
    """
    ordered_id, ordered_ood = (np.sort(v.astype(np.float64)) for v in (id_scores, ood_scores))
    thresholds = np.r_[np.unique(ordered_id), np.inf]  # an image is flagged if its confidence is below
    fpr: NDArray[np.float64] = np.asarray(np.searchsorted(ordered_id, thresholds) / len(ordered_id))
    high: NDArray[np.float64] = np.asarray(np.searchsorted(ordered_ood, thresholds) / len(ordered_ood))
    # When an ID image is flagged, OOD images with the same confidence are flagged with it: a slope, then a step.
    low: NDArray[np.float64] = np.r_[0.0, np.searchsorted(ordered_ood, thresholds[:-1], "right") / len(ordered_ood)]
    keep = np.unique(np.searchsorted(fpr, _GRID, "right") - 1)
    return np.repeat(fpr[keep], 2), np.stack([low[keep], high[keep]], axis=1).ravel()
