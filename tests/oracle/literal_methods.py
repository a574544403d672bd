"""The methods beside LINe as their papers say them, or OpenOOD if it deviates: one image and one class at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def _array(*tensors: Tensor) -> list[Array]:
    return [t.double().numpy() for t in tensors]


def _energy(logits: Array) -> float:
    top = logits.max()
    return float(top + math.log(np.exp(logits - top).sum()))


def _softmax(logits: Array) -> Array:
    e: Array = np.exp(logits - logits.max())
    return e / e.sum()


def mahalanobis(train: Tensor, labels: NDArray[Any], rows: Tensor, *, unit: bool, relative: bool) -> Array:
    """Minus half the least squared distance to a class mean; ``relative``: the whole, less that to the whole mean."""
    z, x = _array(train, rows)
    if unit:
        z = np.stack([v / np.sqrt((v**2).sum()) for v in z])
        x = np.stack([v / np.sqrt((v**2).sum()) for v in x])
    means = {c: z[labels == c].mean(axis=0) for c in sorted(set(labels.tolist()))}
    scatter = sum(np.outer(v - means[c], v - means[c]) for v, c in zip(z, labels.tolist(), strict=True)) / len(z)
    whole = z.mean(axis=0)
    scatter_whole = sum(np.outer(v - whole, v - whole) for v in z) / len(z)
    inverse, inverse_whole = np.linalg.pinv(scatter, hermitian=True), np.linalg.pinv(scatter_whole, hermitian=True)
    out = []
    for v in x:
        distance = min((v - m) @ inverse @ (v - m) for m in means.values())
        out.append(-(distance - (v - whole) @ inverse_whole @ (v - whole)) if relative else -distance / 2)
    return np.array(out)


def fdbd(train: Tensor, weight: Tensor, bias: Tensor, rows: Tensor, *, from_mean: bool) -> Array:
    """Equation 8 of the paper; divided by the feature's own length if not ``from_mean``."""
    z, w, b, x = _array(train, weight, bias, rows)
    out = []
    for v in x:
        logits = w @ v + b
        best = int(logits.argmax())
        distances = [abs(logits[best] - logits[c]) / np.linalg.norm(w[best] - w[c]) for c in range(len(w)) if c != best]
        out.append(np.mean(distances) / np.linalg.norm(v - z.mean(axis=0) * from_mean))
    return np.array(out)


def nci(train: Tensor, weight: Tensor, bias: Tensor, rows: Tensor, alpha: float) -> Array:
    """Angle to the predicted class's weight from the training mean, plus alpha times the l1 length."""
    z, w, b, x = _array(train, weight, bias, rows)
    out = []
    for v in x:
        best, centred = int((w @ v + b).argmax()), v - z.mean(axis=0)
        out.append(w[best] @ centred / np.linalg.norm(centred) + alpha * np.abs(v).sum())
    return np.array(out)


def nnguide(train: Tensor, weight: Tensor, bias: Tensor, rows: Tensor, k: int, alpha: float, batch: int) -> Array:
    """Batches enter the bank until they are more than the share alpha, as in OpenOOD's loop."""
    z, w, b, x = _array(train, weight, bias, rows)
    bank: list[Array] = []
    for batches, start in enumerate(range(0, len(z), batch), start=1):
        bank += [v / np.linalg.norm(v) * _energy(w @ v + b) for v in z[start : start + batch]]
        if batches * batch > int(len(z) * alpha):
            break
    out = []
    for v in x:
        similarities = sorted((v / np.linalg.norm(v) @ one for one in bank), reverse=True)
        out.append(np.mean(similarities[:k]) * _energy(w @ v + b))
    return np.array(out)


def vra(val: Tensor, weight: Tensor, bias: Tensor, rows: Tensor, high: float, low: float) -> Array:
    """Energy of features clipped at two percentiles of all validation values."""
    v, w, b, x = _array(val, weight, bias, rows)
    least, most = np.percentile(v, low), np.percentile(v, high)
    return np.array([_energy(w @ np.minimum(np.maximum(one, least), most) + b) for one in x])


def ash(weight: Tensor, bias: Tensor, rows: Tensor, percentile: float, *, sharpen: bool) -> Array:
    """ASH-P, and ASH-S: the kept activations times exp(sum before / sum after)."""
    w, b, x = _array(weight, bias, rows)
    out = []
    for v in x:
        keep = len(v) - int(np.round(len(v) * percentile / 100))
        pruned = np.zeros_like(v)
        for i in np.argsort(-v)[:keep]:
            pruned[i] = v[i]
        scale = math.exp(v.sum() / pruned.sum()) if sharpen else 1.0
        out.append(_energy(w @ (pruned * scale) + b))
    return np.array(out)


def lts(weight: Tensor, bias: Tensor, rows: Tensor, p: float) -> Array:
    """Energy of logits times (sum of activations / sum of the top share p)^2."""
    w, b, x = _array(weight, bias, rows)
    out = []
    for v in x:
        keep = max(1, len(v) - round(len(v) * (1 - p)))
        out.append(_energy((w @ v + b) * (v.sum() / np.sort(v)[-keep:].sum()) ** 2))
    return np.array(out)


def gradnorm(weight: Tensor, bias: Tensor, rows: Tensor) -> Array:
    """The l1 norm of the head's gradient, one backward pass an image."""
    out = []
    for v in rows.double():
        w = weight.double().requires_grad_()
        loss = -torch.log_softmax(w @ v + bias.double(), dim=0).mean()
        (gradient,) = torch.autograd.grad(loss, w)
        out.append(float(gradient.abs().sum()))
    return np.array(out)


def temperature(logits: Tensor, labels: Tensor) -> float:
    """OpenOOD's: 50 steps of L-BFGS on the cross-entropy, from 1.5."""
    t = torch.nn.Parameter(torch.tensor(1.5))
    optimiser = torch.optim.LBFGS([t], lr=0.01, max_iter=50)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits / t, labels)
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    return t.item()


def entropy(weight: Tensor, bias: Tensor, rows: Tensor) -> Array:
    w, b, x = _array(weight, bias, rows)
    return np.array([sum(p * math.log(max(p, 1e-7)) for p in _softmax(w @ v + b)) for v in x])


def pnml(train: Tensor, weight: Tensor, bias: Tensor, rows: Tensor) -> Array:
    """Minus the regret, in units of log K, of features of unit length."""
    z, w, b, x = _array(train, weight, bias, rows)
    z = np.stack([v / np.linalg.norm(v) for v in z])
    inverse = np.linalg.pinv(z)
    out = []
    for v in x:
        u = v / np.linalg.norm(v)
        g = u @ inverse @ inverse.T @ u
        ratio = g / (1 + g)
        terms = [p / (p + (1 - p) * p**ratio) for p in np.clip(_softmax(w @ u + b), 1e-12, 1 - 1e-12)]
        out.append(-math.log(sum(terms)) / math.log(len(w)))
    return np.array(out)


def gmm(train: Tensor, labels: NDArray[Any], rows: Tensor, reg: float) -> Array:
    """The log-likelihood under one Gaussian a class."""
    from scipy.stats import multivariate_normal

    z, x = _array(train, rows)
    parts = []
    for c in sorted(set(labels.tolist())):
        mine = z[labels == c]
        covariance = np.cov(mine.T, bias=True) + reg * np.eye(z.shape[1])
        parts.append(multivariate_normal(mine.mean(axis=0), covariance).logpdf(x) + math.log(len(mine) / len(z)))
    return np.array([_energy(column) for column in np.stack(parts, axis=1)])


def weiper(
    train: Tensor, weight: Tensor, bias: Tensor, rows: Tensor, *, repeats: int, bins: int, widths: tuple[int, int]
) -> Array:
    """WeiPer+KLD as its authors' code has it, with its CIFAR-10 weights and seed 0, one image and one bin at a time."""
    delta, lambda_1, lambda_2 = 1.8, 2.5, 0.1
    noise = torch.randn(repeats, *weight.shape, generator=torch.Generator().manual_seed(0))
    heads = []
    for r in range(repeats):
        head = weight.clone()
        for k in range(len(head)):
            head[k] += delta * weight[k].norm() * noise[r, k] / noise[r, k].norm()
        heads.append(head)

    def project(v: Tensor) -> list[Tensor]:
        return [torch.nn.functional.linear(v[None], head, bias)[0] for head in heads]

    def histogram(values: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> Array:
        edges = [np.float32(low + np.float32(i) / np.float32(bins) * (high - low)) for i in range(bins + 1)]
        counts = [sum(1 for v in values if edges[i] <= v < edges[i + 1]) for i in range(bins)]
        return np.array(counts) / len(values)

    def smooth(q: Array, width: int) -> Array:
        out = []
        for i in range(len(q)):
            window = range(i - (width - 1) // 2, i - (width - 1) // 2 + width)
            out.append(np.mean([q[min(max(j, 0), len(q) - 1)] for j in window]))
        return np.array(out)

    def divergence(p: Array, q: Array, width: int, floor: float) -> float:
        p, q = p + floor, smooth(q, width) + floor
        p, q = p / p.sum(), q / q.sum()
        return float((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum())

    projected = [torch.cat(project(v)).numpy() for v in train]
    ends = (train.min().numpy(), train.max().numpy()), (np.min(projected), np.max(projected))
    typical = np.mean([histogram(v.numpy(), *ends[0]) for v in train], axis=0)
    typical_projected = np.mean([histogram(v, *ends[1]) for v in projected], axis=0)
    out = []
    for v in rows:
        logits = project(v)
        near = divergence(typical, histogram(v.numpy(), *ends[0]), widths[0], 0.01)
        far = divergence(typical_projected, histogram(torch.cat(logits).numpy(), *ends[1]), widths[1], 0.025)
        msp = np.mean([float(one.softmax(dim=0).max()) for one in logits])
        out.append(-(near + lambda_1 * far - lambda_2 * msp))
    return np.array(out)
