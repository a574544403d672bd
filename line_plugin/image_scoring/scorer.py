"""Scores images: through the network, then LINe or the panel, as in the benchmark but without its cache."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from line_plugin.benchmark.protocol.features import default_batch_size
from line_plugin.benchmark.protocol.passes import InProcess, Passes
from line_plugin.benchmark.protocol.spec import Preprocessing
from line_plugin.errors import CalibrationError, SettingsError
from line_plugin.image_scoring.forwarding import ForwardedItems, ForwardItems
from line_plugin.image_scoring.rows import ImageScore, Layout
from line_plugin.image_scoring.sources import Item, Source, batches
from line_plugin.math import conformal
from line_plugin.method.explanation import Explanation, PanelExplanation, p_values_of
from line_plugin.method.line import LINe
from line_plugin.method.panel import Panel
from line_plugin.networks.fingerprint import fingerprint


class ImageScorer:
    """A network and the artifact that was fitted on it.

    Args:
        model: the classifier; put in eval mode and moved to ``device``.
        artifact: a LINe or panel fitted on this network.
        preprocessing: how images are prepared, as in the fit.
        device: the device of the network. Scores are computed on the CPU, as in the benchmark.
        head: module path of the classifier's ``Linear``; by default the first image is traced to find it.
        batch_size: images in a forward pass; by default the benchmark's.
        num_workers: decoding processes.
        level: the share of ID inputs that may be flagged; by default that of the calibration, as in the monitor.
        keep_features: whether rows keep their features, so that they can be explained later.
        passes: runs the passes of the network, by default in this process. Scores are always computed in this one.

    Raises:
        SettingsError: the artifact was fitted on another network, or the level is outside (0, 1).
        CalibrationError: a level is given, but the artifact has no calibration.
    """

    def __init__(
        self,
        model: nn.Module,
        artifact: LINe | Panel,
        preprocessing: Preprocessing,
        *,
        device: torch.device,
        head: str | None = None,
        batch_size: int | None = None,
        num_workers: int = 0,
        level: float | None = None,
        keep_features: bool = False,
        passes: Passes | None = None,
    ) -> None:
        self.model, self.artifact = model.to(device).eval(), artifact
        self.batch_size, self._keep = batch_size or default_batch_size(device), keep_features
        self._passes: Passes = passes or InProcess()
        self._refuse_other_network()
        weight, _ = (artifact if isinstance(artifact, LINe) else artifact.line).head
        path = head or artifact.provenance.head or None
        self._work = ForwardItems(self.model, preprocessing, device, path, weight.cpu(), num_workers)
        calibration = artifact.calibration
        if level is not None and not 0 < level < 1:
            raise SettingsError(f"level {level:g} given, expected a share of ID inputs between 0 and 1 such as 0.05")
        if level is not None and calibration is None:
            raise CalibrationError(
                f"level {level:g} given, but the artifact holds no calibration to place it with: run "
                "`openood calibrate` on held-out ID images first, or leave the level out"
            )
        self.level = level if level is not None or calibration is None else calibration.fpr
        self._threshold = calibration.threshold_at(self.level) if calibration and self.level is not None else None

    def layout(self, sources: Sequence[Source]) -> Layout:
        """The columns of the rows that :meth:`score` yields for these sources."""
        experts = self.artifact.settings.experts if isinstance(self.artifact, Panel) else ()
        return Layout(any(source.kind == "list" for source in sources), experts)

    def limits(self) -> list[str]:
        """The limits of the artifact's scores, as sentences."""
        calibration = self.artifact.calibration
        if calibration is None or self.level is None:
            sentence = (
                "The artifact holds no calibration: its confidences rank these images, but nothing says how low an ID "
                "image may score, so there are no p-values and nothing is flagged; run `openood calibrate`."
            )
            return [sentence]
        sentences = []
        if conformal.rank(calibration.n, self.level) < 1:
            sentences.append(
                f"Nothing can be flagged at level {self.level:g}: with {calibration.n:,} calibration inputs no p-value "
                f"is below {1 / (calibration.n + 1):.2g}; calibrate on more, or raise the level."
            )
        if isinstance(self.artifact, Panel):
            lacking = [n for n in self.artifact.settings.experts if n not in self.artifact.expert_calibrations]
            if lacking:
                sentences.append(
                    f"The experts {', '.join(lacking)} have no p-values in this artifact, which an earlier release "
                    "calibrated; run `openood calibrate` again."
                )
        return sentences

    def score(self, sources: Sequence[Source]) -> Iterator[ImageScore]:
        """Yields one row per image, in order. If an image cannot be scored, its row has the reason.

        Raises:
            HeadError: the network has no usable head. SettingsError: its head is not the artifact's.
            DataError: a list cannot be read.
        """
        for batch in self._passes.run(self._work, batches(sources, self.batch_size)):
            yield from self._score_batch(batch)

    def explain(self, row: ImageScore) -> Explanation | PanelExplanation | None:
        """Explains the confidence of a row; returns None if it has none, or if its features were not kept."""
        return self.artifact.explain(row.features[None])[0] if row.features is not None else None

    def _score_batch(self, batch: ForwardedItems) -> list[ImageScore]:
        rows = {place: self._failed(batch.items[place], reason) for place, reason in batch.reasons.items()}
        for places, features in batch.groups:
            items = [batch.items[place] for place in places]
            rows |= zip(places, self._score_rows(items, torch.tensor(features)), strict=True)
        return [rows[place] for place in range(len(batch.items))]

    def _score_rows(self, items: Sequence[Item], features: Tensor) -> list[ImageScore]:
        finite = torch.isfinite(features).all(dim=1)
        scored = iter(self._score_features([i for i, f in zip(items, finite, strict=True) if f], features[finite]))
        reason = "the network gives NaN or Inf for it: check the checkpoint and the preprocessing"
        return [next(scored) if f else self._failed(item, reason) for item, f in zip(items, finite, strict=True)]

    def _score_features(self, items: Sequence[Item], features: Tensor) -> list[ImageScore]:
        """Yields the rows of features (N, D) float32, all finite."""
        artifact, names = self.artifact, self.artifact.provenance.class_names
        each: Tensor | None = None
        if isinstance(artifact, Panel):
            classes, confidence, each = artifact.predict_experts(features)
        else:
            classes, confidence = artifact.predict(features)
        chances = p_values_of(artifact.calibration, confidence)
        experts = artifact.settings.experts if isinstance(artifact, Panel) else ()
        by_expert = artifact.expert_p_values(each) if isinstance(artifact, Panel) and each is not None else {}
        rows = []
        for n, (item, label, value) in enumerate(zip(items, classes.tolist(), confidence.numpy(), strict=True)):
            if not math.isfinite(value):
                rows.append(self._failed(item, "its features are so large that the head gives no finite confidence"))
                continue
            scores = dict(zip(experts, map(_number, each[n].numpy()), strict=True)) if each is not None else None
            rows.append(
                ImageScore(
                    path=item.path,
                    label=item.label,
                    predicted=label,
                    class_name=names[label] if names else "",
                    confidence=_number(value),
                    p_value=chances[n],
                    flagged=None if self._threshold is None else bool(value < self._threshold),
                    experts=scores,
                    p_values={name: found[n] for name, found in by_expert.items()} if scores else None,
                    lowest_expert=min(scores, key=scores.__getitem__) if scores else "",
                    features=features[n].clone() if self._keep else None,
                )
            )
        return rows

    @staticmethod
    def _failed(item: Item, reason: str) -> ImageScore:
        return ImageScore(item.path, item.label, error=reason)

    def _refuse_other_network(self) -> None:
        known = self.artifact.provenance.model_sha256
        if known and known != (found := fingerprint(self.model)):
            raise SettingsError(
                f"the artifact was fitted on another network (weights {known[:12]}, given {found[:12]}): score with "
                "the checkpoint of the fit, or fit on this one"
            )


def _number(value: np.floating[Any]) -> float:
    """The shortest number that reads as this float32: 0.1 and not 0.10000000149."""
    return float(str(value))
