"""LINe as a detector of the pytorch-ood library (0.4)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from line_plugin.errors import FitError, unknown_name
from line_plugin.integrations.pytorch_ood_scorer import FeatureScorer
from line_plugin.math.contributions import ClassSums
from line_plugin.method.line import LINe
from line_plugin.method.settings import LINeSettings

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


class LINeDetector(FeatureScorer):
    """LINe with pytorch-ood's interface; scores are *outlier* scores: the negated confidence of :class:`LINe`.

    A setting may be changed after fitting with :meth:`set_hyperparameters`: masks are made again from the class sums.

    Args:
        encoder: maps inputs to the pooled, non-negative features (B, D) that enter the head; put it in eval mode.
            ``None`` if only ``fit_features`` and ``predict_features`` are used.
        w: weight of the last layer, (K, D).
        b: bias of the last layer, (K,), or None.
        p_w, p_a: percentiles from 0 to 100, as in the paper (not fractions); ``None`` turns one off.
        clip: clipping threshold in units of the features; ``None`` turns it off.

    Example:
        >>> import torch
        >>> from line_plugin.pytorch_ood import LINeDetector
        >>> detector = LINeDetector(None, w=torch.randn(3, 8), b=torch.zeros(3))
        >>> detector.fit_features(torch.rand(60, 8), torch.arange(60) % 3).predict_features(torch.rand(2, 8)).shape
        torch.Size([2])
    """

    hyperparameter_space: ClassVar[dict[str, list[float | None]]] = {
        "p_w": [10, 50, 90],
        "p_a": [10, 50, 90],
        "clip": [0.5, 0.8, 1.0, 1.5, 2.0],
    }

    def __init__(
        self,
        encoder: Callable[[Tensor], Tensor] | None,
        w: Tensor,
        b: Tensor | None,
        p_w: float | None = 90.0,
        p_a: float | None = 90.0,
        clip: float | None = 1.0,
    ) -> None:
        super().__init__(encoder, w, b)
        self.line = LINe(p_w, p_a, clip)

    def scored_by(self) -> LINe:
        """See :meth:`FeatureScorer.scored_by`."""
        return self.line

    def fit(self, data_loader: Iterable[Any]) -> Self:
        """Fit in one pass that keeps class sums only.

        Args:
            data_loader: batches ``(x, y)``; labels below zero are ignored.

        Raises:
            ModelNotSetException: there is no encoder.
            FitError: no batch, bad labels, or a class without an image.
        """
        sums: ClassSums | None = None
        for z, y in self.encode_batches(data_loader):
            if sums is None:
                sums = ClassSums.zeros(self.weight.shape[0], self.weight.shape[1])
            sums.add_(z, y)
        if sums is None:
            raise FitError("the loader gave no batch: pass labelled ID training images")
        return self._fit_sums(sums)

    def fit_features(self, z: Tensor, y: Tensor) -> Self:
        """Fit from features (N, D) and labels (N,); labels below zero are ignored.

        Raises:
            WidthError, NonFiniteError, FitError, EmptyClassError.
        """
        self.line = LINe(**asdict(self.line.settings)).fit_features(z, y, self.weight.to(z.device), self.bias)
        return self

    def _fit_sums(self, sums: ClassSums) -> Self:
        weight = self.weight.to(sums.sums.device)
        self.line = LINe(**asdict(self.line.settings)).fit_sums(sums, weight, self.bias)
        return self

    def get_hyperparameters(self) -> dict[str, float | None]:
        """``p_w``, ``p_a`` and ``clip``."""
        return asdict(self.line.settings)

    def set_hyperparameters(self, **kwargs: float | None) -> Self:
        """Change settings; a fitted detector stays fitted, under the new ones.

        Raises:
            SettingsError: an unknown name, or a value outside its range.
        """
        for name in kwargs:
            if name not in asdict(self.line.settings):
                raise unknown_name("hyper-parameter", name, asdict(self.line.settings))
        settings: LINeSettings = replace(self.line.settings, **kwargs)
        self.line = self.line.with_settings(**asdict(settings)) if self.line.fitted else LINe(**asdict(settings))
        return self
