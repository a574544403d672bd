"""LINe in the runner: the same object that is saved, loaded and deployed."""

from __future__ import annotations

from torch import Tensor

from line_plugin.benchmark.methods.base import FitData, Method, Setting, number
from line_plugin.math.percentiles import clip_at_percentile
from line_plugin.method.line import LINe


def _optional(settings: dict[str, Setting], key: str) -> float | None:
    return None if settings[key] is None else number(settings, key)


class LineMethod(Method):
    """LINe. If ``clip_percentile`` is given, ``clip`` becomes that percentile of the ID validation features."""

    name = "line"
    about = "LINe: important neurons and weights of the predicted class (CVPR 2023)"
    needs = "features"
    state = "K x D + 2 K"
    source = "own"

    defaults = {"p_w": 90, "p_a": 90, "clip": 1.0, "clip_percentile": None}
    sweep = {"p_w": (10, 90), "p_a": (10, 90), "clip_percentile": (80, 90)}

    def fit(self, data: FitData) -> None:
        """Class sums once; settings change masks only."""
        self.line = LINe(None, None, None)
        names = data.provenance.class_names
        self.line.fit_features(data.train.features, data.train_labels, data.weight, data.bias, class_names=names)
        self.line.provenance = data.provenance
        super().fit(data)

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        percentile = _optional(self.settings, "clip_percentile")
        if percentile is not None:  # the table then shows the clip that was used
            self.settings["clip"] = clip_at_percentile(self.data.val.features, percentile)
        p_w, p_a, clip = (_optional(self.settings, key) for key in ("p_w", "p_a", "clip"))
        self.line = self.line.with_settings(p_w, p_a, clip)

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        return self.line.score(features)
