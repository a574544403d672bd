"""Methods that need nothing but logits, from pytorch-ood."""

from __future__ import annotations

from torch import Tensor

from line_plugin.benchmark.methods.base import Method, number


class Msp(Method):
    """Maximum softmax probability."""

    name = "msp"
    about = "maximum softmax probability (ICLR 2017)"

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        from pytorch_ood.detector import MaxSoftmax

        scores: Tensor = MaxSoftmax.score(self.data.logits(features))
        return -scores


class Mls(Method):
    """Maximum logit."""

    name = "mls"
    about = "maximum logit (ICML 2022)"

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        from pytorch_ood.detector import MaxLogit

        scores: Tensor = MaxLogit.score(self.data.logits(features))
        return -scores


class Ebo(Method):
    """Energy."""

    name = "ebo"
    about = "energy (NeurIPS 2020)"

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
    """KL matching, templates from the ID training set as in OpenOOD."""

    name = "klm"
    about = "KL matching to class-typical posteriors (ICML 2022)"

    def refit(self) -> None:
        """See :meth:`Method.refit`."""
        from pytorch_ood.detector import KLMatching

        self._detector = KLMatching(None)
        self._detector.fit_logits(self.data.logits(self.data.train.features), self.data.train_labels)

    def score(self, features: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        scores: Tensor = self._detector.predict_logits(self.data.logits(features))
        return -scores.detach()
