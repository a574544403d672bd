"""Fits the panel: gathers sums, moments and a sample in one pass, and derives its experts and their scales."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from line_plugin.errors import FitError, SettingsError, unknown_name
from line_plugin.kernels.experts import ExpertScorer, SharedAngle
from line_plugin.math import scoring
from line_plugin.math.class_sample import ROWS, ClassSample
from line_plugin.math.contributions import ClassSums
from line_plugin.math.experts.angle import centre_weight
from line_plugin.math.experts.combination import Scale
from line_plugin.math.experts.literal import NAMES, Experts
from line_plugin.math.experts.prototypes import find_prototypes
from line_plugin.math.experts.virtual_logit import Subspace, find_alpha
from line_plugin.math.moments import Moments
from line_plugin.method.line import LINe

EXPERTS = ("line", *NAMES)
"""All experts, in the order in which they are added."""
SAMPLE_ROWS = 32768
"""The most rows that prototypes are made from: 268 MB for the 2048 features of a ResNet-50, only during the fit."""
SCALE_ROWS = 3000
"""The most rows that the experts' scales are found from."""


def split_names(text: str) -> tuple[str, ...]:
    """The names of the experts in a setting such as ``line+angle``."""
    return tuple(name.strip() for name in text.split("+") if name.strip())


@dataclass(frozen=True)
class PanelSettings:
    """Which experts a panel has, and how they are fitted.

    Attributes:
        experts: some of :data:`EXPERTS`.
        prototypes: how many for each class. They take most of the memory: ``4 K D`` bytes for each of that number.
        seed: seed of the sample of training rows and of the choice of LINe's clip.
    """

    experts: tuple[str, ...] = EXPERTS
    prototypes: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.experts:
            if name not in EXPERTS:
                raise unknown_name("expert", name, EXPERTS)
        if not self.experts:
            raise SettingsError(f"no expert given, expected some of {', '.join(EXPERTS)}")
        if self.prototypes < 1:
            raise SettingsError(f"prototypes={self.prototypes} given, expected at least 1 a class")
        object.__setattr__(self, "experts", tuple(name for name in EXPERTS if name in self.experts))


@dataclass
class Gathered:
    """Sums, moments and a sample of the rows of one pass: K x D and D x D float64, and the sample."""

    sums: ClassSums
    moments: Moments
    sample: ClassSample

    @classmethod
    def nothing(cls, num_classes: int, width: int, settings: PanelSettings) -> Gathered:
        """The result before the first row."""
        sample = ClassSample(num_classes, SAMPLE_ROWS, settings.seed)
        return cls(ClassSums.zeros(num_classes, width), Moments.zeros(width), sample)

    def add_(self, features: Tensor, labels: Tensor) -> None:
        """Adds a batch. If :meth:`ClassSums.add_` refuses it, nothing of it is counted."""
        self.sums.add_(features, labels)
        labels = labels.to("cpu", torch.int64)
        rows = features.detach().to("cpu", torch.float32)[labels >= 0]
        self.moments.add_(rows)
        self.sample.add_(rows, labels[labels >= 0])

    def for_line(self) -> ClassSample:
        """The rows from which :meth:`LINe.auto` would have chosen its clip."""
        return self.sample.first(ROWS)


@dataclass(frozen=True)
class FittedPanel:
    """The result of a fit; it never changes.

    Attributes:
        line: the fitted LINe, which predicts the class and is the expert ``line``.
        scorer: the other experts.
        scales: the scale of each expert that was fitted, by name.
    """

    line: LINe
    scorer: ExpertScorer
    scales: dict[str, Scale]

    @classmethod
    def make(cls, line: LINe, gathered: Gathered, settings: PanelSettings) -> FittedPanel:
        """Derives everything that is not LINe's.

        Args:
            line: a LINe fitted in the same pass.

        Raises:
            FitError: an expert gives all rows the same score.
        """
        sample, (weight, bias) = gathered.sample, (t.cpu() for t in line.head)
        few = sample.first(SCALE_ROWS)
        classes = line.predict(few.features)[0]
        names = [name for name in NAMES if name in settings.experts]
        experts = Experts(
            weight,
            bias,
            centre_weight(weight),
            line.settings.clip,
            _clipped_mean(sample, gathered.sums, line.settings.clip),
            _prototypes(sample, line.width, settings),
            _subspace(gathered.moments, settings),
            0.0,
        )
        if "virtual_logit" in names:
            logits = (few.features * weight[classes]).sum(dim=1, dtype=torch.float64) + bias[classes]
            wide = experts.to("cpu", torch.float64).subspace.residual(few.features.double())
            experts = replace(experts, alpha=find_alpha(logits, wide))
        fitted = cls(line, ExpertScorer(experts), {})
        _, raw = fitted._unscaled(few.features, settings.experts)
        fitted.scales.update({name: Scale.find(name, raw[name]) for name in settings.experts})
        return fitted

    def to(self, device: torch.device | str) -> FittedPanel:
        """A copy on another device.

        If it is already there, itself, so that kernels are not compiled and tested again.
        """
        if torch.device(device) == self.line.device:
            return self
        return FittedPanel(copy.copy(self.line).to(device), ExpertScorer(self.scorer.experts.to(device)), self.scales)

    def score(self, features: Tensor, names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Class (N,) int64 and the scaled confidences (N,) float64 of each expert, by name.

        Args:
            features: (N, D) on any device. LINe, which predicts the class, refuses features that cannot be scored.
            names: which experts score.
        """
        with torch.no_grad():
            classes, found = self._unscaled(features, names)
        return classes.to(features.device), {name: self.scales[name].apply(found[name]) for name in names}

    def _unscaled(self, features: Tensor, names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Class and unscaled confidences of each expert, by name, on :attr:`LINe.device`."""
        rows, others = self.line.prepare(features), [name for name in NAMES if name in names]
        shared = self._angle.predict(rows) if "angle" in others else None
        if shared is None:
            classes, confidence = self.line.predict(rows)
            return classes, {"line": confidence, **self.scorer.score(rows, classes, others)}
        classes, confidence, angle = shared
        others.remove("angle")
        return classes, {"line": confidence, "angle": angle, **self.scorer.score(rows, classes, others)}

    @functools.cached_property
    def _angle(self) -> SharedAngle:
        return SharedAngle(self.line.scorer, self.scorer.experts)


def _clipped_mean(sample: ClassSample, sums: ClassSums, clip: float | None) -> Tensor:
    """The mean of the clipped training features: class means of the sample, weighted by the rows of each class."""
    labels = sample.labels
    weights = (sums.counts.double() / torch.bincount(labels, minlength=sample.num_classes))[labels]
    total = torch.zeros(sums.width, dtype=torch.float64)
    for rows, w in zip(sample.features.split(4096), weights.split(4096), strict=True):  # type: ignore[no-untyped-call]
        total += w @ scoring.clip(rows, clip).double()
    return (total / sums.num_samples).float()


def _prototypes(sample: ClassSample, width: int, settings: PanelSettings) -> Tensor:
    if "prototypes" not in settings.experts:
        return torch.zeros(sample.num_classes, 0, width)
    return find_prototypes(sample.features, sample.labels, sample.num_classes, settings.prototypes).float()


def _subspace(moments: Moments, settings: PanelSettings) -> Subspace[Tensor]:
    if moments.count < 2:
        raise FitError(f"{moments.count} training images given, expected at least 2, and better 1,000 and more")
    if "virtual_logit" not in settings.experts:
        return Subspace(moments.mean.float(), torch.zeros(0, len(moments.sums)), True)
    found = Subspace.find(moments.mean, moments.covariance)
    return Subspace(found.mean.float(), found.basis.float(), found.is_residual)
