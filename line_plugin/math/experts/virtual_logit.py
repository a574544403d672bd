"""The virtual-logit expert: the largest logit, less what lies outside the subspace that training features span.

ViM (Wang et al., CVPR 2022): with ``R`` the directions in which training features vary least and
``alpha = mean(largest logit) / mean(|R (x - o)|)`` over training features,

    V(a) = w_c a + b_c - alpha |R (a - o)|,    c the predicted class.

Two deviations: the largest logit stands for the log-sum-exp of all (K times cheaper), and ``o`` is the training mean
instead of ``-pinv(W) b``, so that the moments of one pass give ``R``. ``benchmarks.panel`` shows what they cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PRINCIPAL = 256
"""Dimensions of the principal subspace; half of the width for networks that are no wider. OpenOOD's default."""


@dataclass(frozen=True)
class Subspace:
    """The residual of a feature, by whichever of the two complementary subspaces has fewer dimensions.

    Attributes:
        mean: (D,) of training features.
        basis: (r, D), orthonormal rows.
        is_residual: whether ``basis`` spans the residual; else it spans the principal subspace.
    """

    mean: Tensor
    basis: Tensor
    is_residual: bool

    @classmethod
    def find(cls, mean: Tensor, covariance: Tensor, principal: int | None = None) -> Subspace:
        """Split by variance.

        Args:
            mean: (D,) float64, covariance: (D, D) float64, of training features.
            principal: dimensions of the principal subspace; by default :data:`PRINCIPAL` or half of D.
        """
        width = len(mean)
        kept = principal or (PRINCIPAL if width > PRINCIPAL else max(1, width // 2))
        _, vectors = torch.linalg.eigh(covariance)  # ascending
        is_residual = width - kept <= kept
        chosen = vectors[:, : width - kept] if is_residual else vectors[:, width - kept :]
        return cls(mean, chosen.T.contiguous(), is_residual)

    def residual(self, features: Tensor) -> Tensor:
        """``|R (a - o)|``, (N,), of features (N, D)."""
        offset = features - self.mean
        inside = (offset @ self.basis.T).square().sum(dim=1)
        return (inside if self.is_residual else offset.square().sum(dim=1) - inside).clamp(min=0).sqrt()


def find_alpha(largest_logit: Tensor, residual: Tensor) -> float:
    """``mean(largest logit) / mean(residual)`` over training rows (N,); 0 if there is no residual."""
    mean = float(residual.double().mean())
    return float(largest_logit.double().mean()) / mean if mean > 0 else 0.0


def score_virtual_logit(
    features: Tensor, classes: Tensor, weight: Tensor, bias: Tensor, subspace: Subspace, alpha: float
) -> Tensor:
    """Confidence (N,) of features (N, D), not clipped; high = ID.

    Args:
        classes: (N,) int64, predicted.
        weight: (K, D), bias: (K,), of the head.
    """
    return (features * weight[classes]).sum(dim=1) + bias[classes] - alpha * subspace.residual(features)
