"""WeiPer+KLD: compares densities of features and of many perturbed logits with those of the training images.

Granz, Heurich and Landgraf, "WeiPer: OOD Detection using Weight Perturbations of Class Projections", NeurIPS 2024, as
in the code that the authors published for OpenOOD (``weiper_kldiv``).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from line_plugin.benchmark.methods.base import Method, count, number

_FLOORS = 0.01, 0.025  # added to every bin before the divergence
_VALUES = 1 << 22  # perturbed logits at once


class WeiPer(Method):
    """``-(KLD(features) + lambda_1 KLD(perturbed logits) - lambda_2 mean of the perturbed MSPs)``.

    Every row of the head is perturbed ``n_repeats`` times by a random direction of ``perturbation_distance`` times its
    length. The D features of one image are one sample of ``n_bins`` bins between the least and the largest training
    value, its perturbed logits another. Each histogram is smoothed by a moving mean and compared with the mean
    histogram of the training images, which is not smoothed, by the KL divergence in both directions.

    The defaults are the authors' for CIFAR-10. They tune six settings for each network (3,600 combinations), which a
    sweep here leaves out. Known deviation: one draw of perturbations, from ``seed``, is used for all images. The
    published code passes its own draw under a name that its function ignores, and so draws again for every batch.
    """

    name = "weiper_kldiv"
    about = "WeiPer+KLD: densities of features and perturbed logits (NeurIPS 2024)"
    needs = "features, logits"
    state = "n_repeats (K x D + K) + 4 n_bins"
    source = "own"

    defaults = {
        "n_repeats": 100,
        "perturbation_distance": 1.8,
        "n_bins": 100,
        "lambda_1": 2.5,
        "lambda_2": 0.1,
        "smoothing": 4,
        "smoothing_perturbed": 15,
        "seed": 0,
    }

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        features, bins = self.data.train.features, count(self.settings, "n_bins", 2)
        self._repeats = count(self.settings, "n_repeats")
        self._weight = self._perturb(self.data.weight)
        self._bias = self.data.bias.repeat(self._repeats)
        self._rows = max(1, _VALUES // len(self._weight))
        ends = [(part.min(), part.max()) for part in map(self._project, features.split(self._rows))]  # type: ignore[no-untyped-call]
        low, high = torch.stack([a for a, _ in ends]).min(), torch.stack([b for _, b in ends]).max()
        self._edges = _edges(features.min(), features.max(), bins), _edges(low, high, bins)
        self._typical = torch.zeros(bins), torch.zeros(bins)
        for part in features.split(self._rows):  # type: ignore[no-untyped-call]
            for total, values, edges in zip(self._typical, (part, self._project(part)), self._edges, strict=True):
                total.add_(_densities(values, edges).sum(dim=0), alpha=1 / len(features))

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        return torch.cat([self._score(part) for part in features.split(self._rows)])  # type: ignore[no-untyped-call]

    def _score(self, features: Tensor) -> Tensor:
        logits = self._project(features)
        values, typical, lambda_1, lambda_2 = (features, logits), self._typical, *self._weights()
        widths = count(self.settings, "smoothing"), count(self.settings, "smoothing_perturbed")
        plain, perturbed = (
            _divergence(typical[i], _densities(values[i], self._edges[i]), widths[i], _FLOORS[i]) for i in (0, 1)
        )
        msp = logits.view(len(logits), self._repeats, -1).softmax(dim=2).amax(dim=2).mean(dim=1)
        confidence: Tensor = lambda_2 * msp - plain - lambda_1 * perturbed
        return confidence

    def _weights(self) -> tuple[float, float]:
        return number(self.settings, "lambda_1"), number(self.settings, "lambda_2")

    def _perturb(self, weight: Tensor) -> Tensor:
        """The perturbed rows of the head, (n_repeats K, D), repeat by repeat."""
        generator = torch.Generator().manual_seed(count(self.settings, "seed", 0))
        noise = torch.randn(self._repeats, *weight.shape, generator=generator)
        scale = number(self.settings, "perturbation_distance") * weight.norm(dim=1, keepdim=True)
        perturbed: Tensor = weight + scale * functional.normalize(noise, dim=2)
        return perturbed.flatten(0, 1)

    def _project(self, features: Tensor) -> Tensor:
        """The perturbed logits, (N, n_repeats K)."""
        return functional.linear(features, self._weight, self._bias)


def _edges(low: Tensor, high: Tensor, bins: int) -> Tensor:
    """The edges (bins + 1,) of bins of equal width."""
    return low + torch.arange(bins + 1) / bins * (high + 1e-8 - low)


def _densities(values: Tensor, edges: Tensor) -> Tensor:
    """The share of each row of values (N, M) in each bin, (N, bins).

    Values beyond the edges count in M but in no bin.
    """
    bins = len(edges) - 1
    index = torch.bucketize(values, edges, right=True)  # 0 below, bins + 1 above
    counts = torch.zeros(len(values), bins + 2).scatter_add_(1, index, torch.ones_like(values))
    return counts[:, 1:-1] / values.shape[1]


def _divergence(typical: Tensor, densities: Tensor, width: int, floor: float) -> Tensor:
    """``KL(p || q) + KL(q || p)`` (N,) of the typical density p (bins,) and the smoothed densities q (N, bins)."""
    before = (width - 1) // 2
    padded = functional.pad(densities[:, None], (before, width - 1 - before), mode="replicate")
    q = functional.avg_pool1d(padded, width, stride=1)[:, 0] + floor
    p = typical + floor
    p, q = p / p.sum(), q / q.sum(dim=1, keepdim=True)
    return ((p - q) * (p.log() - q.log())).sum(dim=1)
