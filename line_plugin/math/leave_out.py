"""Chooses the clipping threshold from ID data alone: leave classes out, and see which threshold detects them best.

Not from the paper, which gives its threshold in units of one network's features. The K classes are dealt into folds.
For each fold its classes are taken out of the head, as if the network did not know them, and their training rows play
the part of OOD inputs: the AUROC of the energy ``logsumexp_k(W_k min(a, d) + b_k)`` over the classes that stay, between
rows of those and rows of the classes that were left out, judges a threshold ``d``. Candidates are percentiles of the
training activations. Near the best one the curve is flat and its top is noise, so of all candidates within half a point
of the best mean the one nearest the 97.5th percentile is taken.

Only the threshold can be chosen so. Asked about masks the rule always answers "none", which real OOD data contradicts.
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
    """Deal the classes into folds of equal size, up to one class.

    Args:
        num_classes: K. With fewer classes than ``folds`` each class is a fold; with fewer than 2 there is none.
        seed: of the order in which they are dealt.

    Returns:
        The classes of each fold, ascending. The same on every machine, whatever random numbers were drawn before.
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
    """Choose the clipping threshold by leaving classes out.

    Logits are computed once for each candidate, in float64: leaving a fold out changes only which of them are summed.
    So the cost is one product of the rows with the head for each candidate, whatever the number of folds, and the
    result does not depend on the number of threads.

    Args:
        features: (N, D) unclipped training rows, such as :class:`~line_plugin.math.class_sample.ClassSample` holds.
        labels: (N,) integer classes, none negative.
        weight: (K, D), bias: (K,), of the head.
        seed: of the dealing into folds.
        folds: how many.
        percentiles: the candidates.

    Raises:
        WidthError: the shapes do not belong together.
        NonFiniteError: NaN or Inf among the features.
        FitError: no row, a label that is no class of the head, or no activation above 0 at any candidate.

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
    """The rows in float32 on the CPU and their classes."""
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
    """``(percentile, value)`` of the candidates that leave something of a row."""
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
    """(N, F) float64: the log-sum-exp of the logits of each fold's classes, features clipped."""
    energies = torch.empty(len(rows), len(folds), dtype=torch.float64)
    for start in range(0, len(rows) if folds else 0, _CHUNK):
        some = slice(start, start + _CHUNK)
        logits = torch.addmm(bias, rows[some].to(torch.float64).clamp(max=clip), head.T)
        for f, members in enumerate(folds):
            energies[some, f] = torch.logsumexp(logits[:, list(members)], dim=1)
    return energies


def _judge(energies: Tensor, fold: NDArray[np.int64], folds: int) -> tuple[float, ...]:
    """The AUROC of each fold: rows of the other folds are ID, its own are OOD, its classes are in no energy.

    A fold whose classes have no row, or have all of them, cannot be judged and is left out.
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
    """The share of pairs in which the ID row is the more confident one, a tie counting half; counts are exact."""
    ordered = np.sort(inside)
    below = np.searchsorted(ordered, outside, side="left").sum() + np.searchsorted(ordered, outside, side="right").sum()
    return float(1 - below / (2 * len(inside) * len(outside)))


def take(candidates: Sequence[Candidate], *, margin: float = MARGIN, usual: float = USUAL) -> Candidate:
    """Of the candidates whose mean is within ``margin`` of the best, the one nearest the ``usual`` percentile."""
    best = max((c.mean for c in candidates), default=math.nan)
    good = [c for c in candidates if not c.mean < best - margin]  # all of them, if none could be judged
    return min(good, key=lambda c: (abs(c.percentile - usual), -c.mean, c.percentile))
