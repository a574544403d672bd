"""The panel as a detector of the pytorch-ood library (0.4)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from line_plugin.integrations.pytorch_ood_scorer import LINES_INFO, FeatureScorer
from line_plugin.method.panel import Panel
from line_plugin.method.panel_fit import EXPERTS, Gathered

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


class PanelDetector(FeatureScorer):
    """The panel with pytorch-ood's interface; scores are *outlier* scores: the negated confidence of :class:`Panel`.

    The panel has no paper of its own. The library requires one, so ``info`` names LINe's.

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

    info = LINES_INFO

    def __init__(
        self,
        encoder: Callable[[Tensor], Tensor] | None,
        w: Tensor,
        b: Tensor | None,
        experts: Sequence[str] = EXPERTS,
        prototypes: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(encoder, w, b)
        self.panel = Panel(experts, prototypes, seed=seed)

    def scored_by(self) -> Panel:
        """See :meth:`FeatureScorer.scored_by`."""
        return self.panel

    def fit(self, data_loader: Iterable[Any]) -> Self:
        """Fit in one pass over batches ``(x, y)``; labels below zero are ignored.

        Raises:
            ModelNotSetException: the detector has no encoder. FitError: as in :meth:`Panel.fit`.
        """
        panel = self._unfitted()
        gathered = Gathered.nothing(self.weight.shape[0], self.weight.shape[1], panel.settings)
        for z, y in self.encode_batches(data_loader):
            gathered.add_(z, y)
        self.panel = panel.fit_gathered(gathered, self.weight, self.bias)
        return self

    def fit_features(self, z: Tensor, y: Tensor) -> Self:
        """Fit from features (N, D) and labels (N,); labels below zero are ignored. Raises the errors of the panel."""
        self.panel = self._unfitted().fit_features(z, y, self.weight.to(z.device), self.bias)
        return self

    def _unfitted(self) -> Panel:
        settings = self.panel.settings
        return Panel(settings.experts, settings.prototypes, seed=settings.seed)
