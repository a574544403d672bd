"""The slow, literal reading of the method: gradients for the fit, K x K x D masks for the score, numpy throughout.

Written from the paper and the published code's steps, without any of the shortcuts of the product.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]


def contribution_by_gradient(features: Array, labels: NDArray[np.int64], weight: Array, bias: Array) -> Array:
    """(K, D): mean over the images of a class of a * d f_y / d a, one image and one backward pass at a time."""
    k, d = weight.shape
    logged: list[list[Array]] = [[] for _ in range(k)]
    w, b = torch.from_numpy(weight), torch.from_numpy(bias)
    for a, y in zip(features, labels, strict=True):
        if y < 0:
            continue
        activation = torch.from_numpy(a.astype(np.float64)).requires_grad_()
        logit = (w @ activation + b)[int(y)]
        logit.backward()
        assert activation.grad is not None
        logged[int(y)].append((activation.detach() * activation.grad).numpy())
    return np.stack([np.mean(rows, axis=0) for rows in logged]).reshape(k, d)


def literal_masks(
    contribution: Array, weight: Array, p_w: float | None, p_a: float | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(K, D) activation mask and (K, K, D) weight masks, every entry."""
    k, d = contribution.shape
    activation = np.ones((k, d), dtype=bool)
    weights = np.ones((k, k, d), dtype=bool)
    for c in range(k):
        if p_a is not None:
            activation[c] = contribution[c] > np.percentile(contribution[c], p_a)
        if p_w is not None:
            product = np.abs(contribution[c])[None, :] * weight
            weights[c] = product > np.percentile(product, p_w)
    return activation, weights


def literal_score(
    features: NDArray[np.floating],
    contribution: Array,
    weight: Array,
    bias: Array,
    p_w: float | None,
    p_a: float | None,
    clip: float | None,
) -> tuple[NDArray[np.int64], Array]:
    """Class and confidence of each row, in float64, one sample and one class at a time."""
    activation, weights = literal_masks(contribution, weight, p_w, p_a)
    classes, scores = [], []
    for a in features.astype(np.float64):
        z = a if clip is None else np.minimum(a, np.float64(np.float32(clip)))
        c = int(np.argmax(weight @ z + bias))
        g = np.array([np.sum(z * activation[c] * weight[k] * weights[c, k]) + bias[k] for k in range(len(bias))])
        top = g.max()
        classes.append(c)
        scores.append(top + np.log(np.exp(g - top).sum()))
    return np.array(classes, dtype=np.int64), np.array(scores)
