"""Shared parts of the figures of an evaluation: sets, colours, checks, headings, and writing the PNG.

Colours are Okabe and Ito's, which colour-blind readers can tell apart. Matplotlib's object interface is used
throughout: no window, no global state.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.errors import DataError, NonFiniteError, SettingsError, unknown_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]
    Scores = Mapping[str, Mapping[str, Array]]

WIDTH, DPI = 10.0, 120
ID_COLOUR, NEAR_COLOUR, FAR_COLOUR = "#0072B2", "#E69F00", "#D55E00"
STYLE = {
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
    """The names of the ID set and of the OOD sets among the scores."""

    in_distribution: str
    near: Sequence[str] = ()
    far: Sequence[str] = ()

    @property
    def ood(self) -> list[tuple[str, str]]:
        """``(name, "near-OOD" or "far-OOD")``, near first."""
        return [(n, "near-OOD") for n in self.near] + [(n, "far-OOD") for n in self.far]


def measure_roc(id_confidence: Array, ood_confidence: Array) -> tuple[Array, Array, float]:
    """FPR over ID, TPR over OOD, and the AUROC in percent."""
    import numpy as np
    from sklearn.metrics import auc, roc_curve

    positive = np.r_[np.zeros(len(id_confidence)), np.ones(len(ood_confidence))]
    fpr, tpr, _ = roc_curve(positive, -np.r_[id_confidence, ood_confidence])
    return fpr, tpr, 100 * float(auc(fpr, tpr))


def check_scores(scores: Scores, sets: Sets) -> None:
    """Refuses scores that cannot be drawn.

    Raises:
        SettingsError: no method or no OOD set is given, or a set is not among the scores.
        DataError: a set is empty. NonFiniteError: NaN or Inf among the confidences.
    """
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


def make_labeller(labels: Mapping[str, str] | None) -> Callable[[str], str]:
    """Makes the function that prints the name of a method or set: its text in ``labels``, or its name with spaces."""
    known = labels or {}
    return lambda name: known.get(name, name.replace("_", " "))


def write_heading(figure: Any, title: str, about: str) -> None:
    """Writes the title of a figure, and a smaller line below it."""
    figure.suptitle(f"{title}\n", fontsize=12, fontweight="bold")  # the empty line leaves room for the smaller one
    figure.text(0.5, 1 - 0.27 / figure.get_figheight(), about, ha="center", va="top", fontsize=9)


def save_figure(figure: Any, path: Path) -> None:
    """Writes the PNG as a whole, or not at all.

    Raises:
        DataError: ``path`` cannot be written.
    """
    from line_plugin.files import write_whole

    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})  # equal scores give equal bytes
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), picture.getvalue())
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
