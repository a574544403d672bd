"""Deep nearest neighbours, from pytorch-ood."""

from __future__ import annotations

import torch
from torch import Tensor

from line_plugin.benchmark.methods.base import FitData, Method, number
from line_plugin.errors import SettingsError


class Knn(Method):
    """Distance of the unit-length feature to its k-th nearest among the training features."""

    name = "knn"
    about = "distance to the k-th nearest training feature (ICML 2022)"

    defaults = {"K": 50}
    sweep = {"K": (50, 100, 200, 500, 1000)}
    searched = True

    def fit(self, data: FitData) -> None:
        """Index the training features once; K only changes which neighbour is read."""
        from pytorch_ood.detector import KNN

        self._detector = KNN(None, k=1)
        # Every training image counts, labelled or not, as in OpenOOD.
        self._detector.fit_features(data.train.features, torch.zeros(len(data.train.features), dtype=torch.int64))
        super().fit(data)

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        k, n = int(number(self.settings, "K")), len(self.data.train.features)
        if not 1 <= k <= n:
            raise SettingsError(f"knn K={k} given, expected 1 to {n}, the number of training images")
        self._detector.k = k

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        scores: Tensor = self._detector.predict_features(features)
        return -scores
