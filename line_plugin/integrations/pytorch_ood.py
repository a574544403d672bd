"""LINe as a detector of the pytorch-ood library (0.4)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from line_plugin.errors import FitError, SettingsError, unknown_name
from line_plugin.integrations.pytorch_ood_scorer import LINES_INFO, FeatureScorer
from line_plugin.math.class_sample import ROWS
from line_plugin.method.auto import AUTO, Rule
from line_plugin.method.fit import Gathered
from line_plugin.method.line import LINe
from line_plugin.method.settings import LINeSettings

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


class LINeDetector(FeatureScorer):
    """LINe with pytorch-ood's interface; scores are *outlier* scores: the negated confidence of :class:`LINe`.

    Settings can be changed after the fit with :meth:`set_hyperparameters`, which makes the masks again from the class
    sums. :meth:`auto` makes a detector that chooses its clip at the fit.

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

    info = LINES_INFO
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
        self._rule: Rule | None = None

    @classmethod
    def auto(
        cls,
        encoder: Callable[[Tensor], Tensor] | None,
        w: Tensor,
        b: Tensor | None,
        p_w: float | None = None,
        p_a: float | None = 10.0,
        *,
        seed: int = 0,
        rows: int = ROWS,
    ) -> Self:
        """A detector whose ``clip`` is chosen at the fit, from the training data alone: :meth:`LINe.auto`, bit for bit.

        :attr:`choice` holds the choice and its candidates, and ``print(detector)`` shows it. Every fit chooses again,
        until :meth:`set_hyperparameters` sets a clip.

        Args:
            encoder, w, b: as in :class:`LINeDetector`.
            p_w, p_a, seed, rows: as in :meth:`LINe.auto`.

        Example:
            >>> import torch
            >>> from line_plugin.pytorch_ood import LINeDetector
            >>> detector = LINeDetector.auto(None, w=torch.randn(6, 8), b=torch.zeros(6))
            >>> _ = detector.fit_features(torch.rand(600, 8), torch.arange(600) % 6)
            >>> detector.choice.clip == detector.get_hyperparameters()["clip"]
            True
        """
        detector = cls(encoder, w, b, p_w, p_a, None)
        detector._rule = Rule(seed, rows)
        detector.line = detector._unfitted(detector.line.settings)
        return detector

    def scored_by(self) -> LINe:
        """See :meth:`FeatureScorer.scored_by`."""
        return self.line

    def fit(self, data_loader: Iterable[Any]) -> Self:
        """Fits in one pass that keeps class sums, and for :meth:`auto` a sample of the rows.

        Args:
            data_loader: batches ``(x, y)``; labels below zero are ignored.

        Raises:
            ModelNotSetException: the detector has no encoder. FitError: no batch was given, a label is wrong, or a
                class has no image.
        """
        found: Gathered | None = None
        for z, y in self.encode_batches(data_loader):
            if found is None:
                found = Gathered.nothing(self.weight.shape[0], self.weight.shape[1], self._rule)
            found.add_(z, y)
        if found is None:
            raise FitError("the loader gave no batch: pass labelled ID training images")
        line = self._unfitted(self.line.settings)
        weight = self.weight.to(found.sums.sums.device)
        self.line = line.fit_sums(found.sums, weight, self.bias, sample=found.sample)
        return self

    def fit_features(self, z: Tensor, y: Tensor) -> Self:
        """Fit from features (N, D) and labels (N,); labels below zero are ignored.

        Raises:
            WidthError, NonFiniteError, FitError, EmptyClassError.
        """
        self.line = self._unfitted(self.line.settings).fit_features(z, y, self.weight.to(z.device), self.bias)
        return self

    def _unfitted(self, settings: LINeSettings) -> LINe:
        if self._rule is None:
            return LINe(**asdict(settings))
        return LINe.auto(settings.p_w, settings.p_a, seed=self._rule.seed, rows=self._rule.rows)

    def get_hyperparameters(self) -> dict[str, float | str | None]:
        """``p_w``, ``p_a`` and ``clip``. A clip that the next fit chooses is ``"auto"``."""
        settings: dict[str, float | str | None] = asdict(self.line.settings)
        return settings if self._rule is None or self.line.fitted else {**settings, "clip": AUTO}

    def set_hyperparameters(self, **kwargs: float | str | None) -> Self:
        """Changes settings. A fitted detector stays fitted, with the new settings.

        Later fits keep a clip that is set here. With ``clip="auto"`` they choose it. A fitted detector accepts that
        only if its fit chose a clip, since choosing needs rows.

        Raises:
            SettingsError: a name is unknown, a value is outside its range, or ``clip="auto"`` is given but the fit
                chose none.
        """
        for name, value in kwargs.items():
            if name not in asdict(self.line.settings):
                raise unknown_name("hyper-parameter", name, asdict(self.line.settings))
            if isinstance(value, str) and (name, value) != ("clip", AUTO):
                raise SettingsError(f"{name}={value} given, expected a number, None for off, or clip='auto'")
        settings, rule = asdict(self.line.settings) | kwargs, self._rule
        if kwargs.get("clip") == AUTO:
            settings["clip"], rule = self._chosen_clip(), rule or Rule()
        elif "clip" in kwargs:
            rule = None
        chosen = LINeSettings(**settings)
        self._rule = rule
        self.line = self.line.with_settings(**asdict(chosen)) if self.line.fitted else self._unfitted(chosen)
        return self

    def _chosen_clip(self) -> float | None:
        """The clip that the fit chose; None before the fit."""
        if not self.line.fitted:
            return None
        if self.choice is None:
            raise SettingsError("clip=auto given, but the fit chose no clip: make LINeDetector.auto(...) and fit it")
        return self.choice.clip
