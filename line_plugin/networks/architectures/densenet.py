"""DenseNet-BC for 32 x 32 images: the CIFAR network of the DICE and LINe papers.

State-dict names of ``openood.networks.DenseNet3`` with bottlenecks (after andreasveit's densenet-pytorch, BSD-3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu


class DenseNetBC(nn.Module):
    """Images (N, 3, 32, 32) to logits (N, K); for depth 100, growth 12 the features are (N, 342), non-negative.

    Args:
        num_classes: K.
        depth: layers in all; each block has (depth - 4) / 6 bottlenecks.
        growth: channels that each bottleneck adds.
        reduction: share of the channels that a transition keeps.
    """

    def __init__(self, num_classes: int, *, depth: int, growth: int, reduction: float) -> None:
        super().__init__()
        layers, channels = (depth - 4) // 6, 2 * growth
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.block1 = _DenseBlock(layers, channels, growth)
        channels += layers * growth
        self.trans1 = _Transition(channels, int(channels * reduction))
        channels = int(channels * reduction)
        self.block2 = _DenseBlock(layers, channels, growth)
        channels += layers * growth
        self.trans2 = _Transition(channels, int(channels * reduction))
        channels = int(channels * reduction)
        self.block3 = _DenseBlock(layers, channels, growth)
        channels += layers * growth
        self.bn1 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        x = self.trans1(self.block1(self.conv1(images)))
        x = self.block3(self.trans2(self.block2(x)))
        x = relu(self.bn1(x))
        logits: Tensor = self.fc(avg_pool2d(x, x.shape[-2:]).flatten(1))
        return logits


class _DenseBlock(nn.Module):
    def __init__(self, layers: int, entering: int, growth: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(*(_Bottleneck(entering + i * growth, growth) for i in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


class _Bottleneck(nn.Module):
    def __init__(self, entering: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(entering)
        self.conv1 = nn.Conv2d(entering, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv2(relu(self.bn2(self.conv1(relu(self.bn1(x))))))
        return torch.cat([x, new], dim=1)


class _Transition(nn.Module):
    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(entering)
        self.conv1 = nn.Conv2d(entering, leaving, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(self.conv1(relu(self.bn1(x))), 2)
