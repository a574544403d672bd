"""Methods based on the density of the training features at a feature. Scores are pytorch-ood's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from line_plugin.benchmark.methods.base import Method, number
from line_plugin.errors import FitError

_MOST_BYTES = 8 << 30  # bytes of covariances


class Gmm(Method):
    """One Gaussian for each class, each with its own covariance; the score is the log-likelihood.

    This is pytorch-ood's method of that name. OpenOOD's ``gmm`` is different: it fits mixtures to several layers.
    """

    name = "gmm"
    about = "likelihood under a Gaussian for each class (classical)"
    needs = "features"
    state = "K x D x D + K x D + 2 K"
    source = "pytorch-ood"

    defaults = {"reg": 1e-6}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import GMM

        k, d = self.data.weight.shape
        if k * d * d * 8 > _MOST_BYTES:
            raise FitError(
                f"gmm keeps a covariance for each class: {k * d * d * 8 / 1e9:.0f} GB for {k} classes and {d} "
                f"features, expected at most {_MOST_BYTES / 1e9:.0f} GB. Take mds, whose classes share one"
            )
        self._detector: Any = GMM(None, reg=number(self.settings, "reg"))
        try:
            self._detector.fit_features(self.data.train.features, self.data.train_labels)
        except ValueError as error:
            raise FitError(f"gmm cannot be fitted: {error}") from error
        self._rows = max(1, (256 << 20) // (k * d * 8))  # a chunk's (K, B, D) stays within 256 MB

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        parts = [self._detector.predict_features(rows) for rows in features.split(self._rows)]  # type: ignore[no-untyped-call]
        return -torch.cat(parts)


class Pnml(Method):
    """The regret against the best learner in hindsight. The head gets features of unit length, as in pytorch-ood.

    OpenOOD does not have it.
    """

    name = "pnml"
    about = "predictive normalised maximum likelihood of the last layer (NeurIPS 2021)"
    needs = "features, logits"
    state = "D x D"
    source = "pytorch-ood"

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import PNML

        self._detector: Any = PNML(None, self.data.head())
        # Every training image counts, labelled or not, as for the other methods that read no labels.
        features = self.data.train.features
        self._detector.fit_features(features, torch.zeros(len(features), dtype=torch.int64))

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        scores: Tensor = self._detector.predict_features(features)
        return -scores
