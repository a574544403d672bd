"""The panel on real features: near the best single method where LINe alone is not, and the same bits in every batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from line_plugin import LINe, Panel
from line_plugin.math.metrics import ood_metrics

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

# AUROC in per cent of the panel: the first set is near-OOD, the others far.
MEASURED = {
    "cnn_glyphs99": {"near.cyrillic": 81.8, "far.blobs": 97.6, "far.cifar": 96.7, "far.textures": 97.9},
    "resnet20_cifar10": {"near.cifar100": 88.7, "near.tin": 89.0, "far.mnist": 98.3, "far.textures": 95.5},
}


def fit(real_data: Path, name: str) -> tuple[dict[str, torch.Tensor], Panel]:
    t = {
        k: v.float() if v.is_floating_point() else v.long()
        for k, v in load_file(real_data / "features" / f"{name}.safetensors").items()
    }
    return t, Panel().fit_features(t["train.features"], t["train.labels"], t["weight"], t["bias"])


@pytest.mark.parametrize("name", MEASURED)
def test_auroc_is_what_the_documentation_is_made_of(real_data: Path, name: str) -> None:
    t, panel = fit(real_data, name)
    inside = panel.score(t["test.features"]).numpy()
    for found, expected in MEASURED[name].items():
        assert 100 * ood_metrics(inside, panel.score(t[found]).numpy()).auroc == pytest.approx(expected, abs=0.2)


def test_with_many_classes_it_is_far_ahead_of_line_alone_and_every_row_keeps_its_bits(real_data: Path) -> None:
    t, panel = fit(real_data, "cnn_glyphs99")
    line = LINe.auto().fit_features(t["train.features"], t["train.labels"], t["weight"], t["bias"])
    x, inside = t["near.cyrillic"], t["test.features"]
    of_panel, of_line = (100 * ood_metrics(m.score(inside).numpy(), m.score(x).numpy()).auroc for m in (panel, line))
    assert of_panel > of_line + 6
    whole = panel.score(x)
    for size in (1, 7, 65):
        assert torch.equal(torch.cat([panel.score(rows) for rows in x[:200].split(size)]), whole[:200])
