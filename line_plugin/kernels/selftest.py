"""Tests a kernel before it is used, by scoring a few rows with it and with a plain implementation that is right.

Kernels are built by compilers of other projects for a CPU or a GPU that nobody tested, and wrong numbers must not go
unnoticed. This module compares the CPU kernel and the panel's experts with the literal rules in float64. The CUDA
kernels have a test of their own in :mod:`line_plugin.kernels.cuda.packed`. This module uses numpy alone, so that the
test also runs in a process without torch or numba. It takes milliseconds for each head (docs/kernels.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.math import scoring
from line_plugin.math.experts.angle import SHORTEST, score_angle
from line_plugin.math.experts.literal import ArrayExperts

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]
Ints = NDArray[np.int64]
Predict = Callable[[Floats, "float | None"], tuple[Ints, Floats]]
ScoreExperts = Callable[[Floats, Ints, Sequence[str]], dict[str, Wide]]

ROWS = 8
_CLIP = 1.0
_AT_ONCE = 64
"""Classes that are widened to float64 at once. A float64 copy of a whole ImageNet head would be 16 MB."""


def sample_classes(num_classes: int) -> Ints:
    """(ROWS,) int64, the classes of the rows that :func:`sample` makes; some rows share a class."""
    k = num_classes
    return np.array([0, 0, 0, k - 1, k // 2, k // 2, 0, k - 1])


def sample(weight: Floats) -> Floats:
    """(ROWS, D) float32 from a fixed seed: rows that share a class, rows full of zeros.

    Args:
        weight: (K, D) float32, the head's.
    """
    k, d = weight.shape
    random = np.random.default_rng(0).random((2, ROWS, d), np.float32)
    noise, stays = random[0], random[1] < 0.5
    stays[: ROWS // 2] = True
    rows: Floats = (noise + 4 * np.maximum(weight[sample_classes(k)], 0)) * stays
    return rows


def score_in_float64(x: Floats, clip: float | None, weight: Floats, bias: Floats, floors: Floats) -> tuple[Ints, Wide]:
    """Scores rows by the rule of :mod:`line_plugin.math.scoring` in float64, without a float64 copy of the head.

    Args:
        x: (N, D), clip: the clipping threshold; weight: (K, D), bias: (K,), floors: (K, D).

    Returns:
        Class (N,) and confidence (N,).
    """
    z = scoring.clip(_widen(x), clip)
    classes: Ints = (_sums(z, weight) + bias).argmax(axis=1)  # the lower class wins an exact tie
    masked = np.empty((len(x), len(weight)))
    for c in np.unique(classes):
        masked[classes == c] = _sums(z[classes == c], weight, floors[c])
    return classes, scoring.confidence(masked + bias)


def _sums(z: NDArray[Any], weight: Floats, floor: Floats | None = None, *, sizes: bool = False) -> Wide:
    """``z @ weight.T`` in float64, (N, K), some classes at a time and on this thread alone.

    Args:
        floor: (D,), weights that are not above it are left out; sizes: whether to take weights without their sign.
    """
    found = np.empty((len(z), len(weight)))
    for begin in range(0, len(weight), _AT_ONCE):
        part = weight[begin : begin + _AT_ONCE]
        if floor is not None:
            part = np.where(part > floor, part, np.float32(0))
        if sizes:
            part = np.abs(part)
        found[:, begin : begin + _AT_ONCE] = np.einsum("nd,kd->nk", z, _widen(part))
    return found


def fault(kernel: Predict, weight: Floats, bias: Floats, floors: Floats) -> str:
    """Compares a kernel with :func:`score_in_float64`; returns its fault as the end of a sentence, or "".

    Classes must be equal. Confidences may differ by the proved error of float32 sums of D products. Each step of a
    chain rounds by 2^-24 of the sum so far, so a logit is off by ``(D + 8) 2^-24 sum_j |z_j W_kj|`` at most, and a
    log-sum-exp by no more than its worst logit. A row scored alone must have the same bits as among others.

    Args:
        kernel: a function that scores (N, D) features under a clipping threshold.
        weight: (K, D), bias: (K,), floors: (K, D), of the head.
    """
    x, d = sample(weight), weight.shape[1]
    for clip in (None, _CLIP):
        classes, confidence = kernel(x, clip)
        right_classes, right = score_in_float64(x, clip, weight, bias, floors)
        if not np.array_equal(classes, right_classes):
            return f"predicts class {classes.tolist()}, but {right_classes.tolist()} is right"
        most = (_sums(np.abs(x), weight, sizes=True) + np.abs(bias)).max(axis=1)
        off = np.abs(confidence.astype(np.float64) - right)
        if not bool((off <= (d + 8) * 2.0**-24 * most + 2e-6 * (1 + np.abs(right))).all()):
            return f"gives confidences that are off by up to {float(off.max()):.3g}"
    alone = np.concatenate([kernel(row[None], _CLIP)[1] for row in x])
    return "" if np.array_equal(alone, confidence) else "gives a row other bits in another batch"


def fault_of_experts(score: ScoreExperts, experts: ArrayExperts, names: Sequence[str]) -> str:
    """Compares compiled experts with the literal ones; returns the fault as the end of a sentence, or "".

    They are compared with :meth:`Experts.score` in float64, each within the rounding that its float32 sums allow
    (:func:`_rounding`). A row scored alone must have the same bits as among others.

    Args:
        score: takes (N, D) features, (N,) classes and the names of experts.
        experts: those of the fit.
        names: the experts that were fitted.
    """
    x, classes = sample(experts.weight), sample_classes(len(experts.weight))
    found = score(x, classes, names)
    few, places = np.unique(classes, return_inverse=True)  # all prototypes of an ImageNet head would be 160 MB
    few_of_each = replace(
        experts, weight=experts.weight[few], bias=experts.bias[few], prototypes=experts.prototypes[few]
    )
    small: ArrayExperts = few_of_each.map(_widen)
    right, allowed = small.score(_widen(x), places, names), _rounding(small, _widen(x))
    for name in names:
        off = np.abs(found[name] - right[name])
        if not bool((off <= allowed[name] + 2e-6 * (1 + np.abs(right[name]))).all()):
            return f"give confidences of {name!r} that are off by up to {float(off.max()):.3g}"
    alone = [score(row[None], c[None], names) for row, c in zip(x, classes, strict=True)]
    for name in names:
        if not np.array_equal(np.concatenate([each[name] for each in alone]), found[name]):
            return f"give a row other bits of {name!r} in another batch"
    return ""


def fault_of_angle(
    shared: Callable[[Floats], tuple[Ints, Floats, Wide]],
    head: Callable[[Floats], tuple[Ints, Floats]],
    experts: ArrayExperts,
) -> str:
    """Checks a kernel that takes the angle from LINe's sums; returns its fault as the end of a sentence, or "".

    Class and confidence must have the same bits as without the angle, and a row scored alone the same as among others.

    Args:
        shared: gives class, confidence and angle of (N, D) features; head: gives their class and confidence.
        experts: of the fit.
    """
    x = sample(experts.weight)
    classes, confidence, angle = shared(x)
    plain_classes, plain_confidence = head(x)
    if not (np.array_equal(plain_classes, classes) and np.array_equal(plain_confidence, confidence)):
        return "gives another class or confidence than without it"
    weight, mean, centred = (_widen(a) for a in (experts.weight, experts.clipped_mean, experts.centred_weight))
    z = scoring.clip(_widen(x), experts.clip)
    most = ((np.abs(z) + np.abs(mean)) @ np.abs(weight).T).max(axis=1)  # W z and W m are rounded separately
    length = _length(z - mean).clip(min=SHORTEST)
    right = score_angle(z, mean, centred)
    off = np.abs(angle - right)
    if not bool((off <= ((x.shape[1] + 8) * 2.0**-24 * most + 2e-6) / length + 2e-6 * (1 + np.abs(right))).all()):
        return f"gives angles that are off by up to {float(off.max()):.3g}"
    alone = np.concatenate([shared(row[None])[2] for row in x])
    return "" if np.array_equal(alone, angle) else "gives a row another angle in another batch"


def _rounding(experts: ArrayExperts, x: Wide) -> dict[str, Wide]:
    """How much each expert may be off, (ROWS,) float64, by the bound on a float32 sum of D products in :func:`fault`.

    The angle divides such sums by the length. The residual is the root of a sum of squares of such sums, or of the
    difference between the whole length and that; near 0 a root magnifies errors. The prototypes are float64 throughout.

    Args:
        experts: float64; x: (ROWS, D) float64.
    """
    step = (x.shape[1] + 8) * 2.0**-24
    clipped = scoring.clip(x, experts.clip) - experts.clipped_mean
    logits = step * (np.abs(clipped) @ np.abs(experts.centred_weight).T).max(axis=1)
    offset, basis = x - experts.subspace.mean, experts.subspace.basis
    error = step * _length(np.abs(offset) @ np.abs(basis).T)
    if not experts.subspace.is_residual:
        squares = 2 * _length(offset @ basis.T) * error + error**2 + 2.0**-22 * (offset**2).sum(axis=1)
        with np.errstate(divide="ignore"):  # inf if there is no residual
            error = np.minimum(np.sqrt(squares), squares / experts.subspace.residual(x))
    return {
        "angle": (logits + 2e-6) / _length(clipped).clip(min=SHORTEST),
        "prototypes": np.zeros(len(x)),
        "virtual_logit": abs(experts.alpha) * error,
    }


def _widen(values: NDArray[Any]) -> Wide:
    return values.astype(np.float64)


def _length(rows: Wide) -> Wide:
    """The lengths (N,) of rows (N, D)."""
    found: Wide = np.sqrt((rows**2).sum(axis=1))
    return found
