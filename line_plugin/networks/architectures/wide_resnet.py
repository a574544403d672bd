"""Wide ResNet for 32 x 32 images (pre-activation).

State-dict names of ``openood.networks.WideResNet`` (after xternalz's WideResNet-pytorch, MIT).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu


class WideResNet(nn.Module):
    """Images (N, 3, 32, 32) to logits (N, K); features are (N, 64 * widen), non-negative.

    Args:
        num_classes: K.
        depth: 6 n + 4, for n blocks in each stage.
        widen: the width divided by that of the thin ResNet.
    """

    def __init__(self, num_classes: int, *, depth: int, widen: int) -> None:
        super().__init__()
        blocks, widths = (depth - 4) // 6, [16, 16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.block1 = _Stage(blocks, widths[0], widths[1], 1)
        self.block2 = _Stage(blocks, widths[1], widths[2], 2)
        self.block3 = _Stage(blocks, widths[2], widths[3], 2)
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        x = self.block3(self.block2(self.block1(self.conv1(images))))
        x = relu(self.bn1(x))
        logits: Tensor = self.fc(avg_pool2d(x, x.shape[-2:]).flatten(1))
        return logits


class _Stage(nn.Module):
    def __init__(self, blocks: int, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        rest = (_Block(leaving, leaving, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(_Block(entering, leaving, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


class _Block(nn.Module):
    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(entering)
        self.conv1 = nn.Conv2d(entering, leaving, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, padding=1, bias=False)
        same = entering == leaving
        self.convShortcut = None if same else nn.Conv2d(entering, leaving, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = relu(self.bn1(x))
        out: Tensor = self.conv2(relu(self.bn2(self.conv1(active))))
        # If the width changes, the shortcut starts from the activated input too.
        return out + (x if self.convShortcut is None else self.convShortcut(active))
