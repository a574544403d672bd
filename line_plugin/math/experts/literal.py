"""The experts beside LINe on one fitted head, as their files write them, and which tensors they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from line_plugin.math import scoring
from line_plugin.math.experts.angle import score_angle
from line_plugin.math.experts.prototypes import score_prototypes
from line_plugin.math.experts.virtual_logit import Subspace, score_virtual_logit

NAMES = ("angle", "prototypes", "virtual_logit")
"""The experts beside ``line``, in the order in which the panel adds them."""


@dataclass(frozen=True)
class Experts:
    """What the experts need of a fit; never changed in place. Float32, on one device.

    Attributes:
        weight: (K, D), bias: (K,), of the head.
        centred_weight: (K, D), the head's weight less its mean over classes.
        clip: clipping threshold of the angle; ``None`` for off.
        clipped_mean: (D,), mean of clipped training features.
        prototypes: (K, P, D), of length 1.
        subspace: of unclipped training features.
        alpha: weight of the residual.
    """

    weight: Tensor
    bias: Tensor
    centred_weight: Tensor
    clip: float | None
    clipped_mean: Tensor
    prototypes: Tensor
    subspace: Subspace
    alpha: float

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Experts:
        """The same on another device or of another dtype."""
        tensors = {
            name: getattr(self, name).to(device, dtype)
            for name in ("weight", "bias", "centred_weight", "clipped_mean", "prototypes")
        }
        mean, basis = self.subspace.mean.to(device, dtype), self.subspace.basis.to(device, dtype)
        return replace(self, **tensors, subspace=Subspace(mean, basis, self.subspace.is_residual))

    def score(self, features: Tensor, classes: Tensor, names: Sequence[str] = NAMES) -> dict[str, Tensor]:
        """Confidences (N,) of features (N, D), high = ID, by name.

        Args:
            features: unclipped, of the dtype and device of the tensors.
            classes: (N,) int64, as LINe predicts them.
            names: of :data:`NAMES`.
        """
        found = {}
        if "angle" in names:
            clipped = scoring.clip(features, self.clip)
            found["angle"] = score_angle(clipped, self.clipped_mean, self.centred_weight)
        if "prototypes" in names:
            found["prototypes"] = score_prototypes(features, classes, self.prototypes)
        if "virtual_logit" in names:
            found["virtual_logit"] = score_virtual_logit(
                features, classes, self.weight, self.bias, self.subspace, self.alpha
            )
        return found
