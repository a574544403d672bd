"""Features of whole networks in one safetensors file each: what a benchmark of methods reads instead of images.

A file holds ``train.features``, ``train.labels``, ``test.features``, ``test.labels``, the head (``weight``, ``bias``),
and OOD sets named ``near.NAME`` and ``far.NAME``, or ``NAME.features`` for the sets that :data:`GROUPS` knows. Features
may be float16; they are read as float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from line_plugin.benchmark.methods.base import FeatureSet, FitData

GROUPS = {"cifar100": "near", "tin": "near", "textures": "far", "mnist": "far"}
"""Where an OOD set belongs whose name does not say it."""
HELD_OUT = 1000  # training images, at most, that serve as ID validation images


@dataclass(frozen=True)
class Network:
    """What methods are fitted on and measured with.

    Attributes:
        name: the file's.
        data: training and validation features and the head. There are no validation images in the file: a seeded tenth
            of the training images, 1,000 at most, is held out for them.
        test: ID test features (N, D).
        ood: OOD features by set name, with ``near.`` or ``far.`` in front.
    """

    name: str
    data: FitData
    test: Tensor
    ood: dict[str, Tensor]


def read(path: Path) -> Network:
    """One network."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    features, labels = tensors["train.features"].float(), tensors["train.labels"].long()
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    cut = min(HELD_OUT, len(features) // 10)
    weight, bias = tensors["weight"].float(), tensors["bias"].float()
    val, train = (
        _feature_set(name, features[rows], labels[rows], weight, bias)
        for name, rows in (("val", order[:cut]), ("train", order[cut:]))
    )
    ood = {_grouped(key): t.float() for key, t in tensors.items() if _grouped(key)}
    return Network(path.stem, FitData(train, val, weight, bias), tensors["test.features"].float(), ood)


def read_all(folder: Path) -> list[Network]:
    """Every network in a folder, by name."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise SystemExit(f"no .safetensors file in {folder}: give the folder of the features with --features")
    return [read(path) for path in files]


def _grouped(key: str) -> str:
    """``near.NAME`` or ``far.NAME``; empty for a tensor that is not an OOD set."""
    if key.startswith(("near.", "far.")):
        return key
    name = key.removesuffix(".features")
    return f"{GROUPS[name]}.{name}" if name in GROUPS else ""


def _feature_set(name: str, features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> FeatureSet:
    predicted: NDArray[np.int64] = (features @ weight.T + bias).argmax(dim=1).numpy()
    return FeatureSet(name, features, predicted, labels.numpy(), name)
