"""What the monitor's tests share: a small fitted model and its embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from line_plugin import LINe, LINeSettings, Panel

WIDTH, CLASSES = 8, 3


def small_line(seed: int = 0, p_w: float = 10) -> LINe:
    """Three classes in eight dimensions, calibrated on 2,000 held-out samples."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(CLASSES, WIDTH, generator=generator) * 2
    labels = torch.arange(600) % CLASSES
    features = (centres[labels] + 0.3 * torch.randn(600, WIDTH, generator=generator)).clamp(min=0)
    weight = centres - centres.mean(dim=0)
    line = LINe(p_w=p_w, p_a=10, clip=2.0).fit_features(features, labels, weight, None)
    line.calibrate(torch.from_numpy(embeddings(2000, seed=seed + 1)))
    return line


def embeddings(n: int, seed: int, ood: float = 0.0, of: int = 0) -> np.ndarray:
    """(n, 8) float32 of the small model, a share ``ood`` of them near zero activation."""
    generator = torch.Generator().manual_seed(of)
    centres = (torch.rand(CLASSES, WIDTH, generator=generator) * 2).numpy()
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(0, CLASSES, n)] + 0.3 * rng.standard_normal((n, WIDTH))
    out = rng.random(n) < ood
    rows[out] = np.abs(0.05 * rng.standard_normal((int(out.sum()), WIDTH)))
    return np.maximum(rows, 0).astype("<f4")


def artifact(folder: Path) -> Path:
    """The small model as a file."""
    path = folder / "line.safetensors"
    small_line().save(path)
    return path


def small_panel(evidence: tuple[str, ...] | None = None) -> Panel:
    """A panel on the same three classes; who gathers evidence is calibrated on the same 2,000 held-out samples."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(CLASSES, WIDTH, generator=generator) * 2
    labels = torch.arange(600) % CLASSES
    features = (centres[labels] + 0.3 * torch.randn(600, WIDTH, generator=generator)).clamp(min=0)
    line = LINeSettings(p_w=10, p_a=10, clip=2.0)
    panel = Panel(prototypes=3, line=line).fit_features(features, labels, centres - centres.mean(dim=0), None)
    panel.calibrate(torch.from_numpy(embeddings(2000, seed=1)), evidence=evidence)
    return panel


WITHOUT_TORCH = """
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Refuse())
"""
"""A ``sitecustomize.py`` for a process that cannot import torch, as on a machine where it is not installed."""
