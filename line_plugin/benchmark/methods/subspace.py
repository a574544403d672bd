"""Methods that compare features with the training features' geometry, from pytorch-ood."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from line_plugin.benchmark.methods.base import Method, number
from line_plugin.errors import FitError


class _Fitted(Method):
    _detector: Any

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        scores: Tensor = self._detector.predict_features(features)
        return -scores

    def _fit(self) -> None:
        labels = self.data.train_labels
        try:
            self._detector.fit_features(self.data.train.features[labels >= 0], labels[labels >= 0])
        except (AssertionError, ValueError) as error:
            raise FitError(
                f"{type(self).__name__.lower()} cannot be fitted: {error or 'a class has no image'}"
            ) from error


class Vim(_Fitted):
    """Virtual-logit matching. A ``dim`` that is not below the width becomes half of it."""

    name = "vim"
    about = "virtual logit from the residual subspace (CVPR 2022)"
    needs = "features, logits"
    state = "D x (D - dim) + D"
    source = "pytorch-ood"

    defaults = {"dim": 256}
    sweep = {"dim": (256, 1000)}
    searched = True

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import ViM

        width = self.data.weight.shape[1]
        dim = int(number(self.settings, "dim"))
        dim = dim if dim < width else width // 2
        self.settings["dim"] = dim
        self._detector = ViM(None, d=dim, w=self.data.weight, b=self.data.bias)
        self._fit()


class She(_Fitted):
    """Inner product with the mean feature of correctly classified images of the predicted class."""

    name = "she"
    about = "simplified Hopfield energy (ICLR 2023)"
    needs = "features"
    state = "K x D"
    source = "pytorch-ood"

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import SHE

        self._detector = SHE(None, self.data.logits)
        self._fit()
