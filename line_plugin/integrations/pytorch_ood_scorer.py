"""The base of the pytorch-ood (0.4) detectors: an encoder, a head, and the negated confidence of a fitted object."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from pytorch_ood.api import (
    DetectorInfo,
    FeaturesDetector,
    ModelNotSetException,
    Paper,
    RequiresFittingException,
    Task,
)
from torch import Tensor

from line_plugin.method.auto import describe_choice
from line_plugin.method.line import LINe

if TYPE_CHECKING:
    from line_plugin.math.clip_choice import LeaveOut
    from line_plugin.method.panel import Panel

    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


LINES_INFO = DetectorInfo(
    paper=Paper(
        title="LINe: Out-of-Distribution Detection by Leveraging Important Neurons",
        venue="CVPR",
        year=2023,
        url="https://arxiv.org/abs/2303.13995",
        code="https://github.com/YongHyun-Ahn/LINe-Out-of-Distribution-Detection-by-Leveraging-Important-Neurons",
    ),
    tasks={Task.CLASSIFICATION},
)
"""The paper and the tasks, which pytorch-ood requires of each detector."""


class FeatureScorer(FeaturesDetector):  # type: ignore[misc]
    """Base class of the detectors. Scores are *outlier* scores: the negated confidence of the object :meth:`scored_by`.

    Args:
        encoder: maps inputs to the pooled features (B, D) that enter the head; put it in eval mode. ``None`` if only
            ``fit_features`` and ``predict_features`` are used.
        w: weight of the last layer, (K, D).
        b: bias of the last layer, (K,), or None.
    """

    requires_fit = True

    def __init__(self, encoder: Callable[[Tensor], Tensor] | None, w: Tensor, b: Tensor | None) -> None:
        self.encoder = encoder
        self.weight, self.bias = w.detach(), torch.zeros(len(w)) if b is None else b.detach()

    @abstractmethod
    def scored_by(self) -> LINe | Panel:
        """The object that scores, fitted or not."""

    @property
    def choice(self) -> LeaveOut | None:
        """How the fit chose LINe's clip, with all candidates; None before the fit, or if the clip was given."""
        scorer = self.scored_by()
        return scorer.choice if scorer.fitted else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.scored_by()})"

    def __str__(self) -> str:
        if self.choice is None:
            return repr(self)
        scorer = self.scored_by()
        settings = scorer.settings if isinstance(scorer, LINe) else scorer.line.settings
        return "\n".join([repr(self), *describe_choice(settings, self.choice, type(self).__name__)])

    def encode_batches(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Features (B, D) and labels of batches ``(x, y)``, one after the other, without gradients.

        Raises:
            ModelNotSetException: the detector has no encoder; raised before the first batch is read.
        """
        if self.encoder is None:
            raise ModelNotSetException("fit needs an encoder; without one, call fit_features")
        return ((self._encode(self.encoder, x), y) for x, y in batches)

    def _encode(self, encoder: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        device = self.device
        with torch.no_grad():
            return encoder(x if device is None else x.to(device))

    def predict(self, x: Tensor) -> Tensor:
        """The outlier scores (B,) float32 of inputs; larger means more likely out-of-distribution.

        Raises:
            ModelNotSetException: the detector has no encoder; RequiresFittingException: it is not fitted.
        """
        if self.encoder is None:
            raise ModelNotSetException
        return self.predict_features(self._encode(self.encoder, x))

    def predict_features(self, x: Tensor) -> Tensor:
        """Outlier scores (B,) float32 of features (B, D); larger means more likely out-of-distribution.

        Raises:
            RequiresFittingException: the detector is not fitted; WidthError, NonFiniteError: the features cannot be
                scored.
        """
        scorer = self.scored_by()
        if not scorer.fitted:
            raise RequiresFittingException
        return -scorer.score(x)

    def to(self, device: str | torch.device) -> Self:
        """Move the encoder, the head and the fit to ``device``."""
        super().to(device)
        scorer = self.scored_by()
        if scorer.fitted:
            scorer.to(device)
        return self
