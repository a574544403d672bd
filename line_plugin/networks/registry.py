"""Builds networks by name. Torch is imported when a network is built."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from line_plugin.errors import SettingsError, unknown_name

if TYPE_CHECKING:
    from torch import nn


def _resnet18_32x32(num_classes: int) -> nn.Module:
    from line_plugin.networks.architectures.resnet_small import SmallResNet18

    return SmallResNet18(num_classes)


def _densenet100_12(num_classes: int) -> nn.Module:
    from line_plugin.networks.architectures.densenet import DenseNetBC

    return DenseNetBC(num_classes, depth=100, growth=12, reduction=0.5)


def _wide_resnet(depth: int, widen: int) -> Callable[[int], nn.Module]:
    def build_one(num_classes: int) -> nn.Module:
        from line_plugin.networks.architectures.wide_resnet import WideResNet

        return WideResNet(num_classes, depth=depth, widen=widen)

    return build_one


def _lenet(num_classes: int) -> nn.Module:
    from line_plugin.networks.architectures.lenet import LeNet

    return LeNet(num_classes)


def _lenet_mnist(num_classes: int) -> nn.Module:
    from line_plugin.networks.architectures.lenet import WideLeNet

    return WideLeNet(num_classes)


def _from_torchvision(name: str) -> Callable[[int], nn.Module]:
    """Builds networks whose OpenOOD class only adds flags to torchvision's, so that the state dicts are equal."""

    def build_one(num_classes: int) -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, weights=None, num_classes=num_classes)  # type: ignore[no-any-return]

    return build_one


_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "resnet18_32x32": _resnet18_32x32,
    "resnet18_64x64": _resnet18_32x32,  # upstream pools 8 x 8 there, which on 64 x 64 inputs is the global mean
    "resnet18_224x224": _from_torchvision("resnet18"),
    "resnet18_256x256": _from_torchvision("resnet18"),
    "resnet50": _from_torchvision("resnet50"),
    "densenet100_12": _densenet100_12,
    "wrn_28_10": _wide_resnet(28, 10),
    "wrn_40_2": _wide_resnet(40, 2),
    "lenet": _lenet,
    "lenet_mnist": _lenet_mnist,
    "vit_b_16": _from_torchvision("vit_b_16"),
    "swin_t": _from_torchvision("swin_t"),
    "regnet_y_16gf": _from_torchvision("regnet_y_16gf"),
}

# OpenOOD's own spellings.
_ALIASES = {
    "densenet": "densenet100_12",
    "wrn": "wrn_28_10",
    "vit-b-16": "vit_b_16",
    "swin-t": "swin_t",
    "regnet": "regnet_y_16gf",
}


def names() -> list[str]:
    """The names :func:`build` knows, besides ``torchvision:NAME``, ``timm:NAME`` and ``hf:FOLDER``."""
    return sorted(_BUILDERS)


def build(name: str, num_classes: int) -> nn.Module:
    """Build a network with random weights, or load one from a folder of transformers; in eval mode.

    Args:
        name: one of :func:`names`, OpenOOD's spelling of it (``densenet``, ``wrn``, ``vit-b-16``, ``swin-t``,
            ``regnet``), ``torchvision:NAME``, ``timm:NAME`` or ``hf:FOLDER``.
        num_classes: width of the head, at least 1; a folder has its own.

    Returns:
        A module from images (N, 3, H, W) float to logits (N, num_classes).

    Raises:
        SettingsError: the name is unknown, ``num_classes`` is below 1, the folder does not exist, or the library is not
            installed. CheckpointError: the weights in the folder cannot be loaded.
    """
    if num_classes < 1:
        raise SettingsError(f"num_classes={num_classes} given, expected at least 1")
    library, colon, inner = name.partition(":")
    if colon and library == "torchvision":
        return _torchvision(inner, num_classes).eval()
    if colon and library == "timm":
        return _timm(inner, num_classes).eval()
    if colon and library == "hf":
        from line_plugin.networks.huggingface import load_folder

        return load_folder(Path(inner))
    known = _ALIASES.get(name, name)
    if known not in _BUILDERS:
        raise unknown_name("architecture", name, [*_BUILDERS, "torchvision:NAME", "timm:NAME", "hf:FOLDER"])
    return _BUILDERS[known](num_classes).eval()


def _torchvision(name: str, num_classes: int) -> nn.Module:
    from torchvision import models

    classifiers: list[str] = models.list_models(module=models)
    if name not in classifiers:
        raise _not_in_library("torchvision", name, classifiers)
    return _from_torchvision(name)(num_classes)


def _timm(name: str, num_classes: int) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise SettingsError(
            f"the architecture 'timm:{name}' needs timm, which is not installed: pip install 'openood-line[timm]'"
        ) from error
    architecture = name.partition(".")[0]  # a tag such as .a1_in1k names weights, which are not loaded here
    if not timm.is_model(architecture):
        raise _not_in_library("timm", name, timm.list_models())
    return timm.create_model(architecture, pretrained=False, num_classes=num_classes)  # type: ignore[no-any-return]


def _not_in_library(library: str, name: str, known: Iterable[str]) -> SettingsError:
    """The error for a name that a library does not have.

    Libraries have hundreds of names, so it offers the nearest few.
    """
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    lists = {"torchvision": "torchvision.models.list_models(module=torchvision.models)", "timm": "timm.list_models()"}
    hint = f"did you mean {', '.join(near)}? " if near else ""
    return SettingsError(f"{library} has no classifier {name!r}: {hint}{lists[library]} lists them")
