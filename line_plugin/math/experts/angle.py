"""The angle expert: how well a feature vector points along the head's class directions, whatever its length.

ID features of a trained network point from the mean of all features towards the weight of their class. This is neural
collapse (Papyan, Han, Donoho, PNAS 2020), and NCI (Liu and Qin, CVPR 2025) and fDBD (ICML 2024) use it. With the
clipped features ``z``, their training mean ``m`` and ``U_k = W_k - mean_k W_k``, the weights without what all classes
share,

    A(z) = logsumexp_k(U_k (z - m)) / |z - m|.

This form is not from a paper. NCI takes ``w_c`` of the predicted class instead of the log-sum-exp, and does not clip.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.math import scoring
from line_plugin.math.scoring import Array

SHORTEST = 1e-12
"""Shorter lengths are set to this, since a row that equals the mean has no direction and needs a finite score."""


def centre_weight(weight: Array) -> Array:
    """``U_k = W_k - mean_k W_k``, (K, D) of the dtype of ``weight``; numpy takes the mean, in float64."""
    if isinstance(weight, np.ndarray):
        wide = weight.astype(np.float64)
        centred: NDArray[Any] = (wide - wide.mean(axis=0)).astype(weight.dtype)
        return centred
    import torch

    return torch.from_numpy(centre_weight(weight.detach().cpu().numpy())).to(weight.device)


def score_angle(clipped: Array, mean: Array, centred_weight: Array) -> Array:
    """Confidence (N,) of clipped features (N, D); high = ID. Takes tensors or arrays.

    Args:
        clipped: ``min(a, delta)``.
        mean: (D,), the mean of clipped training features.
        centred_weight: (K, D) from :func:`centre_weight`.
    """
    offset = clipped - mean
    length: Array = ((offset * offset).sum(1) ** 0.5).clip(min=SHORTEST)
    angle: Array = scoring.confidence(offset @ centred_weight.T) / length
    return angle
