"""Methods that need nothing but logits, from pytorch-ood."""

from __future__ import annotations

import torch
from torch import Tensor

from line_plugin.benchmark.methods.base import Method, count, number
from line_plugin.errors import FitError


class Msp(Method):
    """Maximum softmax probability."""

    name = "msp"
    about = "maximum softmax probability (ICLR 2017)"
    needs = "logits"
    state = "0"
    source = "pytorch-ood"

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        from pytorch_ood.detector import MaxSoftmax

        scores: Tensor = MaxSoftmax.score(self.data.logits(features))
        return -scores


class Mls(Method):
    """Maximum logit."""

    name = "mls"
    about = "maximum logit (ICML 2022)"
    needs = "logits"
    state = "0"
    source = "pytorch-ood"

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        from pytorch_ood.detector import MaxLogit

        scores: Tensor = MaxLogit.score(self.data.logits(features))
        return -scores


class Ebo(Method):
    """Energy."""

    name = "ebo"
    about = "energy (NeurIPS 2020)"
    needs = "logits"
    state = "0"
    source = "pytorch-ood"

    defaults = {"temperature": 1}
    sweep = {"temperature": (1,)}

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        from pytorch_ood.detector import EnergyBased

        scores: Tensor = EnergyBased.score(self.data.logits(features), t=number(self.settings, "temperature"))
        return -scores


class Gen(Method):
    """Generalised entropy over the M most probable classes."""

    name = "gen"
    about = "generalised entropy (CVPR 2023)"
    needs = "logits"
    state = "0"
    source = "pytorch-ood"

    defaults = {"gamma": 0.1, "M": 100}
    sweep = {"gamma": (0.01, 0.1, 0.5, 1, 2, 5, 10), "M": (10, 50, 100, 200, 500, 1000)}
    searched = True

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        from pytorch_ood.detector import GEN

        gamma, top = number(self.settings, "gamma"), int(number(self.settings, "M"))
        scores: Tensor = GEN.score(self.data.logits(features), gamma=gamma, M=top)
        return -scores


class Klm(Method):
    """KL matching.

    Its templates are the mean posteriors of the ID validation images by predicted class, as in OpenOOD.
    """

    name = "klm"
    about = "KL matching to class-typical posteriors (ICML 2022)"
    needs = "logits"
    state = "K x K"
    source = "pytorch-ood"

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import KLMatching

        self._detector = KLMatching(None)
        self._detector.fit_logits(self.data.logits(self.data.val.features))

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        scores: Tensor = self._detector.predict_logits(self.data.logits(features))
        return -scores.detach()


class Entropy(Method):
    """The entropy of the posterior, negated. OpenOOD does not have it."""

    name = "entropy"
    about = "entropy of the posterior (ICCV 2021)"
    needs = "logits"
    state = "0"
    source = "pytorch-ood"

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        from pytorch_ood.detector import Entropy as Detector

        scores: Tensor = Detector.score(self.data.logits(features))
        return -scores


class TempScaling(Method):
    """Maximum softmax probability at the temperature that fits the ID validation labels best.

    It takes 50 steps of L-BFGS from a temperature of 1.5, as in OpenOOD; pytorch-ood starts from 1.
    """

    name = "temp_scaling"
    about = "maximum softmax probability at a fitted temperature (ICML 2017)"
    needs = "logits"
    state = "1"
    source = "pytorch-ood"

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import TemperatureScaling

        val = self.data.val
        if not (val.labels >= 0).any():
            raise FitError("temp_scaling needs labels of the ID validation images; none has one")
        self._detector = TemperatureScaling(None)
        with torch.no_grad():
            self._detector.t.fill_(1.5)
        with torch.enable_grad():
            self._detector.fit_logits(self.data.logits(val.features), torch.from_numpy(val.labels))

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        scores: Tensor = self._detector.predict_logits(self.data.logits(features))
        return -scores.detach()


class OpenMax(Method):
    """The probability of an unknown class, from the tails of the distances to the class means of logits.

    It has OpenOOD's settings and, as in OpenOOD, is fitted on the images that the network classifies correctly. The
    tails are pytorch-ood's (``scipy.stats.exponweib``); OpenOOD's come from ``libmr``, which no longer builds, so
    parity was not measured.
    """

    name = "openmax"
    about = "extreme values of the distance to the class means of logits (CVPR 2016)"
    needs = "logits"
    state = "K x K + 3 K"
    source = "pytorch-ood"

    defaults = {"tailsize": 20, "alpha": 3}

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import OpenMax as Detector

        logits, labels = self.data.logits(self.data.train.features), self.data.train_labels
        right = logits.argmax(dim=1) == labels
        missing = sorted(set(range(logits.shape[1])) - set(labels[right].tolist()))
        if missing:
            raise FitError(
                f"openmax needs an image of every class that the network has right; class {missing[0]} has none"
            )
        settings = self.settings
        self._detector = Detector(None, tailsize=count(settings, "tailsize"), alpha=count(settings, "alpha"))
        self._detector.fit_logits(logits[right], labels[right])

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        logits = self.data.logits(features)
        # pytorch-ood measures distances to the classes that its batch predicts; one row of each class makes that all
        # classes.
        every_class = torch.eye(logits.shape[1], dtype=logits.dtype)
        scores: Tensor = self._detector.predict_logits(torch.cat([logits, every_class]))
        return -scores[: len(logits)]
