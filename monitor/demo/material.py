"""Prepares the demo: the quickstart model with its calibration, and embeddings to stream. Made once, then kept.

ID inputs are the digits 0 to 7 that the network was trained on. OOD inputs are faces, textures and photographs. Samples
used for the calibration are never streamed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from line_plugin import LINe, Panel
    from line_plugin.benchmark.methods.base import FitData
    from line_plugin.benchmark.protocol.spec import ImageSet

METHODS = ("line", "panel")
"""The methods that can be fitted and streamed."""

ARTIFACTS = {method: f"monitor.{method}.safetensors" for method in METHODS}
EMBEDDINGS = "monitor.embeddings.safetensors"


@dataclass(frozen=True)
class Material:
    """An artifact, and (N, D) float32 embeddings to stream that were not used to calibrate it."""

    artifact: Path
    in_distribution: Tensor
    out_of_distribution: Tensor


def material(folder: str | Path, method: str = "line") -> Material:
    """Read the material in ``folder``. If it is not there, train, fit, calibrate and embed.

    Args:
        folder: created if it does not exist.
        method: one of :data:`METHODS`.

    Raises:
        LinePluginError: the quickstart images are not installed, or the folder cannot be written.
    """
    from safetensors.torch import load_file

    where = Path(folder)
    artifact = where / ARTIFACTS[method]
    if not (artifact.is_file() and (where / EMBEDDINGS).is_file()):
        _make(where, method)
    kept = load_file(where / EMBEDDINGS)
    return Material(artifact, kept["in_distribution"], kept["out_of_distribution"])


def _make(folder: Path, method: str) -> None:
    import torch
    from safetensors.torch import save

    from line_plugin import networks
    from line_plugin.benchmark.protocol import image_list, spec
    from line_plugin.benchmark.protocol.features import FeatureCache, Request
    from line_plugin.benchmark.protocol.runner import fit_data
    from line_plugin.files import write_whole
    from line_plugin.quickstart import dataset, training

    # The names are those of `openood quickstart`: what it has made is used.
    data, checkpoint = folder / "data", folder / "lenet.safetensors"
    benchmark = spec.load("quickstart")
    dataset.prepare(data)
    if not checkpoint.is_file():
        training.train(data, checkpoint)
    model = networks.build(benchmark.arch, benchmark.num_classes)
    networks.load_checkpoint(model, checkpoint)
    cache = FeatureCache(model, folder / "cache", device=torch.device("cpu"), num_workers=0)
    k = benchmark.num_classes
    ind, far_sets = benchmark.id, benchmark.ood.far.values()
    sets: list[tuple[ImageSet, int | None]] = [(ind.train, k), (ind.val, k), (ind.test, k)]
    sets += [(images, None) for images in far_sets]
    requests = [
        Request(image_list.read(benchmark.name, images, data, known), benchmark.preprocessing_of(images))
        for images, known in sets
    ]
    train, validation, test, *far = cache.get(requests)
    data_to_fit = fit_data(benchmark, cache, train, validation)
    found = _fitted(folder, method, data_to_fit, dict(benchmark.methods.get("line", {})))
    # Every other test image calibrates: alternating keeps the classes balanced in both halves.
    calibrating = torch.cat([validation.features, test.features[::2]])
    found.calibrate(calibrating, source="quickstart: validation digits and every other test digit")
    ood = torch.cat([one.features for one in far])
    write_whole(
        folder / EMBEDDINGS, save({"in_distribution": test.features[1::2].contiguous(), "out_of_distribution": ood})
    )
    found.save(folder / ARTIFACTS[method])


def _fitted(folder: Path, method: str, data: FitData, line_settings: dict[str, Any]) -> LINe | Panel:
    """Fit as `openood fit` does. A LINe that `openood quickstart` has fitted is used as it is."""
    from line_plugin import LINe
    from line_plugin.benchmark.methods.line import LineMethod
    from line_plugin.benchmark.methods.panel import PanelMethod

    if method == "panel":
        panel = PanelMethod()
        panel.fit(data)
        return panel.panel
    if (folder / "line.safetensors").is_file():
        return LINe.load(folder / "line.safetensors")
    line = LineMethod()
    line.set(line_settings)
    line.fit(data)
    return line.line
