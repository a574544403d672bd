"""The angle expert: how well a feature vector points along the head's class directions, whatever its length.

In-distribution features of a trained network point from the mean of all features towards the weight of their class
(neural collapse: Papyan, Han, Donoho, PNAS 2020; used by NCI, Liu and Qin, CVPR 2025, and by fDBD, ICML 2024). With
the clipped features ``z``, their training mean ``m`` and ``U_k = W_k - mean_k W_k``, the weights less what all classes
share,

    A(z) = logsumexp_k(U_k (z - m)) / |z - m|.

Own form, not from a paper: NCI takes ``w_c`` of the predicted class instead of the log-sum-exp, and does not clip.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.math import scoring
from line_plugin.math.scoring import Array

SHORTEST = 1e-12
"""Lengths below this count as this: a row that equals the mean has no direction, and its score has to stay finite."""


def centre_weight(weight: Array) -> Array:
    """``U_k = W_k - mean_k W_k``, (K, D) of the dtype of ``weight``; the mean is taken in float64, by numpy always."""
    if isinstance(weight, np.ndarray):
        wide = weight.astype(np.float64)
        centred: NDArray[Any] = (wide - wide.mean(axis=0)).astype(weight.dtype)
        return centred
    import torch

    return torch.from_numpy(centre_weight(weight.detach().cpu().numpy())).to(weight.device)


def score_angle(clipped: Array, mean: Array, centred_weight: Array) -> Array:
    """Confidence (N,) of clipped features (N, D); high = ID. Tensors or arrays.

    Args:
        clipped: ``min(a, delta)``.
        mean: (D,) of clipped training features.
        centred_weight: (K, D) from :func:`centre_weight`.
    """
    offset = clipped - mean
    length: Array = ((offset * offset).sum(1) ** 0.5).clip(min=SHORTEST)
    angle: Array = scoring.confidence(offset @ centred_weight.T) / length
    return angle
