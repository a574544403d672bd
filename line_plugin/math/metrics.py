"""Computes OpenOOD v1.5's metrics and the papers' FPR95 from one shared sort.

Confidence is high for ID. Each metric names its positive class; rates are shares in [0, 1]. They equal scikit-learn's
``roc_curve``, ``precision_recall_curve`` and ``auc`` as OpenOOD calls them (``openood/evaluators/metrics.py``),
including the collinear points that it drops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from line_plugin.errors import FeatureError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """Detection metrics of one ID / OOD pair.

    Attributes:
        fpr95: OpenOOD's ``FPR@95``, OOD positive: the share of ID flagged at the first threshold that flags 95 % of
            OOD.
        auroc: area under the ROC curve, the same for either positive class.
        aupr_in: area under precision-recall, ID positive, trapezoid.
        aupr_out: area under precision-recall, OOD positive, trapezoid.
        fpr95_id: the papers' FPR95 (ReAct, DICE, LINe), ID positive: the share of OOD accepted at the threshold that
            keeps 95 % of ID.
    """

    fpr95: float
    auroc: float
    aupr_in: float
    aupr_out: float
    fpr95_id: float


def ood_metrics(id_confidence: NDArray[np.floating], ood_confidence: NDArray[np.floating]) -> Metrics:
    """Computes all metrics from the confidences (N,) of ID and (M,) of OOD samples.

    Raises:
        FeatureError: one side is empty, or holds NaN.
    """
    for name, values in (("ID", id_confidence), ("OOD", ood_confidence)):
        if not len(values):
            raise FeatureError(f"no {name} score given: metrics need samples of both")
        if np.isnan(values).any():
            raise FeatureError(f"{int(np.isnan(values).sum())} NaN among {len(values)} {name} scores")
    return metrics_of_counts(*_counts(id_confidence, ood_confidence))


def metrics_of_counts(id_le: Floats, ood_le: Floats) -> Metrics:
    """Computes all metrics from the counts (V,) of ID and of OOD samples up to each distinct confidence, ascending.

    Every confidence must have at least one sample, since a threshold without samples is not a point of a curve.
    """
    n_id, n_ood = id_le[-1], ood_le[-1]
    # Lowest confidence first, with OOD positive.
    fps, tps = _corners(id_le, ood_le)
    fpr, tpr = np.r_[0.0, fps / n_id], np.r_[0.0, tps / n_ood]
    # Highest confidence first, with ID positive; counts at or above each threshold.
    id_ge, ood_ge = n_id - np.r_[0.0, id_le[:-1]], n_ood - np.r_[0.0, ood_le[:-1]]
    kept = np.nonzero(id_ge / n_id >= 0.95)[0][-1]
    return Metrics(
        fpr95=float(fpr[np.argmax(tpr >= 0.95)]),
        auroc=_area(fpr, tpr),
        aupr_in=_average_precision(id_ge[::-1], ood_ge[::-1]),
        aupr_out=_average_precision(ood_le, id_le),
        fpr95_id=float(ood_ge[kept] / n_ood),
    )


def _counts(id_confidence: NDArray[np.floating], ood_confidence: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """How many ID and OOD samples lie at or below each distinct confidence, ascending."""
    # One common dtype, as concatenation gives OpenOOD, so that the same samples tie.
    dtype = np.result_type(id_confidence, ood_confidence)
    values = np.concatenate([id_confidence.astype(dtype, copy=False), ood_confidence.astype(dtype, copy=False)])
    order = np.argsort(values)
    ordered = values[order]
    last = np.r_[np.nonzero(ordered[1:] != ordered[:-1])[0], len(ordered) - 1]
    id_le = np.cumsum(order < len(id_confidence))[last].astype(np.float64)
    return id_le, last + 1.0 - id_le


def _corners(fps: Floats, tps: Floats) -> tuple[Floats, Floats]:
    """Drops points collinear with their neighbours, as ``roc_curve(drop_intermediate=True)`` does."""
    if len(fps) <= 2:
        return fps, tps
    keep = np.r_[True, (np.diff(fps, 2) != 0) | (np.diff(tps, 2) != 0), True]
    return fps[keep], tps[keep]


def _average_precision(tps: Floats, fps: Floats) -> float:
    """The trapezoid area under precision over recall, starting from recall 0 at precision 1."""
    precision = np.r_[1.0, tps / (tps + fps)]
    recall = np.r_[0.0, tps / tps[-1]]
    return _area(recall, precision)


def _area(x: Floats, y: Floats) -> float:
    """The area under ``y`` over ascending ``x``, by the trapezoid rule."""
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


def accuracy(predicted: NDArray[np.integer], labels: NDArray[np.integer]) -> float:
    """The share of labelled samples (label >= 0) whose class is predicted correctly; NaN if none has a label."""
    known = labels >= 0
    return float(np.mean(predicted[known] == labels[known])) if known.any() else float("nan")
