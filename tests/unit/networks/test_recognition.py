"""A network is recognised by its tensors, whoever built it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from line_plugin import networks
from line_plugin.networks.recognition import is_architecture


class Mine(nn.Module):
    """Somebody's own class with torchvision's ResNet-50 as its base."""

    def __new__(cls) -> nn.Module:  # type: ignore[misc]
        import torchvision

        class Wrapped(torchvision.models.ResNet):  # type: ignore[misc]
            pass

        return Wrapped(torchvision.models.resnet.Bottleneck, [3, 4, 6, 3], num_classes=1000)


def test_the_papers_networks_are_recognised() -> None:
    assert is_architecture(networks.build("densenet", 100), "densenet100_12", 100)
    assert is_architecture(Mine(), "resnet50", 1000)


@pytest.mark.parametrize(
    ("arch", "k", "name"),
    [
        ("resnet18_32x32", 10, "densenet100_12"),
        ("densenet100_12", 100, "densenet100_12"),
        ("torchvision:wide_resnet50_2", 1000, "resnet50"),
        ("torchvision:densenet121", 10, "densenet100_12"),
    ],
)
def test_another_network_or_another_head_is_not(arch: str, k: int, name: str) -> None:
    assert not is_architecture(networks.build(arch, k), name, 10 if name == "densenet100_12" else 1000)


def test_looking_draws_no_random_number() -> None:
    models = networks.build("lenet", 10), nn.Linear(4, 10)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for model in models:
        is_architecture(model, "resnet50", 10)
        is_architecture(model, "densenet100_12", 10)
    assert torch.rand(1) == expected
