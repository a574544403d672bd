"""

..  autoclass:: pytorch_ood.detector.LINe
    :members:
    :inherited-members:
    :show-inheritance:

"""

import logging
from typing import Callable, Optional

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import Self

from ..api import (
    DetectorInfo,
    FeaturesDetector,
    ModelNotSetException,
    Paper,
    RequiresFittingException,
    Task,
)
from ..utils import extract_features, is_known
from .energy import EnergyBased

log = logging.getLogger(__name__)


class LINe(FeaturesDetector):
    """
    Implements LINe from the paper
    *LINe: Out-of-Distribution Detection by Leveraging Important Neurons*.

    Activations are clipped at ``clip``. For the class :math:`c` that the clipped activations predict, only
    neurons and weights with a high contribution to that class are kept, and the energy of the remaining logits is
    the outlier score. As the head is linear, the mean contribution of neuron :math:`j` to class :math:`c` is
    :math:`C_{cj} = w_{cj} \\bar{a}_{cj}`, where :math:`\\bar{a}_{cj}` is its mean activation over the
    training samples of the class, so that :meth:`fit` does not need gradients.

    Neurons are kept if :math:`C_{cj}` is above the quantile ``p_a`` of :math:`C_c`, and weights if
    :math:`|C_{cj}| w_{kj}` is above the quantile ``p_w`` over all :math:`k, j`. Hyperparameters can be
    changed after fitting.
    """

    info = DetectorInfo(
        paper=Paper(
            title="LINe: Out-of-Distribution Detection by Leveraging Important Neurons",
            venue="CVPR",
            year=2023,
            url="https://arxiv.org/abs/2303.13995",
            code="https://github.com/YongHyun-Ahn/LINe-Out-of-Distribution-Detection-by-Leveraging-Important-Neurons",
        ),
        tasks={Task.CLASSIFICATION},
        # The library also asks for ``ai_coded`` here: the person who opens the pull request states it.
    )

    requires_fit = True

    #: Default search space for :class:`pytorch_ood.utils.GridSearch`: the fractions of
    #: the paper, and clipping thresholds, whose unit is that of the features.
    hyperparameter_space = {
        "p_w": [0.1, 0.5, 0.9],
        "p_a": [0.1, 0.5, 0.9],
        "clip": [0.5, 0.8, 1.0, 1.5, 2.0],
    }

    def __init__(
        self,
        encoder: Optional[Callable[[Tensor], Tensor]],
        w: Tensor,
        b: Tensor,
        p_w: float = 0.9,
        p_a: float = 0.9,
        clip: Optional[float] = 1.0,
    ):
        """
        :param encoder: feature encoder. Can be ``None`` when using
            ``fit_features(...)`` and ``predict_features(...)`` directly.
        :param w: weights of last layer, shape :math:`C \\times D`
        :param b: bias of last layer, shape :math:`C`
        :param p_w: fraction in :math:`[0, 1]` of weights that are masked out for each class
        :param p_a: fraction in :math:`[0, 1]` of neurons that are masked out for each class
        :param clip: clipping threshold for activations, ``None`` to disable clipping
        """
        self.encoder = encoder
        self.weight = w.detach()
        self.bias = b.detach()
        self.p_w = p_w
        self.p_a = p_a
        self.clip = clip
        self.contribution = None  # C x D, float64
        self._masks = (None, None)  # the hyperparameters they belong to, and what they keep

    def fit(self, data_loader: DataLoader) -> Self:
        """
        :param data_loader: data loader to extract features from. OOD inputs will be ignored.
        :return: the fitted detector
        """
        if self.encoder is None:
            raise ModelNotSetException

        device = self.device
        if device is None:
            device = "cpu"
            log.warning(f"No device set. Will use '{device}'.")
            self.to(device)

        z, y = extract_features(data_loader, self.encoder, device=device)
        return self.fit_features(z, y)

    def fit_features(self, z: Tensor, y: Tensor) -> Self:
        """
        :param z: features of shape :math:`N \\times D`
        :param y: labels of shape :math:`N`. Samples with labels below zero are ignored.
        :return: the fitted detector
        :raises ValueError: if a class has no sample
        """
        known = is_known(y)
        z, y = z[known].detach().cpu().double(), y[known].long().cpu()
        weight = self.weight.cpu().double()
        sums = torch.zeros_like(weight).index_add_(0, y, z)
        counts = torch.bincount(y, minlength=len(weight))
        if (counts == 0).any():
            raise ValueError("LINe requires at least one sample of every class")
        self.contribution = weight * (sums / counts[:, None])
        self._masks = (None, None)
        return self

    def _kept(self):
        """Kept neurons (C x D) and the thresholds of the weights (C), on the CPU."""
        setting = (self.p_w, self.p_a)
        if self._masks[0] != setting:
            contribution = self.contribution.cpu().numpy()
            weight = self.weight.cpu().double().numpy()
            cut = np.percentile(contribution, 100 * self.p_a, axis=1, keepdims=True)
            thresholds = [np.percentile(m * weight, 100 * self.p_w) for m in np.abs(contribution)]
            self._masks = (setting, (torch.from_numpy(contribution > cut), thresholds))
        return self._masks[1]

    def predict(self, x: Tensor) -> Tensor:
        """
        :param x: input, will be passed through ``encoder``
        :return: outlier scores of shape :math:`B`
        """
        if self.encoder is None:
            raise ModelNotSetException
        return self.predict_features(self.encoder(x))

    @torch.no_grad()
    def predict_features(self, x: Tensor) -> Tensor:
        """
        :param x: features of shape :math:`B \\times D`
        :return: outlier scores of shape :math:`B`
        """
        if self.contribution is None:
            raise RequiresFittingException()

        x = x.clip(max=self.clip) if self.clip is not None else x
        weight, bias = self.weight.to(x.device), self.bias.to(x.device)
        neurons, thresholds = self._kept()
        classes = (x @ weight.T + bias).argmax(dim=1)
        scores = torch.empty_like(x[:, 0])
        for c in classes.unique().tolist():
            magnitude = self.contribution[c].abs().to(x.device)
            keep = (magnitude * weight.double() > thresholds[c]) & neurons[c].to(x.device)
            logits = x[classes == c] @ (weight * keep).T + bias
            scores[classes == c] = EnergyBased.score(logits)
        return scores
