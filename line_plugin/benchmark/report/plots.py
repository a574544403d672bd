"""Pictures of an evaluation: confidence histograms and ROC curves, as PNG of 1200 pixels width.

Input is plain: ``{method: {set name: confidence (N,)}}``, confidence high = ID, and which of the names are ID, near-OOD
and far-OOD. OOD is the positive class, as in OpenOOD. Colours are Okabe and Ito's, which colour-blind readers can tell
apart. Matplotlib's object interface is used throughout: no window, no global state.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.errors import DataError, NonFiniteError, SettingsError, unknown_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]
    Scores = Mapping[str, Mapping[str, Array]]

_WIDTH, _DPI = 10.0, 120
_ID, _NEAR, _FAR = "#0072B2", "#E69F00", "#D55E00"
_CURVES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8C6D31", "#777777")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
_HIGHLIGHT = "#D55E00"
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.titlesize": 9.5,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
}


@dataclass(frozen=True)
class Sets:
    """Which score sets are what: one ID set and the OOD sets, by name."""

    in_distribution: str
    near: Sequence[str] = ()
    far: Sequence[str] = ()

    @property
    def ood(self) -> list[tuple[str, str]]:
        """``(name, "near-OOD" or "far-OOD")``, near first."""
        return [(n, "near-OOD") for n in self.near] + [(n, "far-OOD") for n in self.far]


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
    """One row a method, one column an OOD set: its confidences against those of the ID set.

    Args:
        path: the PNG to write, whole or not at all.
        scores: ``{method: {set: confidence (N,)}}``, high = ID.
        sets: the names of the ID and the OOD sets in ``scores``.
        thresholds: confidence below which a method calls an input OOD; methods without one get no line.
        threshold_label: what the line means.
        labels: how to print a method or set, where not by its name.
        title: heading; a general one where not given.

    Raises:
        SettingsError: no method or no OOD set, or a set is not among the scores.
        NonFiniteError: NaN or Inf among the confidences.
        DataError: a set is empty, or ``path`` cannot be written.
    """
    import matplotlib as mpl
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    _check(scores, sets)
    say, lines, ood = _speaker(labels), thresholds or {}, sets.ood
    rows, columns = len(scores), len(ood)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, 1.3 * rows + 1.2), dpi=_DPI, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for row, (method, by_set) in enumerate(scores.items()):
            pooled = np.concatenate([by_set[sets.in_distribution], *(by_set[name] for name, _ in ood)])
            low, high = np.quantile(pooled, [0.001, 0.999])
            bins = np.linspace(low, high if high > low else low + 1, 41)
            for column, (name, group) in enumerate(ood):
                ax = axes[row][column]
                for values, colour in (
                    (by_set[sets.in_distribution], _ID),
                    (by_set[name], _NEAR if group == "near-OOD" else _FAR),
                ):
                    _histogram(ax, values, bins, colour)
                if method in lines:
                    ax.axvline(
                        float(np.clip(lines[method], bins[0], bins[-1])), ymax=0.78, color="black", lw=1, ls=(0, (4, 2))
                    )
                _, _, area = _roc(by_set[sets.in_distribution], by_set[name])
                ax.text(0.03, 0.95, f"AUROC {area:.2f}", transform=ax.transAxes, va="top", fontsize=8)
                ax.set(yticks=[], xlim=(bins[0], bins[-1]), ylim=(0, 1.28))
                ax.locator_params(axis="x", nbins=4)
                if row == 0:
                    ax.set_title(f"{say(name)}\n{group}")
                if column == 0:
                    ax.set_ylabel(say(method), fontsize=10, fontweight="bold")
        about = (
            "confidence, high = ID; each histogram is scaled to its own peak; OOD is the positive class of the AUROC"
        )
        _heading(figure, title or "Confidence of ID and OOD images", about)
        keys: list[Any] = [Patch(facecolor=_ID, alpha=0.55, label=f"ID: {say(sets.in_distribution)}")]
        keys += [Patch(facecolor=_NEAR, alpha=0.55, label="near-OOD")] if sets.near else []
        keys += [Patch(facecolor=_FAR, alpha=0.55, label="far-OOD")] if sets.far else []
        keys += [Line2D([], [], color="black", lw=1, ls=(0, (4, 2)), label=threshold_label)] if lines else []
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False, fontsize=8.5)
        _save(figure, path)


def _histogram(ax: Any, values: Array, bins: Array, colour: str) -> None:
    """Scaled to its own peak: methods such as MSP put most ID images into one bin. The end bins hold what is beyond."""
    import numpy as np

    counts, _ = np.histogram(np.clip(values, bins[0], bins[-1]), bins)
    ax.stairs(counts / counts.max(), bins, fill=True, color=colour, alpha=0.45, lw=0)
    ax.stairs(counts / counts.max(), bins, color=colour, lw=1.1)


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
    """One panel an OOD set, one curve a method: the share of OOD caught against the share of ID flagged.

    OOD is the positive class. The legend gives the AUROC in percent, best first; it is the area under the upper,
    linear panel.

    Args:
        path: the PNG to write, whole or not at all.
        scores: ``{method: {set: confidence (N,)}}``, high = ID.
        sets: the names of the ID and the OOD sets in ``scores``.
        log_fpr: draw each panel again below with a logarithmic false positive rate, where good methods differ.
        highlight: the method to draw boldly, if it is there.
        labels: how to print a method or set, where not by its name.
        title: heading; a general one where not given.

    Raises:
        SettingsError, NonFiniteError, DataError: as for :func:`score_histograms`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    _check(scores, sets)
    say, ood = _speaker(labels), sets.ood
    columns = min(len(ood), 4) if len(ood) != 5 else 3
    bands, per = -(-len(ood) // columns), 1 + log_fpr
    with mpl.rc_context(_STYLE):
        side = _WIDTH / max(columns, 3)
        figure = Figure(figsize=(side * columns, side * bands * per + 0.75), dpi=_DPI, layout="constrained")
        axes = figure.subplots(bands * per, columns, squeeze=False)
        for place in range(bands * columns):
            band, column = divmod(place, columns)
            panels = [axes[band * per + i][column] for i in range(per)]
            if place >= len(ood):
                for ax in panels:
                    ax.set_visible(False)
                continue
            name, group = ood[place]
            _roc_panel(panels[0], scores, sets.in_distribution, name, highlight, say)
            panels[0].set_title(f"{say(name)} ({group})", fontweight="bold")
            panels[0].set_xlabel("FPR")
            for ax in panels if column == 0 else ():
                ax.set_ylabel("TPR")
            if log_fpr:
                _roc_panel(panels[1], scores, sets.in_distribution, name, highlight, None)
                floor = 1 / len(next(iter(scores.values()))[sets.in_distribution])
                panels[1].set(xscale="log", xlim=(min(floor, 1e-2), 1), xlabel="FPR, logarithmic")
                panels[1].xaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        about = (
            f"OOD is the positive class: TPR = share of OOD caught, FPR = share of {say(sets.in_distribution)} flagged"
        )
        _heading(figure, title or "ROC curves, ID against OOD", about)
        _save(figure, path)


def _roc_panel(ax: Any, scores: Scores, id_set: str, name: str, highlight: str | None, say: Any) -> None:
    """Every method's curve; with ``say``, a legend that is sorted by AUROC."""
    import numpy as np

    ramp = np.geomspace(1e-5, 1, 200)
    ax.plot(ramp, ramp, color="#BBBBBB", lw=0.9, ls=":", zorder=1)
    drawn = []
    for place, (method, by_set) in enumerate(scores.items()):
        fpr, tpr, area = _roc(by_set[id_set], by_set[name])
        bold = method == highlight
        colour = _HIGHLIGHT if bold else _CURVES[place % len(_CURVES)]
        dashes = _DASHES[place // len(_CURVES) % len(_DASHES)] if not bold else "-"
        (curve,) = ax.plot(fpr, tpr, color=colour, ls=dashes, lw=2.2 if bold else 1.3, zorder=3 if bold else 2)
        drawn.append((area, method, curve))
    ax.set(xlim=(-0.01, 1), ylim=(0, 1.01), box_aspect=1)
    ax.grid(visible=True, color="#EEEEEE", lw=0.7)
    if say is not None:
        drawn.sort(key=lambda item: -item[0])
        texts = [f"{area:.2f}  {say(method)}" for area, method, _ in drawn]
        legend = ax.legend(
            [c for _, _, c in drawn], texts, loc="lower right", title="AUROC", fontsize=8, handlelength=1.8
        )
        legend.set(zorder=5)
        legend.get_frame().set(edgecolor="none", alpha=0.85)
        legend.get_title().set_fontsize(8)


def _roc(id_confidence: Array, ood_confidence: Array) -> tuple[Array, Array, float]:
    """FPR over ID, TPR over OOD, and the AUROC in percent."""
    import numpy as np
    from sklearn.metrics import auc, roc_curve

    positive = np.r_[np.zeros(len(id_confidence)), np.ones(len(ood_confidence))]
    fpr, tpr, _ = roc_curve(positive, -np.r_[id_confidence, ood_confidence])
    return fpr, tpr, 100 * float(auc(fpr, tpr))


def _check(scores: Scores, sets: Sets) -> None:
    import numpy as np

    if not scores or not sets.ood:
        raise SettingsError(f"{len(scores)} methods and {len(sets.ood)} OOD sets given, expected at least one of each")
    for method, by_set in scores.items():
        for name in (sets.in_distribution, *(n for n, _ in sets.ood)):
            if name not in by_set:
                raise unknown_name(f"score set of {method}", name, by_set)
            values = np.asarray(by_set[name])
            if values.ndim != 1 or not values.size:
                raise DataError(f"scores of {method} on {name} have shape {values.shape}, expected (N,) with N >= 1")
            bad = int(np.count_nonzero(~np.isfinite(values)))
            if bad:
                raise NonFiniteError(f"{bad} of {values.size} scores of {method} on {name} are NaN or Inf")


def _speaker(labels: Mapping[str, str] | None) -> Any:
    known = labels or {}
    return lambda name: known.get(name, name.replace("_", " "))


def _heading(figure: Any, title: str, about: str) -> None:
    figure.suptitle(f"{title}\n", fontsize=12, fontweight="bold")  # the empty line leaves room for the smaller one
    figure.text(0.5, 1 - 0.27 / figure.get_figheight(), about, ha="center", va="top", fontsize=9)


def _save(figure: Any, path: Path) -> None:
    from line_plugin.files import write_whole

    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})  # no version: equal scores give equal bytes
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), picture.getvalue())
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
