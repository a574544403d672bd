"""LINe: leveraging important neurons (Ahn, Park, Kim; CVPR 2023, arXiv 2303.13995)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from line_plugin import artifact, kernels
from line_plugin.calibration import Calibration
from line_plugin.errors import (
    ArtifactCorruptError,
    FeatureError,
    FitError,
    NonFiniteError,
    NotFittedError,
    SettingsError,
    WidthError,
    unknown_name,
)
from line_plugin.math import masks, scoring
from line_plugin.math.contributions import ClassSums, contributions
from line_plugin.version import __version__

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


class NegativeFeatureWarning(UserWarning):
    """The features can be negative, which LINe does not assume."""


@dataclass(frozen=True)
class LINeSettings:
    """The three switches of the method; ``None`` turns one off (the paper's ablation).

    Attributes:
        p_w: weight percentile (WP) in [0, 100].
        p_a: activation percentile (AP) in [0, 100].
        clip: activation clipping threshold delta (AC), in units of the features.
    """

    p_w: float | None = 90.0
    p_a: float | None = 90.0
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        for name in ("p_w", "p_a"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 100:
                raise SettingsError(f"{name}={value} given, expected a percentile from 0 to 100, or None for off")
        if self.clip is not None and not (np.isfinite(self.clip) and self.clip > 0):
            raise SettingsError(f"clip={self.clip} given, expected a positive number, or None for off")


PRESETS: dict[str, LINeSettings] = {
    "cifar10-densenet": LINeSettings(p_w=90, p_a=90, clip=1.0),
    "cifar100-densenet": LINeSettings(p_w=90, p_a=10, clip=1.0),
    "imagenet-resnet50": LINeSettings(p_w=10, p_a=10, clip=0.8),
}
"""The paper's three published settings."""


@dataclass(frozen=True)
class Provenance:
    """Where a fit came from; kept in the artifact.

    Attributes:
        class_names: K names, empty where unknown.
        head: where the ``Linear`` was found, as a module path (``"fc"``).
        model_sha256, data_sha256: fingerprints of the weights and of the training images, empty where unknown.
        extra: anything else worth keeping (JSON).
    """

    class_names: tuple[str, ...] = ()
    head: str = ""
    model_sha256: str = ""
    data_sha256: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Fitted:
    weight: Tensor  # (K, D) float32
    bias: Tensor  # (K,) float32
    sums: ClassSums
    thresholds: Tensor  # (K,) float64, of WP
    floors: Tensor  # (K, D) float32, both masks


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
        self._fitted: _Fitted | None = None

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
            head: module path of the ``Linear``; found by tracing the first batch where not given.
            device: where to run; the model's own device where not given.
            class_names: K names, for error messages and the artifact.

        Raises:
            HeadError: no usable head.
            FitError: bad labels, or a class without an image.
        """
        from line_plugin.networks import tap_batches

        where, sums, linear, warned = "", None, None, False
        for batch in tap_batches(model, loader, head=head, device=device):
            if sums is None:
                linear, where = batch.head, batch.path
                sums = ClassSums.zeros(linear.out_features, linear.in_features)
            sums.add_(batch.features, batch.labels)
            warned = warned or _warn_if_negative(batch.features, where)
        if sums is None or linear is None:
            raise FitError("the loader gave no batch: pass labelled ID training images")
        bias = linear.bias if linear.bias is not None else torch.zeros(linear.out_features)
        provenance = Provenance(class_names=tuple(class_names), head=where)
        return self.fit_sums(sums, linear.weight, bias, provenance=provenance)

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
        weight = _as_head(weight)
        sums = ClassSums.zeros(weight.shape[0], weight.shape[1])
        _warn_if_negative(features, "")
        if features.shape[:1] != labels.shape:
            raise FitError(f"{len(features)} features but labels of shape {tuple(labels.shape)}: pass one label a row")
        for start in range(0, len(features), 8192):  # bounds the float64 copy
            sums.add_(features[start : start + 8192], labels[start : start + 8192])
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
        weight = _as_head(weight)
        k, d = weight.shape
        if tuple(sums.sums.shape) != (k, d):
            raise WidthError(f"sums of shape {tuple(sums.sums.shape)} given, expected the head's {(k, d)}")
        bias = torch.zeros(k) if bias is None else bias.detach()
        if bias.shape != (k,):
            raise WidthError(f"bias of shape {tuple(bias.shape)} given, expected ({k},)")
        provenance = provenance or Provenance()
        if provenance.class_names and len(provenance.class_names) != k:
            raise FitError(f"{len(provenance.class_names)} class names given, the head has {k} classes")
        device = weight.device
        c = contributions(sums.means(provenance.class_names or None), weight.cpu())
        thresholds = masks.weight_thresholds(c, weight, self.settings.p_w)
        self._install(weight, bias.to(device, torch.float32), sums, c, thresholds)
        self.provenance, self.calibration, self.content_sha256 = provenance, None, ""
        return self

    def _install(self, weight: Tensor, bias: Tensor, sums: ClassSums, c: Tensor, thresholds: Tensor) -> None:
        keep = masks.activation_mask(c, self.settings.p_a)
        floors = masks.weight_floors(c, thresholds, keep).to(weight.device)
        self._fitted = _Fitted(weight, bias, sums, thresholds, floors)

    def with_settings(self, p_w: float | None, p_a: float | None, clip: float | None) -> LINe:
        """The same fit under other settings: masks are made again from the stored sums, no image is seen."""
        state, other = self._state, LINe(p_w, p_a, clip)
        c = contributions(state.sums.means(), state.weight.cpu())
        same = p_w == self.settings.p_w
        thresholds = state.thresholds if same else masks.weight_thresholds(c, state.weight, p_w)
        other._install(state.weight, state.bias, state.sums, c, thresholds)
        other.provenance = self.provenance
        return other

    # -- scoring ---------------------------------------------------------------------------------------------------

    @property
    def _state(self) -> _Fitted:
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
        s = self._state
        self._fitted = _Fitted(s.weight.to(device), s.bias.to(device), s.sums, s.thresholds, s.floors.to(device))
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

        Returns:
            ``(classes, confidence)``: (N,) int64, the argmax of the head on the *clipped* features as the method
            uses it (the network's own argmax can differ), and (N,) float32, high = ID.
        """
        state = self._state
        self._check(features)
        with torch.no_grad():
            z = scoring.clip(features.to(state.weight.device, torch.float32), self.settings.clip)
            classes = scoring.predict_class(z, state.weight, state.bias)
            logits = kernels.masked_logits(z, classes, state.weight, state.bias, state.floors)
            return classes.to(features.device), scoring.confidence(logits).to(features.device)

    def _check(self, features: Tensor) -> None:
        if features.ndim != 2 or features.shape[1] != self.width:
            where = f" (head {self.provenance.head!r})" if self.provenance.head else ""
            raise WidthError(
                f"features of shape {tuple(features.shape)} given, expected (N, {self.width}), "
                f"the input of the head{where}"
            )
        if not features.is_floating_point():
            raise FeatureError(f"features of dtype {features.dtype} given, expected float32, float16 or bfloat16")
        finite = torch.isfinite(features)
        if not bool(finite.all()):
            rows = int((~finite).any(dim=1).sum())
            raise NonFiniteError(
                f"{int((~finite).sum())} NaN or Inf in {rows} of {features.shape[0]} rows: "
                "a score would mean nothing; check the network's input and precision"
            )

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
        state = self._state
        tensors = {
            "weight": state.weight,
            "bias": state.bias,
            "sums": state.sums.sums,
            "counts": state.sums.counts,
            "weight_thresholds": state.thresholds,
        }
        metadata: dict[str, Any] = {
            "kind": "line",
            "settings": asdict(self.settings),
            "num_classes": self.num_classes,
            "width": self.width,
            "num_samples": self.num_samples,
            "provenance": asdict(self.provenance),
            "versions": {"openood-line": __version__, "torch": torch.__version__, "numpy": np.__version__},
        }
        if self.calibration is not None:
            tensors["calibration_confidence"] = self.calibration.confidence
            metadata["calibration"] = {
                "n": self.calibration.n,
                "tpr": self.calibration.tpr,
                "threshold": _json_float(self.calibration.threshold),
                "cell_bounds": [_json_float(b) for b in self.calibration.cell_bounds()],
                "source": self.calibration.source,
            }
        self.content_sha256 = artifact.write(path, tensors, metadata)
        return self.content_sha256

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> LINe:
        """Read and verify an artifact.

        Raises:
            ArtifactError: no such file or another kind of file; ArtifactCorruptError: not the bytes that were
                written; ArtifactVersionError: from a newer release.
        """
        tensors, metadata = artifact.read(path)
        try:
            line = cls(**metadata["settings"])
            sums = ClassSums(tensors["sums"], tensors["counts"])
            c = contributions(sums.means(), tensors["weight"])
            line._install(tensors["weight"], tensors["bias"], sums, c, tensors["weight_thresholds"])
            names = metadata["provenance"].pop("class_names")
            line.provenance = Provenance(class_names=tuple(names), **metadata["provenance"])
            if "calibration" in metadata:
                kept = metadata["calibration"]
                line.calibration = Calibration(tensors["calibration_confidence"], kept["tpr"], kept["source"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactCorruptError(f"{path} lacks {error}: fit again") from error
        line.content_sha256 = metadata["content_sha256"]
        return line.to(device)

    def __repr__(self) -> str:
        s = self.settings
        state = f"K={self.num_classes}, D={self.width}, {self.num_samples} images" if self.fitted else "not fitted"
        shown = ", ".join(f"{k}={v if v is None else format(v, 'g')}" for k, v in asdict(s).items())
        return f"LINe({shown}; {state})"


def _as_head(weight: Tensor) -> Tensor:
    """The head in float32: half precision widens exactly, float64 is rounded."""
    if weight.ndim != 2:
        raise WidthError(f"weight of shape {tuple(weight.shape)} given, expected (K, D)")
    weight = weight.detach().to(torch.float32).contiguous()
    if not bool(torch.isfinite(weight).all()):
        raise NonFiniteError("the head's weight holds NaN or Inf: load a trained checkpoint")
    return weight


def _warn_if_negative(features: Tensor, where: str) -> bool:
    low = float(features.min()) if features.numel() else 0.0
    if low < 0:
        share = float((features < 0).float().mean())
        warnings.warn(
            f"{share:.1%} of the features{f' before {where!r}' if where else ''} are negative (least {low:.3g}). "
            "LINe assumes pooled activations behind a ReLU, where 0 means 'did not fire'; on ViT, Swin and other nets "
            "without one its masks and its clipping lose that meaning. Scores are computed all the same.",
            NegativeFeatureWarning,
            stacklevel=3,
        )
    return low < 0


def _json_float(value: float) -> float | str:
    """JSON has no infinity."""
    return value if np.isfinite(value) else str(value)
