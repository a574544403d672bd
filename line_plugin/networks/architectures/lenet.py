"""Two LeNets for 28 x 28 digits, without batch norm: OpenOOD's, and the wider one of the quickstart."""

from __future__ import annotations

from torch import Tensor, nn


class LeNet(nn.Module):
    """Images (N, 3, 28, 28) to logits (N, K); features are (N, 84), non-negative.

    State-dict names of ``openood.networks.LeNet`` with three input channels.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        self.block2 = nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
        self.block3 = nn.Sequential(nn.Conv2d(16, 120, 5), nn.ReLU())
        self.classifier1 = nn.Linear(120, 84)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        x = self.block3(self.block2(self.block1(images))).flatten(1)
        logits: Tensor = self.fc(self.relu(self.classifier1(x)))
        return logits


class WideLeNet(nn.Module):
    """Images (N, 3, 28, 28) to logits (N, K); features are (N, 128), non-negative.

    It has no batch norm and no global pooling, since a digit network with both gives bright photographs a high
    confidence.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        self.block2 = nn.Sequential(nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2))
        self.hidden = nn.Sequential(nn.Linear(64 * 5 * 5, 128), nn.ReLU())
        self.fc = nn.Linear(128, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        logits: Tensor = self.fc(self.hidden(self.block2(self.block1(images)).flatten(1)))
        return logits
