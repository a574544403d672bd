"""The LINe confidence as the paper writes it (section 3.3): clip, predict, mask, log-sum-exp.

Read this beside the paper. It is literal and therefore slow: the masked weights of every row are written out, N x K x D
of them. :mod:`line_plugin.kernels` computes the same rule fast, and the tests hold it to this one.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clip(features: Tensor, delta: float | None) -> Tensor:
    """Activation clipping, ``z = min(a, delta)``; ``None`` leaves the features as they are."""
    return features if delta is None else features.clamp(max=delta)


def predict_class(clipped: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``c[n] = argmax_k (W z[n] + b)[k]``, (N,) int64; the lower class wins a tie."""
    return (clipped @ weight.T + bias).argmax(dim=1)


def masked_logits(clipped: Tensor, classes: Tensor, weight: Tensor, bias: Tensor, floors: Tensor) -> Tensor:
    """``g[n, k] = sum_j z[n, j] W[k, j] [W[k, j] > floor[c_n, j]] + b[k]``.

    Args:
        clipped: (N, D); classes: (N,) int64; weight: (K, D); bias: (K,).
        floors: (K, D), both masks in one tensor (:mod:`line_plugin.math.masks`).

    Returns:
        (N, K) of the dtype of ``clipped``.
    """
    kept = weight > floors[classes][:, None, :]
    return (clipped[:, None, :] * weight * kept).sum(dim=2) + bias


def confidence(logits: Tensor) -> Tensor:
    """``logsumexp`` over classes at temperature 1, (N,). High means in-distribution."""
    return torch.logsumexp(logits, dim=1)


def score(clipped: Tensor, weight: Tensor, bias: Tensor, floors: Tensor) -> tuple[Tensor, Tensor]:
    """The whole rule: class (N,) int64 and confidence (N,) of each clipped row."""
    classes = predict_class(clipped, weight, bias)
    return classes, confidence(masked_logits(clipped, classes, weight, bias, floors))
