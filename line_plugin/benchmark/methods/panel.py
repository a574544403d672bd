"""The panel as a method of the benchmark. It is the same object that is saved, loaded and deployed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from line_plugin.benchmark.methods.base import Method, number
from line_plugin.method.auto import CHOICE_KEY
from line_plugin.method.panel import Panel
from line_plugin.method.panel_fit import EXPERTS, split_names


class PanelMethod(Method):
    """The sum of LINe, angle, prototypes and virtual logit. All of them are fitted on ID training features.

    ``experts`` names them with a plus in between, such as ``line+angle``.
    """

    name = "panel"
    about = "LINe and three experts that err in other ways, in one sum (own, 2026)"
    needs = "features, logits"
    state = "(1 + prototypes) K x D + 256 x D"
    source = "own"

    defaults = {"experts": "+".join(EXPERTS), "prototypes": 10}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        data, names = self.data, split_names(str(self.settings["experts"]))
        self.panel = Panel(names, int(number(self.settings, "prototypes")))
        class_names = data.provenance.class_names
        self.panel.fit_features(data.train.features, data.train_labels, data.weight, data.bias, class_names=class_names)
        found: Mapping[str, Any] = self.panel.provenance.extra
        self.panel.provenance = replace(data.provenance, extra={**data.provenance.extra, **found})

    def remarks(self) -> list[str]:
        """See :meth:`Method.remarks`."""
        choice = self.panel.line.choice
        return [f"{self.name}: {sentence}" for sentence in choice.limits()] if choice else []

    def record(self) -> dict[str, Any]:
        """See :meth:`Method.record`."""
        return {k: v for k, v in self.panel.provenance.extra.items() if k == CHOICE_KEY}

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        return self.panel.score(features)
