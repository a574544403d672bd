"""LINe: leveraging important neurons (Ahn, Park, Kim; CVPR 2023, arXiv 2303.13995)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from line_plugin.errors import FitError, NotFittedError, unknown_name
from line_plugin.math.contributions import ClassSums
from line_plugin.method.artifact import Contents
from line_plugin.method.calibration import Calibration
from line_plugin.method.fit import Fitted, check_weight, sum_features, sum_network
from line_plugin.method.settings import PRESETS, LINeSettings, Provenance
from line_plugin.networks.fingerprint import fingerprint

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


class LINe:
    """Out-of-distribution confidence of a classifier's penultimate features.

    The object is fitted once and then only read: scoring is safe from several threads. Features are the non-negative,
    pooled inputs of the ``Linear`` head. Confidence is high for in-distribution inputs.

    Args:
        p_w: percentile of the weight mask; ``None`` turns weight pruning off.
        p_a: percentile of the activation mask; ``None`` turns activation pruning off.
        clip: activation clipping threshold; ``None`` turns clipping off.

    Example:
        >>> import torch
        >>> from line_plugin import LINe
        >>> features, labels = torch.rand(60, 8), torch.arange(60) % 3
        >>> weight, bias = torch.randn(3, 8), torch.zeros(3)
        >>> line = LINe(p_w=10, p_a=10, clip=0.8).fit_features(features, labels, weight, bias)
        >>> line.score(features[:2]).shape
        torch.Size([2])
    """

    presets: ClassVar[dict[str, LINeSettings]] = PRESETS

    def __init__(self, p_w: float | None = 90.0, p_a: float | None = 90.0, clip: float | None = 1.0) -> None:
        self.settings = LINeSettings(p_w, p_a, clip)
        self.provenance = Provenance()
        self.calibration: Calibration | None = None
        self.content_sha256 = ""
        self._fitted: Fitted | None = None

    @classmethod
    def preset(cls, name: str) -> LINe:
        """A LINe with one of the paper's published settings, see :data:`PRESETS`."""
        if name not in PRESETS:
            raise unknown_name("preset", name, PRESETS)
        return cls(**asdict(PRESETS[name]))

    # -- fitting ---------------------------------------------------------------------------------------------------

    def fit(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        *,
        head: str | None = None,
        device: torch.device | str | None = None,
        class_names: Sequence[str] = (),
    ) -> Self:
        """Fit in one batched forward pass without gradients; K x D sums are all that is kept.

        Args:
            model: a classifier that ends in a ``Linear``; it is put in eval mode and moved to ``device``.
            loader: batches ``(images, labels, ...)`` or dicts with ``data`` and ``label``; negative labels are ignored.
            head: module path of the ``Linear``; without it, the first batch is traced to find it.
            device: where to run; by default the model's own device.
            class_names: K names, for error messages and the artifact.

        Raises:
            HeadError: no usable head.
            FitError: bad labels, or a class without an image.
        """
        sums, linear, path = sum_network(model, loader, head=head, device=device)
        provenance = Provenance(class_names=tuple(class_names), head=path, model_sha256=fingerprint(model))
        return self.fit_sums(sums, linear.weight, linear.bias, provenance=provenance)

    def fit_features(
        self,
        features: Tensor,
        labels: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        class_names: Sequence[str] = (),
    ) -> Self:
        """Fit from penultimate features.

        Args:
            features: (N, D) floating, unclipped; labels: (N,) integer, negative = unknown, ignored.
            weight: (K, D), bias: (K,) or None, of the head.
            class_names: K names, for error messages and the artifact.

        Raises:
            WidthError, NonFiniteError, FitError, EmptyClassError.
        """
        weight = check_weight(weight)
        sums = sum_features(features, labels, weight)
        return self.fit_sums(sums, weight, bias, provenance=Provenance(class_names=tuple(class_names)))

    def fit_sums(
        self, sums: ClassSums, weight: Tensor, bias: Tensor | None, *, provenance: Provenance | None = None
    ) -> Self:
        """Fit from class sums, however they were gathered (shards merge with :meth:`ClassSums.merge`).

        Args:
            sums: of unclipped features.
            weight: (K, D), bias: (K,) or None, of the head.
            provenance: kept in the artifact.
        """
        provenance = provenance or Provenance()
        if provenance.class_names and len(provenance.class_names) != len(weight):
            raise FitError(f"{len(provenance.class_names)} class names given, the head has {len(weight)} classes")
        self._fitted = Fitted.make(weight, bias, sums, self.settings, class_names=provenance.class_names)
        self.provenance, self.calibration, self.content_sha256 = provenance, None, ""
        return self

    def with_settings(self, p_w: float | None, p_a: float | None, clip: float | None) -> LINe:
        """The same fit under other settings: masks are made again from the stored sums, no image is seen."""
        state, other = self._state, LINe(p_w, p_a, clip)
        known = state.thresholds if p_w == self.settings.p_w else None
        other._fitted = Fitted.make(state.weight, state.bias, state.sums, other.settings, thresholds=known)
        other.provenance = self.provenance
        return other

    # -- scoring ---------------------------------------------------------------------------------------------------

    @property
    def _state(self) -> Fitted:
        if self._fitted is None:
            raise NotFittedError("this LINe is not fitted: call fit, fit_features or LINe.load first")
        return self._fitted

    @property
    def fitted(self) -> bool:
        """Whether it can score."""
        return self._fitted is not None

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self._state.weight.shape[0])

    @property
    def width(self) -> int:
        """D."""
        return int(self._state.weight.shape[1])

    @property
    def num_samples(self) -> int:
        """How many labelled images the fit saw."""
        return self._state.sums.num_samples

    @property
    def sums(self) -> ClassSums:
        """The class sums of the fit, on the CPU."""
        return self._state.sums

    @property
    def device(self) -> torch.device:
        """Where scoring runs."""
        return self._state.weight.device

    def to(self, device: torch.device | str) -> Self:
        """Move the scoring state to ``device``."""
        self._fitted = self._state.to(device)
        return self

    def score(self, features: Tensor) -> Tensor:
        """Confidence of each row.

        Args:
            features: (N, D) float32, float16 or bfloat16 (computed in float32), N >= 0, on any device.

        Returns:
            (N,) float32 on the device of ``features``; high = ID.

        Raises:
            WidthError, NonFiniteError, NotFittedError.
        """
        return self.predict(features)[1]

    def predict(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Class and confidence of each row.

        On a CPU with numba and on CUDA with Triton a row's bits depend on that row alone; on other devices batches may
        differ by 1e-5. The first call compiles for some seconds if no compiled code is cached, and says so through
        ``logging``.

        Returns:
            ``(classes, confidence)``: (N,) int64, the argmax of the head on the *clipped* features as the method
            uses it (the network's own argmax can differ), and (N,) float32, high = ID.
        """
        state = self._state
        state.check_features(features, self.provenance.head)
        with torch.no_grad():
            on_device = features.detach().to(state.weight.device, torch.float32)
            classes, confidence = state.scorer.predict(on_device, self.settings.clip)
            return classes.to(features.device), confidence.to(features.device)

    def calibrate(self, features: Tensor, tpr: float = 0.95, source: str = "") -> Calibration:
        """Score held-out ID features and keep the calibration; :meth:`save` stores it.

        Args:
            features: (n, D) of ID inputs the network was *not* trained on.
            tpr: share of ID inputs to keep.
            source: what they were, for people.
        """
        self.calibration = Calibration.from_scores(self.score(features), tpr, source)
        self.content_sha256 = ""
        return self.calibration

    # -- the artifact ----------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> str:
        """Write the artifact and return its content hash. Equal fits give equal bytes."""
        contents = Contents(self.settings, self.provenance, self.calibration, self._state)
        self.content_sha256 = contents.write(path)
        return self.content_sha256

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> LINe:
        """Read and verify an artifact.

        Raises:
            ArtifactError: no such file or another kind of file; ArtifactCorruptError: not the bytes that were
                written; ArtifactVersionError: from a newer release.
        """
        contents, digest = Contents.read(path)
        line = cls(**asdict(contents.settings))
        line._fitted = contents.fitted.to(device)
        line.provenance, line.calibration, line.content_sha256 = contents.provenance, contents.calibration, digest
        return line

    def __repr__(self) -> str:
        s = self.settings
        state = f"K={self.num_classes}, D={self.width}, {self.num_samples} images" if self.fitted else "not fitted"
        shown = ", ".join(f"{k}={v if v is None else format(v, 'g')}" for k, v in asdict(s).items())
        return f"LINe({shown}; {state})"
