"""Methods that shape the penultimate activations and take the energy of the head, from pytorch-ood.

pytorch-ood shapes feature maps; pooled features (N, D) go in as (N, D, 1, 1): OpenOOD shapes them there too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from line_plugin.benchmark.methods.base import Method, fraction


class _Shaping(Method):
    searched = True
    _detector: Any

    def _head(self, maps: Tensor) -> Tensor:
        return self.data.logits(maps.flatten(1))

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        scores: Tensor = self._detector.predict_feature_maps(features[:, :, None, None])
        return -scores


class React(_Shaping):
    """ReAct, its threshold a percentile of the ID validation features as in OpenOOD."""

    name = "react"
    about = "activations clipped at a percentile of ID validation features (NeurIPS 2021)"

    defaults = {"percentile": 90}
    sweep = {"percentile": (85, 90, 95, 99)}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import ReAct

        self._detector = ReAct(None, self._head, percentile=fraction(self.settings, "percentile"))
        features = self.data.val.features
        # OpenOOD takes every validation image, labelled or not.
        self._detector.fit_feature_maps(features, torch.zeros(len(features), dtype=torch.int64))


class Ash(_Shaping):
    """ASH-B on pooled features, OpenOOD's variant."""

    name = "ash"
    about = "ASH-B: pruned and binarised activations (ICLR 2023)"

    defaults = {"percentile": 90}
    sweep = {"percentile": (65, 70, 75, 80, 85, 90, 95)}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import ASH

        self._detector = ASH(None, self._head, variant="ash-b", percentile=fraction(self.settings, "percentile"))


class Scale(_Shaping):
    """SCALE on pooled features."""

    name = "scale"
    about = "activations scaled by their top share (ICLR 2024)"

    defaults = {"percentile": 85}
    sweep = {"percentile": (65, 70, 75, 80, 85, 90, 95)}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import SCALE

        self._detector = SCALE(None, self._head, percentile=fraction(self.settings, "percentile"))
