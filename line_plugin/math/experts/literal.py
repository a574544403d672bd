"""The experts beside LINe on one fitted head, as their files write them, and which arrays they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from numpy.typing import NDArray

from line_plugin.math import scoring
from line_plugin.math.experts.angle import score_angle
from line_plugin.math.experts.prototypes import score_prototypes
from line_plugin.math.experts.virtual_logit import Subspace, score_virtual_logit
from line_plugin.math.scoring import Array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Other = TypeVar("Other", "Tensor", NDArray[Any])
ArrayExperts: TypeAlias = "Experts[NDArray[Any]]"

NAMES = ("angle", "prototypes", "virtual_logit")
"""The experts beside ``line``, in the order in which the panel adds them."""


@dataclass(frozen=True)
class Experts(Generic[Array]):
    """What the experts need of a fit; never changed in place. Tensors on one device, or arrays; float32.

    Attributes:
        weight: (K, D), bias: (K,), of the head.
        centred_weight: (K, D), the head's weight less its mean over classes.
        clip: clipping threshold of the angle; ``None`` for off.
        clipped_mean: (D,), mean of clipped training features.
        prototypes: (K, P, D), of length 1.
        subspace: of unclipped training features.
        alpha: weight of the residual.
    """

    weight: Array
    bias: Array
    centred_weight: Array
    clip: float | None
    clipped_mean: Array
    prototypes: Array
    subspace: Subspace[Array]
    alpha: float

    def map(self, change: Callable[[Array], Other]) -> Experts[Other]:
        """With ``change`` made to each of its arrays."""
        return Experts(
            change(self.weight),
            change(self.bias),
            change(self.centred_weight),
            self.clip,
            change(self.clipped_mean),
            change(self.prototypes),
            Subspace(change(self.subspace.mean), change(self.subspace.basis), self.subspace.is_residual),
            self.alpha,
        )

    def to(self: Experts[Tensor], device: torch.device | str, dtype: torch.dtype | None = None) -> Experts[Tensor]:
        """The same, of tensors, on another device or of another dtype."""
        return self.map(lambda t: t.to(device, dtype))

    def score(self, features: Array, classes: Array, names: Sequence[str] = NAMES) -> dict[str, Array]:
        """Confidences (N,) of features (N, D), high = ID, by name.

        Args:
            features: unclipped, of the kind, the dtype and the device of the arrays.
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
