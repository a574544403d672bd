"""Methods that need a gradient of the head's weights, one image at a time, from pytorch-ood."""

from __future__ import annotations

from torch import Tensor

from line_plugin.benchmark.methods.base import Method


class GradNorm(Method):
    """The l1 length of the gradient of the cross-entropy against uniform labels, for the head's weights alone.

    Scores are OpenOOD's divided by K, which changes no order.
    """

    name = "gradnorm"
    about = "length of the gradient towards uniform labels (NeurIPS 2021)"
    needs = "features, logits, gradients"
    state = "0"
    source = "pytorch-ood"

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        from pytorch_ood.detector import GradNorm as Detector

        scores: Tensor = Detector(self.data.head(), param_filter=lambda name: name == "weight").predict(features)
        return -scores
