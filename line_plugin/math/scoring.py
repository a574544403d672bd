"""The LINe confidence as the paper writes it (section 3.3): clip, predict, mask, log-sum-exp.

This follows the paper literally and is therefore slow: it writes out the masked weights of every row, N x K x D of
them. :mod:`line_plugin.kernels` computes the same rule fast, and tests compare it with this one.

All functions take either torch tensors or numpy arrays and return the same type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", "Tensor", NDArray[Any])


def clip(features: Array, delta: float | None) -> Array:
    """Clips activations, ``z = min(a, delta)``; ``None`` returns the features unchanged."""
    return features if delta is None else features.clip(max=delta)


def predict_class(clipped: Array, weight: Array, bias: Array) -> Array:
    """``c[n] = argmax_k (W z[n] + b)[k]``, (N,) int64; the lower class wins a tie."""
    classes: Array = (clipped @ weight.T + bias).argmax(1)
    return classes


def masked_logits(clipped: Array, classes: Array, weight: Array, bias: Array, floors: Array) -> Array:
    """``g[n, k] = sum_j z[n, j] W[k, j] [W[k, j] > floor[c_n, j]] + b[k]``.

    Args:
        clipped: (N, D); classes: (N,) int64; weight: (K, D); bias: (K,).
        floors: (K, D), both masks in one array (:mod:`line_plugin.math.masks`).

    Returns:
        (N, K) of the dtype of ``clipped``.
    """
    kept = weight > floors[classes][:, None, :]
    logits: Array = (clipped[:, None, :] * weight * kept).sum(2) + bias
    return logits


def confidence(logits: Array) -> Array:
    """The confidence (N,), ``logsumexp`` over classes at temperature 1. High means in-distribution."""
    if isinstance(logits, np.ndarray):
        best = logits.max(axis=1)
        found: NDArray[Any] = best + np.log(np.exp(logits - best[:, None]).sum(axis=1))
        return found
    return logits.logsumexp(dim=1)


def score(clipped: Array, weight: Array, bias: Array, floors: Array) -> tuple[Array, Array]:
    """Scores clipped rows by the whole rule: class (N,) int64 and confidence (N,) of each."""
    classes = predict_class(clipped, weight, bias)
    return classes, confidence(masked_logits(clipped, classes, weight, bias, floors))
