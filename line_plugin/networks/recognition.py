"""Recognises whether a network has a named architecture, no matter which code built it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def is_architecture(model: nn.Module, name: str, num_classes: int) -> bool:
    """Whether ``model`` has the tensors of the architecture ``name``: the same names, the same shapes.

    It does not matter whether ``--arch`` or your own function built it. Its training is not checked.

    Args:
        name: as :func:`line_plugin.networks.build` takes it.
        num_classes: width of the head.
    """
    import torch

    from line_plugin.networks.registry import build

    def shapes(module: nn.Module) -> dict[str, torch.Size]:
        return {key: tensor.shape for key, tensor in module.state_dict().items() if isinstance(tensor, torch.Tensor)}

    found = shapes(model)
    if sum(len(shape) == 2 and shape[0] == num_classes for shape in found.values()) == 0:
        return False  # without a Linear of that many classes, nothing needs to be built
    with torch.device("meta"):  # only shapes, without memory and random numbers
        return shapes(build(name, num_classes)) == found
