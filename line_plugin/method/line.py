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
    """Computes a confidence for OOD detection from a classifier's penultimate features.

    Fit it once; then it is only read, and several threads may score with it. Features are the non-negative, pooled
    inputs of the ``Linear`` head. The confidence is high for ID inputs.

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

        Classes are left out of the head in turn, and their training rows serve as OOD inputs. The clip is the
        percentile of the activations that separates them best from the other classes. This is not from the paper
        (:mod:`line_plugin.math.leave_out`). Masks cannot be chosen in this way; the default ones are mild and do well
        on most networks. Until the fit, ``settings.clip`` is None.

        Args:
            p_w, p_a: as in :class:`LINe`.
            seed: seed of the choice; equal data in equal order with an equal seed give equal bytes.
            rows: the most training rows that are kept for the choice, drawn in the pass of the fit.

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
        """A LINe with one of the paper's published settings (:data:`PRESETS`)."""
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
        """Fits in one batched forward pass without gradients, and keeps only K x D sums.

        Args:
            model: a classifier that ends in a ``Linear``; it is put in eval mode and moved to ``device``.
            loader: batches ``(images, labels, ...)`` or dicts with ``data`` and ``label``; negative labels are ignored.
            head: module path of the ``Linear``; if it is not given, the first batch is traced to find it.
            device: the device to run on; by default the model's own.
            class_names: K names, for error messages and the artifact.

        Raises:
            HeadError: the model has no usable head.
            FitError: a label is wrong, or a class has no image."""
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
        """Fits from penultimate features.

        Args:
            features: (N, D) floating, unclipped; labels: (N,) integer, negative = unknown, ignored.
            weight: (K, D), bias: (K,) or None, the head's.
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
        """Fits from class sums, from any source (sums of shards merge with :meth:`ClassSums.merge`).

        Args:
            sums: sums of unclipped features.
            weight: (K, D), bias: (K,) or None, the head's.
            provenance: the origin of the fit, stored in the artifact.
            sample: rows of the same training set, which :meth:`auto` needs, since sums cannot show which clip is good.
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
        """The same fit with other settings. Masks are made again from the stored sums, without any images.

        If the fit chose a clip (:meth:`auto`), :attr:`choice` still holds that choice.
        """
        state, other = self._state, LINe(p_w, p_a, clip)
        known = state.thresholds if p_w == self.settings.p_w else None
        other._fitted = Fitted.make(state.weight, state.bias, state.sums, other.settings, thresholds=known)
        other.provenance = self.provenance
        return other

    # -- the artifact ----------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> str:
        """Writes the artifact and returns its content hash. Equal fits give equal bytes."""
        self.content_sha256 = self.contents(self.provenance, self.calibration).write(path)
        return self.content_sha256

    def contents(self, provenance: Provenance, calibration: Calibration | None) -> Contents:
        """The contents of an artifact of this fit."""
        return Contents(self.settings, provenance, calibration, self._state)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> LINe:
        """Reads and verifies an artifact.

        Raises:
            ArtifactError: the file does not exist or is of another kind; ArtifactCorruptError: its bytes have changed;
                ArtifactVersionError: a newer release wrote it.
        """
        contents, digest = Contents.read(path)
        line = cls.of_contents(contents).to(device)
        line.calibration, line.content_sha256 = contents.calibration, digest
        return line

    @classmethod
    def of_contents(cls, contents: Contents) -> LINe:
        """The fit in an artifact, without its calibration."""
        line = cls(**asdict(contents.settings))
        line._fitted, line.provenance = contents.fitted, contents.provenance
        return line

    def __repr__(self) -> str:
        s = self.settings
        state = f"K={self.num_classes}, D={self.width}, {self.num_samples} images" if self.fitted else "not fitted"
        values = {**asdict(s), "clip": "auto"} if self._rule and not self.fitted else asdict(s)
        return describe(values, state)
