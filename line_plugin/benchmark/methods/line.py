"""LINe as a method of the benchmark. It is the same object that is saved, loaded and deployed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from line_plugin.benchmark.methods.base import FitData, Method, Setting, number
from line_plugin.errors import SettingsError
from line_plugin.math.percentiles import clip_at_percentile
from line_plugin.method.auto import AUTO, CHOICE_KEY, describe_choice
from line_plugin.method.line import LINe

LEAST_CUT, MOST_CUT = 0.001, 0.25  # a clip that was meant for these activations cuts a share of them in this range


def _optional(settings: dict[str, Setting], key: str) -> float | None:
    value = settings[key]
    if isinstance(value, str):
        raise SettingsError(
            f"{key}={value} given, expected a number or off; clip=auto chooses the clip from the training images and "
            "brings its own masks"
        )
    return None if value is None else number(settings, key)


class LineMethod(Method):
    """LINe. If no settings are given, the clip is chosen from the training features (:meth:`LINe.auto`).

    If ``clip_percentile`` is given, ``clip`` becomes that percentile of the ID validation features.
    """

    name = "line"
    about = "LINe: important neurons and weights of the predicted class (CVPR 2023)"
    needs = "features"
    state = "K x D + 2 K"
    source = "own"

    defaults = {"p_w": None, "p_a": 10, "clip": AUTO, "clip_percentile": None}
    sweep = {"p_w": (10, 90), "p_a": (10, 90), "clip_percentile": (80, 90)}

    @classmethod
    def merge(cls, base: Mapping[str, Setting], given: Mapping[str, Setting]) -> dict[str, Setting]:
        """``clip=auto`` stands for the whole rule, including its masks.

        Any other clip replaces a ``clip_percentile``.
        """
        if given.get("clip") == AUTO:
            base = {"clip": AUTO}
        elif "clip" in given:
            base = {k: v for k, v in base.items() if k != "clip_percentile"}
        return {**base, **given}

    def __init__(self) -> None:
        super().__init__()
        self.line = LINe(None, None, None)

    def fit(self, data: FitData) -> None:
        """Compute the class sums once. Settings only change the masks."""
        self._plain: LINe | None = None
        self._chosen: LINe | None = None
        super().fit(data)

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        percentile = _optional(self.settings, "clip_percentile")
        if percentile is not None:  # so that the table shows the clip that was used
            self.settings["clip"] = clip_at_percentile(self.data.val.features, percentile)
        elif self.settings["clip"] == AUTO:
            self.settings["clip"] = self._choosing().settings.clip
        p_w, p_a, clip = (_optional(self.settings, key) for key in ("p_w", "p_a", "clip"))
        chosen = self._chosen is not None and percentile is None and clip == self._chosen.settings.clip
        self.line = (self._choosing() if chosen else self._given()).with_settings(p_w, p_a, clip)

    def _choosing(self) -> LINe:
        """The fit in which the clip was chosen."""
        if self._chosen is None:
            self._chosen = self._fit(LINe.auto())
        return self._chosen

    def _given(self) -> LINe:
        """The fit with given settings. Its artifact records no choice."""
        if self._plain is None:
            self._plain = self._fit(LINe(None, None, None))
        return self._plain

    def _fit(self, line: LINe) -> LINe:
        data = self.data
        line.fit_features(
            data.train.features,
            data.train_labels,
            data.weight,
            data.bias,
            class_names=data.provenance.class_names,
        )
        line.provenance = replace(data.provenance, extra={**data.provenance.extra, **line.provenance.extra})
        return line

    def remarks(self) -> list[str]:
        """See :meth:`Method.remarks`."""
        choice = self.line.choice
        if choice is None:
            return [*super().remarks(), *self._doubts()]
        return describe_choice(self.line.settings, choice, self.name, self.origin)

    def _doubts(self) -> list[str]:
        """Warns if published settings seem to belong to other weights, since a clip is in units of the features."""
        clip = self.line.settings.clip
        if not self.origin or clip is None or not self.line.fitted:
            return []
        features = self.data.train.features
        cut = float((features[:: max(1, len(features) // 5000)] > clip).float().mean())
        if LEAST_CUT <= cut <= MOST_CUT:
            return []
        doubt = (
            f"{self.name}: the published clip {clip:g} cuts {cut:.2%} of the training activations, which suggests that "
            f"these weights were trained otherwise than the paper's: compare with --set {self.name}.clip=auto."
        )
        return [doubt]

    def record(self) -> dict[str, Any]:
        """See :meth:`Method.record`."""
        return {k: v for k, v in self.line.provenance.extra.items() if k == CHOICE_KEY}

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        return self.line.score(features)


class LinePaper(LineMethod):
    """LINe with the paper's settings for the benchmark's ID data, or else for CIFAR-10, on any network."""

    name = "line-paper"
    about = "LINe under the settings that its paper gives for the ID data, whatever the network (CVPR 2023)"
    needs = "features"
    state = "K x D + 2 K"
    source = "own"

    defaults = {"p_w": 90, "p_a": 90, "clip": 1.0, "clip_percentile": None}
    sweep = {}
