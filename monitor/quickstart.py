"""The quickstart model with its calibration, and embeddings of it to stream; made once, kept in a folder.

ID are the digits 0 to 7 the network was trained on; OOD are faces, textures and photographs. What calibrates is never
streamed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

ARTIFACT = "monitor.line.safetensors"
EMBEDDINGS = "monitor.embeddings.safetensors"
OOD_LISTS = ("test_faces", "test_textures", "test_photographs")
CLIP_PERCENTILE = 90  # as configs/benchmarks/quickstart.yml has it


@dataclass(frozen=True)
class Material:
    """What a demonstration streams: an artifact, and (N, D) float32 embeddings that did not calibrate it."""

    artifact: Path
    in_distribution: Tensor
    out_of_distribution: Tensor


def material(folder: str | Path) -> Material:
    """Read what is in ``folder``, or train, fit, calibrate and embed.

    Args:
        folder: made where it does not exist.

    Raises:
        LinePluginError: the quickstart images are not installed, or the folder cannot be written.
    """
    from safetensors.torch import load_file

    where = Path(folder)
    if not ((where / ARTIFACT).is_file() and (where / EMBEDDINGS).is_file()):
        _make(where)
    kept = load_file(where / EMBEDDINGS)
    return Material(where / ARTIFACT, kept["in_distribution"], kept["out_of_distribution"])


def _make(folder: Path) -> None:
    import numpy as np
    import torch
    from safetensors.torch import save

    from line_plugin import LINe, architectures
    from line_plugin.artifact import write_whole
    from line_plugin.benchmark import quickstart, training
    from line_plugin.networks import device_of, find_head

    data, checkpoint = folder / "data", folder / "lenet_mnist.safetensors"
    quickstart.prepare(data)
    if not checkpoint.is_file():
        training.train(data, checkpoint)
    model = architectures.build(training.ARCHITECTURE, quickstart.NUM_CLASSES)
    architectures.load_checkpoint(model, checkpoint)
    model.eval()
    train, labels = _embed(model, data, "train_quickstart")
    validation, _ = _embed(model, data, "val_quickstart")
    test, _ = _embed(model, data, "test_quickstart")
    # Every other test image calibrates: alternating keeps the classes balanced in both halves.
    calibrating = torch.cat([validation, test[::2]])
    head = find_head(model, torch.zeros(1, 3, training.SIDE, training.SIDE, device=device_of(model))).linear
    line = LINe(p_w=10, p_a=10, clip=float(np.percentile(train.numpy(), CLIP_PERCENTILE)))
    line.fit_features(
        train, labels, head.weight, head.bias, class_names=[str(k) for k in range(quickstart.NUM_CLASSES)]
    )
    line.calibrate(calibrating, source="quickstart: validation digits and every other test digit")
    ood = torch.cat([_embed(model, data, name)[0] for name in OOD_LISTS])
    write_whole(folder / EMBEDDINGS, save({"in_distribution": test[1::2].contiguous(), "out_of_distribution": ood}))
    line.save(folder / ARTIFACT)


def _embed(model: nn.Module, data: Path, name: str) -> tuple[Tensor, Tensor]:
    import torch

    from line_plugin.benchmark import training
    from line_plugin.networks import tap_batches

    images, labels = training._load(data, name)
    batches = [(images[n : n + 500], labels[n : n + 500]) for n in range(0, len(images), 500)]
    return torch.cat([b.features for b in tap_batches(model, batches)]), labels
