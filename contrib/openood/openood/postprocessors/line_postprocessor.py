from typing import Any

import numpy as np
import torch
import torch.nn as nn
from tqdm import tqdm

from .base_postprocessor import BasePostprocessor


class LINePostprocessor(BasePostprocessor):
    """LINe: Out-of-Distribution Detection by Leveraging Important Neurons
    (CVPR 2023, https://arxiv.org/abs/2303.13995).

    Activations are clipped at `clip`; then, for the class that the clipped
    activations predict, only the neurons and the weights above a percentile
    of their mean contribution to that class are kept. The score is the
    energy of the logits that remain.

    The head is linear, so the contribution of neuron j to class c is
    `w[c, j]` times the mean activation over the training images of class c:
    one pass without gradients, and K x D sums are all that is kept.
    """
    def __init__(self, config):
        super(LINePostprocessor, self).__init__(config)
        self.args = self.config.postprocessor.postprocessor_args
        # percentiles from 0 to 100; None turns a mask, or the clipping, off
        self.p_w = self.args.p_w
        self.p_a = self.args.p_a
        self.clip = self.args.clip
        # swept instead of `clip`: a percentile of the ID validation features
        self.clip_percentile = None
        self.args_dict = self.config.postprocessor.postprocessor_sweep
        self.setup_flag = False

    def setup(self, net: nn.Module, id_loader_dict, ood_loader_dict):
        if self.setup_flag:
            return
        net.eval()
        w, b = net.get_fc()
        self.w, self.b = torch.tensor(w), torch.tensor(b)

        sums = torch.zeros(self.w.shape, dtype=torch.float64)
        counts = torch.zeros(len(self.w), dtype=torch.float64)
        for feature, label in self._features(net, id_loader_dict['train']):
            sums.index_add_(0, label, feature.double())
            counts.index_add_(0, label, torch.ones_like(label).double())
        if (counts == 0).any():
            raise ValueError('LINe needs a training image of every class')
        self.contribution = self.w.double() * (sums / counts[:, None])

        val = [f for f, _ in self._features(net, id_loader_dict['val'])]
        self.val_feature = torch.cat(val).numpy()
        self.thresholds = {}
        self._make_masks()
        self.setup_flag = True

    @torch.no_grad()
    def _features(self, net: nn.Module, loader):
        for batch in tqdm(loader, desc='Setup: ', position=0, leave=True):
            data = batch['data'].cuda().float()
            _, feature = net(data, return_feature=True)
            yield feature.cpu(), batch['label'].long().cpu()

    def _make_masks(self):
        """Which neurons count for each class, and from which contribution on
        a weight does."""
        contribution = self.contribution.numpy()
        self.keep = torch.ones_like(self.contribution, dtype=torch.bool)
        if self.p_a is not None:
            cut = np.percentile(contribution, self.p_a, axis=1, keepdims=True)
            self.keep = torch.from_numpy(contribution > cut)
        if self.p_w not in self.thresholds:
            self.thresholds[self.p_w] = torch.tensor(
                [self._threshold(row) for row in np.abs(contribution)])
        if self.clip_percentile is not None:
            self.clip = float(
                np.percentile(self.val_feature, self.clip_percentile))

    def _threshold(self, magnitude):
        if self.p_w is None:
            return -np.inf
        return np.percentile(magnitude * self.w.double().numpy(), self.p_w)

    def _masked_weight(self, c: int, device):
        """The head for images of class c, (K, D); the K of them at once
        would be K x K x D."""
        w = self.w.to(device)
        magnitude = self.contribution[c].abs().to(device)
        kept = magnitude * w.double() > self.thresholds[self.p_w][c].item()
        return w * (kept & self.keep[c].to(device))

    @torch.no_grad()
    def postprocess(self, net: nn.Module, data: Any):
        output, feature = net(data, return_feature=True)
        if self.clip is not None:
            feature = feature.clip(max=self.clip)
        w, b = self.w.to(feature.device), self.b.to(feature.device)
        classes = (feature @ w.T + b).argmax(dim=1)
        conf = torch.empty_like(feature[:, 0])
        for c in classes.unique().tolist():
            rows = classes == c
            logits = feature[rows] @ self._masked_weight(c, w.device).T + b
            conf[rows] = torch.logsumexp(logits, dim=1)
        return output.argmax(dim=1), conf

    def set_hyperparam(self, hyperparam: list):
        self.p_w, self.p_a, self.clip_percentile = hyperparam
        self._make_masks()

    def get_hyperparam(self):
        return [self.p_w, self.p_a, self.clip_percentile]
