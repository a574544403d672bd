"""LINe: leveraging important neurons (Ahn, Park, Kim; CVPR 2023, arXiv 2303.13995)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from line_plugin.errors import FitError, unknown_name
from line_plugin.math.class_sample import ROWS, ClassSample
from line_plugin.math.contributions import ClassSums
from line_plugin.method.artifact import Contents
from line_plugin.method.auto import Rule, with_choice
from line_plugin.method.calibration import Calibration
from line_plugin.method.fit import Fitted, Gathered, check_weight, gather_features, gather_network
from line_plugin.method.fitted import FittedLine
from line_plugin.method.settings import PRESETS, LINeSettings, Provenance, describe
from line_plugin.networks.fingerprint import fingerprint

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self


class LINe(FittedLine):
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
        self._rule: Rule | None = None

    @classmethod
    def auto(cls, p_w: float | None = None, p_a: float | None = 10.0, *, seed: int = 0, rows: int = ROWS) -> LINe:
        """A LINe whose ``clip`` is chosen at the fit, from the training data alone.

        Classes are left out of the head in turn and their training rows stand for OOD inputs; the clip is the
        percentile of the activations that tells them apart best (:mod:`line_plugin.math.leave_out`, which is not from
        the paper). Masks cannot be chosen so: those given here are mild ones that do well on most networks. Until the
        fit ``settings.clip`` is None.

        Args:
            p_w, p_a: as in :class:`LINe`.
            seed: equal data in equal order and an equal seed give equal bytes.
            rows: training rows that are kept for it at most, drawn in the pass of the fit.

        Example:
            >>> import torch
            >>> line = LINe.auto()
            >>> _ = line.fit_features(torch.rand(600, 8), torch.arange(600) % 6, torch.randn(6, 8), None)
            >>> line.choice.clip == line.settings.clip, len(line.choice.candidates)
            (True, 13)
        """
        line = cls(p_w, p_a, None)
        line._rule = Rule(seed, rows)
        return line

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
        found, linear, path = gather_network(model, loader, self._gather, head=head, device=device)
        provenance = Provenance(class_names=tuple(class_names), head=path, model_sha256=fingerprint(model))
        return self.fit_sums(found.sums, linear.weight, linear.bias, provenance=provenance, sample=found.sample)

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
        found = gather_features(features, labels, weight, self._gather)
        provenance = Provenance(class_names=tuple(class_names))
        return self.fit_sums(found.sums, weight, bias, provenance=provenance, sample=found.sample)

    def _gather(self, num_classes: int, width: int) -> Gathered:
        return Gathered.nothing(num_classes, width, self._rule)

    def fit_sums(
        self,
        sums: ClassSums,
        weight: Tensor,
        bias: Tensor | None,
        *,
        provenance: Provenance | None = None,
        sample: ClassSample | None = None,
    ) -> Self:
        """Fit from class sums, however they were gathered (shards merge with :meth:`ClassSums.merge`).

        Args:
            sums: of unclipped features.
            weight: (K, D), bias: (K,) or None, of the head.
            provenance: kept in the artifact.
            sample: rows of the same training set, which :meth:`auto` needs: sums do not say which clip is good.
        """
        provenance = provenance or Provenance()
        if provenance.class_names and len(provenance.class_names) != len(weight):
            raise FitError(f"{len(provenance.class_names)} class names given, the head has {len(weight)} classes")
        fitted = Fitted.make(weight, bias, sums, self.settings, class_names=provenance.class_names)
        if self._rule is not None:  # masks do not depend on the clip
            if sample is None:
                raise FitError(
                    "LINe.auto() chooses its clip from rows, and only their sums are given: pass sample=ClassSample"
                )
            choice = self._rule.choose(sample, fitted.weight, fitted.bias)
            self.settings = replace(self.settings, clip=choice.clip)
            provenance = replace(provenance, extra=with_choice(provenance.extra, choice))
        self._fitted = fitted
        self.provenance, self.calibration, self.content_sha256 = provenance, None, ""
        return self

    def with_settings(self, p_w: float | None, p_a: float | None, clip: float | None) -> LINe:
        """The same fit under other settings: masks are made again from the stored sums, no image is seen.

        If the fit chose a clip (:meth:`auto`), what it chose stays on record in :attr:`choice`.
        """
        state, other = self._state, LINe(p_w, p_a, clip)
        known = state.thresholds if p_w == self.settings.p_w else None
        other._fitted = Fitted.make(state.weight, state.bias, state.sums, other.settings, thresholds=known)
        other.provenance = self.provenance
        return other

    # -- the artifact ----------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> str:
        """Write the artifact and return its content hash. Equal fits give equal bytes."""
        self.content_sha256 = self.contents(self.provenance, self.calibration).write(path)
        return self.content_sha256

    def contents(self, provenance: Provenance, calibration: Calibration | None) -> Contents:
        """This fit as a file keeps it."""
        return Contents(self.settings, provenance, calibration, self._state)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> LINe:
        """Read and verify an artifact.

        Raises:
            ArtifactError: no such file or another kind of file; ArtifactCorruptError: not the bytes that were
                written; ArtifactVersionError: from a newer release.
        """
        contents, digest = Contents.read(path)
        line = cls.of_contents(contents).to(device)
        line.calibration, line.content_sha256 = contents.calibration, digest
        return line

    @classmethod
    def of_contents(cls, contents: Contents) -> LINe:
        """The fit that a file keeps, without its calibration."""
        line = cls(**asdict(contents.settings))
        line._fitted, line.provenance = contents.fitted, contents.provenance
        return line

    def __repr__(self) -> str:
        s = self.settings
        state = f"K={self.num_classes}, D={self.width}, {self.num_samples} images" if self.fitted else "not fitted"
        values = {**asdict(s), "clip": "auto"} if self._rule and not self.fitted else asdict(s)
        return describe(values, state)
