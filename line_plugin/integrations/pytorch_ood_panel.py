"""The panel as a detector of the pytorch-ood library (0.4)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

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

from line_plugin.method.panel import Panel
from line_plugin.method.panel_fit import EXPERTS, Gathered

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


class PanelDetector(FeaturesDetector):  # type: ignore[misc]
    """The panel with pytorch-ood's interface; scores are *outlier* scores: the negated confidence of :class:`Panel`.

    Args:
        encoder: maps inputs to the pooled features (B, D) that enter the head; put it in eval mode. ``None`` if only
            ``fit_features`` and ``predict_features`` are used.
        w: weight of the last layer, (K, D).
        b: bias of the last layer, (K,), or None.
        experts, prototypes, seed: as in :class:`line_plugin.Panel`.

    Example:
        >>> import torch
        >>> from line_plugin.pytorch_ood import PanelDetector
        >>> detector = PanelDetector(None, w=torch.randn(3, 8), b=torch.zeros(3))
        >>> detector.fit_features(torch.rand(600, 8), torch.arange(600) % 3).predict_features(torch.rand(2, 8)).shape
        torch.Size([2])
    """

    # The panel has no paper of its own; the library asks for one, so this is LINe's.
    info = DetectorInfo(
        paper=Paper(
            title="LINe: Out-of-Distribution Detection by Leveraging Important Neurons",
            venue="CVPR",
            year=2023,
            url="https://arxiv.org/abs/2303.13995",
            code="https://github.com/YongHyun-Ahn/LINe-Out-of-Distribution-Detection-by-Leveraging-Important-Neurons",
        ),
        tasks={Task.CLASSIFICATION},
    )
    requires_fit = True

    def __init__(
        self,
        encoder: Callable[[Tensor], Tensor] | None,
        w: Tensor,
        b: Tensor | None,
        experts: Sequence[str] = EXPERTS,
        prototypes: int = 10,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.weight, self.bias = w.detach(), torch.zeros(len(w)) if b is None else b.detach()
        self.panel = Panel(experts, prototypes, seed=seed)

    def fit(self, data_loader: Iterable[Any]) -> Self:
        """Fit in one pass over batches ``(x, y)``; labels below zero are ignored.

        Raises:
            ModelNotSetException: there is no encoder. FitError: as :meth:`Panel.fit`.
        """
        if self.encoder is None:
            raise ModelNotSetException("fit needs an encoder; without one, call fit_features")
        panel, device = self._unfitted(), self.device
        gathered = Gathered.nothing(self.weight.shape[0], self.weight.shape[1], panel.settings)
        with torch.no_grad():
            for x, y in data_loader:
                gathered.add_(self.encoder(x.to(device)), y)
        self.panel = panel.fit_gathered(gathered, self.weight, self.bias)
        return self

    def fit_features(self, z: Tensor, y: Tensor) -> Self:
        """Fit from features (N, D) and labels (N,); labels below zero are ignored. Raises what the panel raises."""
        self.panel = self._unfitted().fit_features(z, y, self.weight.to(z.device), self.bias)
        return self

    def _unfitted(self) -> Panel:
        settings = self.panel.settings
        return Panel(settings.experts, settings.prototypes, seed=settings.seed)

    def predict(self, x: Tensor) -> Tensor:
        """Outlier scores (B,) float32 of inputs; larger means more likely out-of-distribution.

        Raises:
            ModelNotSetException: there is no encoder; RequiresFittingException: not fitted.
        """
        if self.encoder is None:
            raise ModelNotSetException
        device = self.device
        with torch.no_grad():
            features = self.encoder(x if device is None else x.to(device))
        scores: Tensor = self.predict_features(features)
        return scores

    def predict_features(self, x: Tensor) -> Tensor:
        """Outlier scores (B,) float32 of features (B, D); larger means more likely out-of-distribution.

        Raises:
            RequiresFittingException: not fitted; WidthError, NonFiniteError: features that cannot be scored.
        """
        if not self.panel.fitted:
            raise RequiresFittingException
        return -self.panel.score(x)

    def to(self, device: str | torch.device) -> Self:
        """Move the encoder, the head and the fit to ``device``."""
        super().to(device)
        if self.panel.fitted:
            self.panel.to(device)
        return self
