"""Methods that use the direction of a feature from the mean of the training features. Scores are pytorch-ood's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from line_plugin.benchmark.methods.base import FitData, Method, number, switch


class _Centred(Method):
    searched = True
    _detector: Any

    def fit(self, data: FitData) -> None:
        """The mean of every training image, labelled or not, as in OpenOOD."""
        self._mean = data.train.features.mean(dim=0)
        super().fit(data)

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        scores: Tensor = self._detector.predict_features(features)
        return -scores


class Fdbd(_Centred):
    """The mean distance to the decision boundaries, divided by the distance to the training mean.

    OpenOOD also tries the feature's own length as the divisor (``distance_as_normalizer`` false), which is the distance
    to a mean of zero. Scores are OpenOOD's divided by K - 1, which changes no order.
    """

    name = "fdbd"
    about = "distance to the decision boundaries by closed form (ICML 2024)"
    needs = "features, logits"
    state = "K x K + D"
    source = "pytorch-ood"

    defaults = {"distance_as_normalizer": True}
    sweep = {"distance_as_normalizer": (True, False)}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import fDBD

        self._detector = _without_cube(fDBD)(None, self.data.head())
        centre = self._mean if switch(self.settings, "distance_as_normalizer") else torch.zeros_like(self._mean)
        self._detector.fit_features(centre[None])


def _without_cube(base: Any) -> Any:
    """pytorch-ood's fDBD without its (K, K, D) tensor: 8 GB for an ImageNet head."""

    class Rowwise(base):  # type: ignore[misc]
        def _precompute_denom_matrix(self) -> None:
            weight = self.head.weight.data
            lengths = torch.stack([(weight - row).norm(dim=1) for row in weight])
            self._denom_matrix = lengths.fill_diagonal_(1.0)

    return Rowwise


class Nci(_Centred):
    """The predicted class's weight against the direction from the training mean, and the feature's l1 length."""

    name = "nci"
    about = "neural collapse: angle to the predicted class's weight, and length (CVPR 2025)"
    needs = "features, logits"
    state = "D"
    source = "pytorch-ood"

    defaults = {"alpha": 0.0001}
    sweep = {"alpha": (0.0001, 0.001, 0.01, 0.1)}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import NCI

        self._detector = NCI(None, self.data.head(), alpha=number(self.settings, "alpha"))
        self._detector.fit_features(self._mean[None])
