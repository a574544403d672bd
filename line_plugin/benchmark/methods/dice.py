"""DICE with pytorch-ood's mask, computed as one matrix product.

pytorch-ood scores by broadcasting a (B, K, D) tensor, as OpenOOD does. The masked head is linear, so one matrix product
gives the same logits in a small part of the time and memory.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from line_plugin.benchmark.methods.base import Method, fraction


class Dice(Method):
    """Keeps weights whose mean contribution lies above a percentile.

    The sweep recomputes the mask (OpenOOD's does not).
    """

    name = "dice"
    about = "weights sparsified by mean contribution (ECCV 2022)"
    needs = "features"
    state = "K x D"
    source = "pytorch-ood"

    defaults = {"p": 90}
    sweep = {"p": (10, 30, 50, 70, 90)}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import DICE

        data = self.data
        detector = DICE(None, data.weight, data.bias, p=fraction(self.settings, "p"))
        # OpenOOD averages over every training image, labelled or not.
        detector.fit_features(data.train.features, torch.zeros(len(data.train.features), dtype=torch.int64))
        self._weight: Tensor = detector.masked_w

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        from pytorch_ood.detector import EnergyBased

        scores: Tensor = EnergyBased.score(functional.linear(features, self._weight, self.data.bias))
        return -scores
