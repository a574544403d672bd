"""Chooses the clipping threshold from ID data alone: the one that best detects classes that were left out.

This is not from the paper, which gives its threshold in units of one network's features. The K classes are split into
folds. The classes of a fold are taken out of the head, as if the network did not know them, and their training rows
serve as OOD inputs. A threshold ``d`` is rated by the AUROC of the energy ``logsumexp_k(W_k min(a, d) + b_k)`` over the
remaining classes. The AUROC compares rows of those classes with rows of the classes that were left out. Candidates are
percentiles of the training activations. Near the best one the curve is flat and its top is noise. So among all
candidates within half a point of the best mean, the one nearest the 97.5th percentile is chosen.

Only the threshold can be chosen in this way. For masks the rule always chooses "none", which real OOD data contradicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from line_plugin.errors import FitError, NonFiniteError, WidthError
from line_plugin.math.class_sample import mix
from line_plugin.math.clip_choice import FOLDS, PERCENTILES, USUAL, Candidate, LeaveOut

MARGIN = 0.005
"""Candidates this close to the best mean AUROC count as equally good."""
_CHUNK = 2048  # rows whose logits are held in float64 at once


def deal_classes(num_classes: int, seed: int = 0, folds: int = FOLDS) -> tuple[tuple[int, ...], ...]:
    """Splits the classes at random into folds of equal size, up to one class.

    Args:
        num_classes: K. With fewer classes than ``folds``, each class is a fold; with fewer than 2 there are no folds.
        seed: seed of the random order.

    Returns:
        The classes of each fold, ascending. They are the same on every machine, and do not depend on other random
        numbers.
    """
    if num_classes < 2:
        return ()
    classes = np.arange(num_classes)
    order = np.lexsort((classes, mix(seed, np.full(num_classes, -1), classes)))
    count = min(folds, num_classes)
    return tuple(tuple(sorted(int(c) for c in order[f::count])) for f in range(count))


def choose_clip(
    features: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    seed: int = 0,
    folds: int = FOLDS,
    percentiles: Sequence[float] = PERCENTILES,
) -> LeaveOut:
    """Chooses the clipping threshold by leaving classes out.

    Logits are computed once for each candidate, in float64. Leaving a fold out only changes which of them are summed.
    So the cost is one product of the rows with the head for each candidate, for any number of folds. The result does
    not depend on the number of threads.

    Args:
        features: (N, D) unclipped training rows, such as :class:`~line_plugin.math.class_sample.ClassSample` holds.
        labels: (N,) integer classes, none negative.
        weight: (K, D), bias: (K,), the head's.
        seed: seed of the split into folds.
        folds: how many.
        percentiles: the candidates.

    Raises:
        WidthError: the shapes do not belong together.
        NonFiniteError: NaN or Inf among the features.
        FitError: there are no rows, a label is not a class of the head, or all candidates are 0 or less.

    Example:
        >>> import torch
        >>> features, labels = torch.rand(100, 8), torch.arange(100) % 5
        >>> chosen = choose_clip(features, labels, torch.randn(5, 8), torch.zeros(5))
        >>> len(chosen.candidates), len(chosen.folds)
        (13, 5)
    """
    rows, classes = _checked(features, labels, weight, bias)
    values = rows.numpy()
    live = (values != 0).any(axis=0)
    clips = _positive_percentiles(values[:, live], percentiles)
    dealt = deal_classes(len(weight), seed, folds)
    fold_of = np.full(len(weight), -1)
    for f, members in enumerate(dealt):
        fold_of[list(members)] = f
    head, shift = (t.detach().cpu().to(torch.float64) for t in (weight, bias))  # MPS has no float64
    candidates = []
    for p, clip in clips:
        energies = _energies_by_fold(rows, clip, head, shift, dealt)
        candidates.append(Candidate(p, clip, _judge(energies, fold_of[classes], len(dealt))))
    best = take(candidates)
    return LeaveOut(
        clip=best.clip,
        percentile=best.percentile,
        candidates=tuple(candidates),
        folds=dealt,
        seed=seed,
        rows=len(rows),
        width=rows.shape[1],
        dead=int((~live).sum()),
        negative=float(np.mean(values[:, live] < 0)),
    )


def _checked(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, NDArray[np.int64]]:
    """Checks rows and labels; returns them on the CPU, the rows in float32."""
    if weight.ndim != 2 or bias.shape != weight.shape[:1] or features.ndim != 2:
        raise WidthError(
            f"features {tuple(features.shape)}, weight {tuple(weight.shape)} and bias {tuple(bias.shape)} given, "
            "expected (N, D), (K, D) and (K,)"
        )
    if features.shape[1] != weight.shape[1] or labels.shape != features.shape[:1]:
        raise WidthError(
            f"features {tuple(features.shape)} and labels {tuple(labels.shape)} given, "
            f"expected (N, {weight.shape[1]}) and (N,)"
        )
    classes = labels.to("cpu", torch.int64).numpy()
    if not len(classes):
        raise FitError("no training row given: the rule needs some of each class")
    if classes.min() < 0 or classes.max() >= len(weight):
        raise FitError(
            f"labels from {classes.min()} to {classes.max()} given, expected classes from 0 to {len(weight) - 1}"
        )
    rows = features.detach().to("cpu", torch.float32)
    bad = int((~torch.isfinite(rows)).sum())
    if bad:
        raise NonFiniteError(f"{bad} NaN or Inf among {rows.numel()} training features: check the network's output")
    return rows, classes


def _positive_percentiles(live: NDArray[np.float32], percentiles: Sequence[float]) -> list[tuple[float, float]]:
    """The ``(percentile, value)`` of the candidates above 0."""
    values = np.percentile(live, percentiles).astype(np.float32) if live.size else np.zeros(len(percentiles))
    kept = [(float(p), float(v)) for p, v in zip(percentiles, values, strict=True) if v > 0]
    if not kept:
        raise FitError(
            f"the {max(percentiles):g}th percentile of the training activations is not above 0, so there is nothing to "
            "clip: check that the features are those that enter the head, or set clip yourself"
        )
    return kept


def _energies_by_fold(
    rows: Tensor, clip: float, head: Tensor, bias: Tensor, folds: tuple[tuple[int, ...], ...]
) -> Tensor:
    """(N, F) float64, the log-sum-exp of the logits of each fold's classes, from clipped features."""
    energies = torch.empty(len(rows), len(folds), dtype=torch.float64)
    for start in range(0, len(rows) if folds else 0, _CHUNK):
        some = slice(start, start + _CHUNK)
        logits = torch.addmm(bias, rows[some].to(torch.float64).clamp(max=clip), head.T)
        for f, members in enumerate(folds):
            energies[some, f] = torch.logsumexp(logits[:, list(members)], dim=1)
    return energies


def _judge(energies: Tensor, fold: NDArray[np.int64], folds: int) -> tuple[float, ...]:
    """The AUROC of each fold. Its rows are OOD, those of the other folds are ID, and no energy includes its classes.

    A fold whose classes have no rows, or have all rows, has no AUROC and is left out.
    """
    aurocs = []
    for f in range(folds):
        left_out = fold == f
        if not left_out.any() or left_out.all():
            continue
        others = [g for g in range(folds) if g != f]
        confidence = torch.logsumexp(energies[:, others], dim=1).numpy()
        aurocs.append(_auroc(confidence[~left_out], confidence[left_out]))
    return tuple(aurocs)


def _auroc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """The share of pairs in which the ID row has the higher confidence; a tie counts half. The counts are exact."""
    ordered = np.sort(inside)
    below = np.searchsorted(ordered, outside, side="left").sum() + np.searchsorted(ordered, outside, side="right").sum()
    return float(1 - below / (2 * len(inside) * len(outside)))


def take(candidates: Sequence[Candidate], *, margin: float = MARGIN, usual: float = USUAL) -> Candidate:
    """Picks the candidate nearest the ``usual`` percentile among those within ``margin`` of the best mean."""
    best = max((c.mean for c in candidates), default=math.nan)
    good = [c for c in candidates if not c.mean < best - margin]  # all candidates, if none has an AUROC
    return min(good, key=lambda c: (abs(c.percentile - usual), -c.mean, c.percentile))
