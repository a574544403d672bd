"""What a fit leaves: the head, the class sums, the masks as floors, and the scorer made of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from line_plugin import kernels
from line_plugin.errors import NonFiniteError, WidthError
from line_plugin.math import masks
from line_plugin.math.contributions import ClassSums, contributions
from line_plugin.method.settings import LINeSettings


@dataclass(frozen=True)
class Fitted:
    """The state behind one LINe. Never changed in place.

    Attributes:
        weight: (K, D) float32, bias: (K,) float32, of the head.
        sums: class sums of the unclipped training features, on the CPU.
        thresholds: (K,) float64, of the weight mask.
        floors: (K, D) float32, both masks (:mod:`line_plugin.math.masks`).
        scorer: the scoring rule of weight, bias and floors, on their device.
    """

    weight: Tensor
    bias: Tensor
    sums: ClassSums
    thresholds: Tensor
    floors: Tensor
    scorer: kernels.Scorer

    @classmethod
    def make(
        cls,
        weight: Tensor,
        bias: Tensor | None,
        sums: ClassSums,
        settings: LINeSettings,
        *,
        thresholds: Tensor | None = None,
        class_names: tuple[str, ...] = (),
    ) -> Fitted:
        """Derive masks and scorer.

        Args:
            weight: (K, D), bias: (K,) or None; half precision widens exactly, float64 is rounded to float32.
            sums: of unclipped features.
            settings: whose percentiles to take.
            thresholds: those of the same sums and ``settings.p_w``, where known: the slow part of a fit.
            class_names: to name an empty class.

        Raises:
            WidthError: weight, bias and sums do not belong together. NonFiniteError: NaN or Inf in the head.
            EmptyClassError: a class has no image.
        """
        weight = head_weight(weight)
        k, d = weight.shape
        if tuple(sums.sums.shape) != (k, d):
            raise WidthError(f"sums of shape {tuple(sums.sums.shape)} given, expected the head's {(k, d)}")
        bias = torch.zeros(k) if bias is None else bias.detach()
        if bias.shape != (k,):
            raise WidthError(f"bias of shape {tuple(bias.shape)} given, expected ({k},)")
        if not bool(torch.isfinite(bias).all()):
            raise NonFiniteError("the head's bias holds NaN or Inf: load a trained checkpoint")
        c = contributions(sums.means(class_names or None), weight.cpu())
        if thresholds is None:
            thresholds = masks.weight_thresholds(c, weight, settings.p_w)
        floors = masks.weight_floors(c, thresholds, masks.activation_mask(c, settings.p_a)).to(weight.device)
        bias = bias.to(weight.device, torch.float32)
        return cls(weight, bias, sums.copy(), thresholds, floors, kernels.Scorer(weight, bias, floors))

    def to(self, device: torch.device | str) -> Fitted:
        """The same on another device; the sums stay on the CPU."""
        weight, bias, floors = self.weight.to(device), self.bias.to(device), self.floors.to(device)
        return Fitted(weight, bias, self.sums, self.thresholds, floors, kernels.Scorer(weight, bias, floors))


def head_weight(weight: Tensor) -> Tensor:
    """The head's weight (K, D) in float32, checked."""
    if weight.ndim != 2:
        raise WidthError(f"weight of shape {tuple(weight.shape)} given, expected (K, D)")
    weight = weight.detach().to(torch.float32).contiguous()
    if not bool(torch.isfinite(weight).all()):
        raise NonFiniteError("the head's weight holds NaN or Inf: load a trained checkpoint")
    return weight
