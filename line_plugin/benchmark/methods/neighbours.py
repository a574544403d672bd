"""Methods that keep training features and look for the nearest, from pytorch-ood."""

from __future__ import annotations

import torch
from torch import Tensor

from line_plugin.benchmark.methods.base import FitData, Method, count, number
from line_plugin.errors import SettingsError


class Knn(Method):
    """The distance of the unit-length feature to the k-th nearest of the training features."""

    name = "knn"
    about = "distance to the k-th nearest training feature (ICML 2022)"
    needs = "features, bank"
    state = "N x D"
    source = "pytorch-ood"

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


class NNGuide(Method):
    """The energy, guided by the K most similar features of a bank of training features, each scaled by its own energy.

    OpenOOD's bank is the beginning of the training list: whole batches until their rows exceed the share ``alpha``.
    ``batch`` is the size of such a batch. If the list is in the order of its classes, the bank has few classes, here as
    in OpenOOD.
    """

    name = "nnguide"
    about = "energy guided by the nearest training features (ICCV 2023)"
    needs = "features, logits, bank"
    state = "max(alpha N, batch) x D"
    source = "pytorch-ood"

    defaults = {"K": 100, "alpha": 0.01, "batch": 200}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import NNGuide as Detector

        k, batch = count(self.settings, "K"), count(self.settings, "batch")
        alpha, features = number(self.settings, "alpha"), self.data.train.features
        if not 0 <= alpha <= 1:
            raise SettingsError(f"nnguide alpha={alpha:g} given, expected a share from 0 to 1")
        bank = features[: (int(len(features) * alpha) // batch + 1) * batch]
        if k > len(bank):
            raise SettingsError(
                f"nnguide K={k} given, expected 1 to {len(bank)}, the images in its bank: lower K or raise alpha"
            )
        self._detector = Detector(None, self.data.head(), k=k)
        self._detector.fit_features(bank, torch.zeros(len(bank), dtype=torch.int64))

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        scores: Tensor = self._detector.predict_features(features)
        return -scores
