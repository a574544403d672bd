"""The virtual-logit expert: the largest logit, less what lies outside the subspace that training features span.

ViM (Wang et al., CVPR 2022): with ``R`` the directions in which training features vary least and
``alpha = mean(largest logit) / mean(|R (x - o)|)`` over training features,

    V(a) = w_c a + b_c - alpha |R (a - o)|,    c the predicted class.

Two deviations: the largest logit stands for the log-sum-exp of all (K times cheaper), and ``o`` is the training mean
instead of ``-pinv(W) b``, so that the moments of one pass give ``R``. ``benchmarks.panel`` shows what they cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from line_plugin.math.scoring import Array

if TYPE_CHECKING:
    from torch import Tensor

PRINCIPAL = 256
"""Dimensions of the principal subspace; half of the width for networks that are no wider. OpenOOD's default."""


@dataclass(frozen=True)
class Subspace(Generic[Array]):
    """The residual of a feature, by whichever of the two complementary subspaces has fewer dimensions.

    It holds tensors or arrays and answers of features of the same kind.

    Attributes:
        mean: (D,) of training features.
        basis: (r, D), orthonormal rows.
        is_residual: whether ``basis`` spans the residual; else it spans the principal subspace.
    """

    mean: Array
    basis: Array
    is_residual: bool

    @staticmethod
    def find(mean: Tensor, covariance: Tensor, principal: int | None = None) -> Subspace[Tensor]:
        """Split by variance.

        Args:
            mean: (D,) float64, covariance: (D, D) float64, of training features.
            principal: dimensions of the principal subspace; by default :data:`PRINCIPAL` or half of D.
        """
        import torch

        width = len(mean)
        kept = principal or (PRINCIPAL if width > PRINCIPAL else max(1, width // 2))
        _, vectors = torch.linalg.eigh(covariance)  # ascending
        is_residual = width - kept <= kept
        chosen = vectors[:, : width - kept] if is_residual else vectors[:, width - kept :]
        return Subspace(mean, chosen.T.contiguous(), is_residual)

    def residual(self, features: Array) -> Array:
        """``|R (a - o)|``, (N,), of features (N, D)."""
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
        weight: (K, D), bias: (K,), of the head.
    """
    logit: Array = (features * weight[classes]).sum(1) + bias[classes]
    return logit - alpha * subspace.residual(features)
