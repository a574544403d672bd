"""The virtual-logit expert: the largest logit minus the part of the feature outside the training features' subspace.

This is ViM (Wang et al., CVPR 2022). With ``R`` the directions in which training features vary least and ``alpha =
mean(largest logit) / mean(|R (x - o)|)`` over training features,

    V(a) = w_c a + b_c - alpha |R (a - o)|,    c the predicted class.

It deviates from the paper twice. The largest logit replaces the log-sum-exp of all logits, which is K times cheaper.
``o`` is the training mean instead of ``-pinv(W) b``, so that the moments of one pass give ``R``. ``benchmarks.panel``
shows how much that changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from line_plugin.math.scoring import Array

if TYPE_CHECKING:
    from torch import Tensor

PRINCIPAL = 256
"""Dimensions of the principal subspace, OpenOOD's default.

A network whose features are at most this wide gets half of their width.
"""


@dataclass(frozen=True)
class Subspace(Generic[Array]):
    """Computes the residual of a feature from the smaller of the two complementary subspaces.

    It holds tensors or arrays, and takes features of the same type.

    Attributes:
        mean: (D,), the mean of training features.
        basis: (r, D), orthonormal rows.
        is_residual: whether ``basis`` spans the residual subspace; otherwise it spans the principal subspace.
    """

    mean: Array
    basis: Array
    is_residual: bool

    @staticmethod
    def find(mean: Tensor, covariance: Tensor, principal: int | None = None) -> Subspace[Tensor]:
        """Splits the space by variance.

        Args:
            mean: (D,) float64, covariance: (D, D) float64, of training features.
            principal: dimensions of the principal subspace; by default :data:`PRINCIPAL` or half of D.
        """
        import torch

        width = len(mean)
        kept = principal or (PRINCIPAL if width > PRINCIPAL else max(1, width // 2))
        _, vectors = torch.linalg.eigh(covariance)  # in ascending order
        is_residual = width - kept <= kept
        chosen = vectors[:, : width - kept] if is_residual else vectors[:, width - kept :]
        return Subspace(mean, chosen.T.contiguous(), is_residual)

    def residual(self, features: Array) -> Array:
        """``|R (a - o)|``, (N,), for features (N, D)."""
        offset = features - self.mean
        along = offset @ self.basis.T
        inside = (along * along).sum(1)
        squares: Array = inside if self.is_residual else (offset * offset).sum(1) - inside
        length: Array = squares.clip(min=0) ** 0.5
        return length


def find_alpha(largest_logit: Tensor, residual: Tensor) -> float:
    """``mean(largest logit) / mean(residual)`` over training rows (N,); 0 if there is no residual."""
    mean = float(residual.double().mean())
    return float(largest_logit.double().mean()) / mean if mean > 0 else 0.0


def score_virtual_logit(
    features: Array, classes: Array, weight: Array, bias: Array, subspace: Subspace[Array], alpha: float
) -> Array:
    """Confidence (N,) of features (N, D), not clipped; high = ID.

    Args:
        classes: (N,) int64, predicted.
        weight: (K, D), bias: (K,), the head's.
    """
    logit: Array = (features * weight[classes]).sum(1) + bias[classes]
    return logit - alpha * subspace.residual(features)
