"""A data root in OpenOOD's layout with a few random images, and a network small enough to forward them in no time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

CLASSES = 3


class SmallNet(nn.Module):
    """Convolution, ReLU, pooling, and a head that is not called fc."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classify = nn.Linear(16, CLASSES)
        self.forwarded = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwarded += len(x)
        return self.classify(self.body(x))


def small_net(seed: int = 0) -> SmallNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SmallNet().eval()


def write_images(root: Path, name: str, count: int, label: int | None, rng: np.random.Generator, shift: int) -> None:
    """``count`` images of a set and its list; labels cycle over the classes where ``label`` is None."""
    folder = root / "images" / name
    folder.mkdir(parents=True)
    lines = []
    for i in range(count):
        y = i % CLASSES if label is None else label
        pixels = np.clip(rng.normal(90 + 20 * max(y, 0) + shift, 40, (10, 12, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        lines.append(f"{name}/{i}.png {y}\n")
    (root / "lists").mkdir(exist_ok=True)
    (root / "lists" / f"{name}.txt").write_text("".join(lines))


def make_world(root: Path) -> Path:
    """Write the data root and its benchmark file; returns the file."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 60), ("val", 24), ("test", 30), ("shifted", 15)):
        write_images(root, name, count, None, rng, shift=0 if name != "shifted" else 10)
    for name, count, shift in (("ood_val", 20, 60), ("near_a", 18, 30), ("far_a", 16, 90), ("far_b", 14, 120)):
        write_images(root, name, count, -1, rng, shift)

    def one(name: str) -> dict[str, str]:
        return {"list": f"lists/{name}.txt", "images": "images", "source": f"the {name} archive"}

    benchmark = {
        "name": "small",
        "num_classes": CLASSES,
        "preprocessing": {"resize": 9, "crop": 8, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "id": {s: one(s) for s in ("train", "val", "test")},
        "csid": {"shifted": one("shifted")},
        "ood": {
            "val": one("ood_val"),
            "near": {"near_a": one("near_a")},
            "far": {n: one(n) for n in ("far_a", "far_b")},
        },
        "methods": {"line": {"p_w": 10, "p_a": 10, "clip": None, "clip_percentile": 90}, "knn": {"K": 5}},
    }
    path = root / "small.yml"
    path.write_text(yaml.safe_dump(benchmark))
    return path
