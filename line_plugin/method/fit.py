"""Fits LINe: sums the training features of each class, and derives masks and the scorer from the sums."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from line_plugin.errors import FeatureError, FitError, NonFiniteError, WidthError
from line_plugin.kernels.scorer import Scorer
from line_plugin.math.class_sample import ClassSample
from line_plugin.math.contributions import ClassSums
from line_plugin.method.auto import Rule
from line_plugin.method.settings import LINeSettings
from line_plugin.method.stored import derive_floors
from line_plugin.networks.tap import tap_batches


class NegativeFeatureWarning(UserWarning):
    """Some features are negative, although LINe assumes that none are."""


@dataclass(frozen=True)
class Fitted:
    """The result of a fit: the head, the class sums, the masks as floors and the scorer. It never changes.

    Attributes:
        weight: (K, D) float32, bias: (K,) float32, the head's.
        sums: the class sums of the unclipped training features, on the CPU.
        thresholds: (K,) float64, the thresholds of the weight mask.
        floors: (K, D) float32, both masks (:mod:`line_plugin.math.masks`).
        scorer: the scoring rule of weight, bias and floors, on their device.
    """

    weight: Tensor
    bias: Tensor
    sums: ClassSums
    thresholds: Tensor
    floors: Tensor
    scorer: Scorer

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
        """Derives the masks and the scorer.

        Args:
            weight: (K, D), bias: (K,) or None; half precision is converted exactly, float64 is rounded to float32.
            sums: sums of unclipped features.
            settings: the settings that give the percentiles.
            thresholds: the thresholds for the same sums and ``settings.p_w``, if known; they are the slow part of a
                fit.
            class_names: names for the error about an empty class.

        Raises:
            WidthError: the shapes of weight, bias and sums do not fit. NonFiniteError: NaN or Inf in the head.
                EmptyClassError: a class has no image.
        """
        weight = check_weight(weight)
        k, d = weight.shape
        if tuple(sums.sums.shape) != (k, d):
            raise WidthError(f"sums of shape {tuple(sums.sums.shape)} given, expected the head's {(k, d)}")
        bias = torch.zeros(k) if bias is None else bias.detach()
        if bias.shape != (k,):
            raise WidthError(f"bias of shape {tuple(bias.shape)} given, expected ({k},)")
        if not bool(torch.isfinite(bias).all()):
            raise NonFiniteError("the head's bias holds NaN or Inf: load a trained checkpoint")
        found, masked = derive_floors(
            weight.cpu().numpy(),
            sums.sums.numpy(),
            sums.counts.numpy(),
            settings,
            thresholds=None if thresholds is None else thresholds.numpy(),
            class_names=class_names,
        )
        bias, floors = bias.to(weight.device, torch.float32), torch.from_numpy(masked).to(weight.device)
        return cls(weight, bias, sums.copy(), torch.from_numpy(found), floors, Scorer(weight, bias, floors))

    def to(self, device: torch.device | str) -> Fitted:
        """A copy on another device; the sums stay on the CPU."""
        weight, bias, floors = self.weight.to(device), self.bias.to(device), self.floors.to(device)
        return Fitted(weight, bias, self.sums, self.thresholds, floors, Scorer(weight, bias, floors))

    def check_features(self, features: Tensor, head: str = "") -> None:
        """Refuses features that cannot be scored.

        Args:
            features: (N, D) expected.
            head: module path of the head, for the message.

        Raises:
            WidthError, FeatureError, NonFiniteError.
        """
        width = self.weight.shape[1]
        if features.ndim != 2 or features.shape[1] != width:
            named = f" (head {head!r})" if head else ""
            raise WidthError(
                f"features of shape {tuple(features.shape)} given, expected (N, {width}), the input of the head{named}"
            )
        if not features.is_floating_point():
            raise FeatureError(f"features of dtype {features.dtype} given, expected float32, float16 or bfloat16")
        if math.isfinite(float(features.sum(dtype=torch.float32))):
            return  # a NaN or Inf makes the sum NaN or Inf, and a sum is far faster than a check of each value
        finite = torch.isfinite(features)
        if not bool(finite.all()):
            rows = int((~finite).any(dim=1).sum())
            raise NonFiniteError(
                f"{int((~finite).sum())} NaN or Inf in {rows} of {features.shape[0]} rows: "
                "a score would mean nothing; check the network's input and precision"
            )


def check_weight(weight: Tensor) -> Tensor:
    """Checks the head's weight (K, D) and returns it in float32."""
    if weight.ndim != 2:
        raise WidthError(f"weight of shape {tuple(weight.shape)} given, expected (K, D)")
    weight = weight.detach().to(torch.float32).contiguous()
    if not bool(torch.isfinite(weight).all()):
        raise NonFiniteError("the head's weight holds NaN or Inf: load a trained checkpoint")
    return weight


@dataclass(frozen=True)
class Gathered:
    """The result of one pass over the training set.

    Attributes:
        sums: the class sums of the features.
        sample: some of the rows, if the rule of the fit needs them.
    """

    sums: ClassSums
    sample: ClassSample | None

    @classmethod
    def nothing(cls, num_classes: int, width: int, rule: Rule | None) -> Gathered:
        """The result before the first row."""
        return cls(ClassSums.zeros(num_classes, width), rule.sample(num_classes) if rule else None)

    def add_(self, features: Tensor, labels: Tensor) -> None:
        """Adds a batch."""
        self.sums.add_(features, labels)
        if self.sample is not None:
            self.sample.add_(features, labels)


class Gathering(Protocol):
    """Anything that a pass over the training set fills."""

    def add_(self, features: Tensor, labels: Tensor) -> None:
        """Adds a batch of features (N, D) with labels (N,)."""


G = TypeVar("G", bound=Gathering)


def gather_network(
    model: nn.Module,
    loader: Iterable[Any],
    nothing: Callable[[int, int], G],
    *,
    head: str | None,
    device: torch.device | str | None,
) -> tuple[G, nn.Linear, str]:
    """Gathers the inputs of a network's head in one forward pass; returns them, the head and its module path.

    Args:
        model, loader, head, device: as in :meth:`line_plugin.LINe.fit`.
        nothing: makes the object to fill, for K classes and D features.
    """
    gathered, linear, path, warned = None, None, "", False
    for batch in tap_batches(model, loader, head=head, device=device):
        if gathered is None:
            linear, path = batch.head, batch.path
            gathered = nothing(linear.out_features, linear.in_features)
        gathered.add_(batch.features, batch.labels)
        warned = warned or _warn_if_negative(batch.features, path)
    if gathered is None or linear is None:
        raise FitError("the loader gave no batch: pass labelled ID training images")
    return gathered, linear, path


def gather_features(features: Tensor, labels: Tensor, weight: Tensor, nothing: Callable[[int, int], G]) -> G:
    """Gathers features (N, D) with labels (N,), for a head of weight (K, D)."""
    gathered = nothing(weight.shape[0], weight.shape[1])
    _warn_if_negative(features, "")
    if features.shape[:1] != labels.shape:
        raise FitError(f"{len(features)} features but labels of shape {tuple(labels.shape)}: pass one label a row")
    for start in range(0, len(features), 8192):  # limits the size of the float64 copy
        gathered.add_(features[start : start + 8192], labels[start : start + 8192])
    return gathered


def _warn_if_negative(features: Tensor, head: str) -> bool:
    """Warns the caller of ``fit`` or ``fit_features`` if features are negative; returns whether it did."""
    low = float(features.min()) if features.numel() else 0.0
    if low < 0:
        share = float((features < 0).float().mean())
        warnings.warn(
            f"{share:.1%} of the features{f' before {head!r}' if head else ''} are negative (least {low:.3g}). "
            "LINe assumes pooled activations behind a ReLU, so that 0 means 'did not fire'. On ViT, Swin, ConvNeXt and "
            "other networks without one, its masks and its clipping lose that meaning, and on some of them its scores "
            "are poor. Compare them by `openood eval` with those of ebo, rmds++ or mds++.",
            NegativeFeatureWarning,
            stacklevel=4,
        )
    return low < 0
