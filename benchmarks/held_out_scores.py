"""LINe's confidences of real held-out images, for benchmarks of alerts: CIFAR-10 and the digits of the quickstart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

Floats = Any


def cifar10_scores() -> dict[str, Any] | str:
    """The paper's DenseNet on CIFAR-10, or why not."""
    path = (
        Path(os.environ.get("OPENOOD_LINE_DATA", "../shared/data")) / "features/densenet_bc100_12_cifar10.safetensors"
    )
    return _line_scores(path) if path.exists() else f"no {path.name} under $OPENOOD_LINE_DATA"


def quickstart_scores(folder: Path) -> dict[str, Any]:
    """The quickstart model, trained where ``folder`` does not hold it: held-out digits and the far-OOD images."""
    import torch

    from line_plugin import LINe
    from monitor.demo.material import material

    made = material(folder)
    line = LINe.load(made.artifact)
    assert line.calibration is not None
    held_out = torch.cat([line.calibration.confidence, line.score(made.in_distribution)])
    return {"test": held_out, "faces, textures, photographs": line.score(made.out_of_distribution)}


def _line_scores(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    from line_plugin import LINe

    t = load_file(str(path))
    line = LINe.preset("cifar10-densenet").fit_features(t["train.features"], t["train.labels"], t["weight"], t["bias"])
    return {k: line.score(t[f"{k}.features"]) for k in ("test", "textures", "mnist", "tin", "cifar100")}


def masses_of(cells: Any) -> Floats:
    """(7,) the share of samples in each cell."""
    return np.bincount(np.asarray(cells), minlength=7) / len(cells)
