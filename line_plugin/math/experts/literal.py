"""The panel's experts other than LINe on one fitted head: the arrays that they need, and their literal scores."""

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
"""The experts other than ``line``, in the order in which the panel adds them."""


@dataclass(frozen=True)
class Experts(Generic[Array]):
    """The arrays of a fit that the experts need: tensors on one device, or numpy arrays; float32. They never change.

    Attributes:
        weight: (K, D), bias: (K,), the head's.
        centred_weight: (K, D), the head's weight minus its mean over classes.
        clip: the angle's clipping threshold; ``None`` for off.
        clipped_mean: (D,), the mean of clipped training features.
        prototypes: (K, P, D), of length 1.
        subspace: the subspace of unclipped training features.
        alpha: the weight of the residual.
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
        """A copy with ``change`` applied to each array."""
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
        """A copy with its tensors on another device or of another dtype."""
        return self.map(lambda t: t.to(device, dtype))

    def score(self, features: Array, classes: Array, names: Sequence[str] = NAMES) -> dict[str, Array]:
        """The confidences (N,) of features (N, D) by each named expert; high = ID.

        Args:
            features: unclipped; tensors or arrays, of the dtype and on the device of the experts' arrays.
            classes: (N,) int64, as LINe predicts them.
            names: some of :data:`NAMES`.
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
