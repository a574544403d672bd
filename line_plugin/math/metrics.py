"""OpenOOD v1.5's metrics and the papers' FPR95, from one shared sort.

Confidence is high for ID. Each metric names its positive class; rates are shares in [0, 1]. Equal to scikit-learn's
``roc_curve``, ``precision_recall_curve`` and ``auc`` as OpenOOD calls them (``openood/evaluators/metrics.py``), its
dropped collinear points included.
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
        fpr95: OpenOOD's ``FPR@95``. OOD positive: share of ID flagged at the first threshold that catches 95 % of OOD.
        auroc: the same whichever class is positive.
        aupr_in: area under precision-recall, ID positive, trapezoid.
        aupr_out: area under precision-recall, OOD positive, trapezoid.
        fpr95_id: the papers' FPR95 (ReAct, DICE, LINe). ID positive: share of OOD accepted at the threshold that
            keeps 95 % of ID.
    """

    fpr95: float
    auroc: float
    aupr_in: float
    aupr_out: float
    fpr95_id: float


def ood_metrics(id_confidence: NDArray[np.floating], ood_confidence: NDArray[np.floating]) -> Metrics:
    """All metrics of confidences (N,) of ID and (M,) of OOD samples.

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
    """All metrics from how many ID and OOD samples lie at or below each distinct confidence, (V,) each, ascending.

    Every confidence must have a sample of one side at least: a threshold without samples would stand for none.
    """
    n_id, n_ood = id_le[-1], ood_le[-1]
    # Lowest confidence first: OOD positive.
    fps, tps = _corners(id_le, ood_le)
    fpr, tpr = np.r_[0.0, fps / n_id], np.r_[0.0, tps / n_ood]
    # Highest confidence first: ID positive; counts at or above each threshold.
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
    # One common dtype, as concatenation gives it to OpenOOD, so that ties are the same ties.
    dtype = np.result_type(id_confidence, ood_confidence)
    values = np.concatenate([id_confidence.astype(dtype, copy=False), ood_confidence.astype(dtype, copy=False)])
    order = np.argsort(values)
    ordered = values[order]
    last = np.r_[np.nonzero(ordered[1:] != ordered[:-1])[0], len(ordered) - 1]
    id_le = np.cumsum(order < len(id_confidence))[last].astype(np.float64)
    return id_le, last + 1.0 - id_le


def _corners(fps: Floats, tps: Floats) -> tuple[Floats, Floats]:
    """Drop points collinear with their neighbours, as ``roc_curve(drop_intermediate=True)`` does."""
    if len(fps) <= 2:
        return fps, tps
    keep = np.r_[True, (np.diff(fps, 2) != 0) | (np.diff(tps, 2) != 0), True]
    return fps[keep], tps[keep]


def _average_precision(tps: Floats, fps: Floats) -> float:
    """Trapezoid under precision over recall, from recall 0 at precision 1."""
    precision = np.r_[1.0, tps / (tps + fps)]
    recall = np.r_[0.0, tps / tps[-1]]
    return _area(recall, precision)


def _area(x: Floats, y: Floats) -> float:
    """Trapezoid rule over ascending ``x``."""
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


def accuracy(predicted: NDArray[np.integer], labels: NDArray[np.integer]) -> float:
    """Share of labelled samples (label >= 0) whose class is predicted; NaN if none is labelled."""
    known = labels >= 0
    return float(np.mean(predicted[known] == labels[known])) if known.any() else float("nan")
