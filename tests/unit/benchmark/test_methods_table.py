"""The table of all methods: its resampled AUROC, its gaps, and the files it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks import feature_files, methods_table
from line_plugin.math.metrics import ood_metrics


def test_a_resampled_auroc_is_that_of_the_images_drawn() -> None:
    rng = np.random.default_rng(0)
    id_scores = rng.integers(0, 8, 40).astype(np.float32)  # many ties
    ood_scores = rng.integers(-3, 6, 25).astype(np.float32)
    id_counts = rng.multinomial(40, np.full(40, 1 / 40), 10)
    ood_counts = rng.multinomial(25, np.full(25, 1 / 25), 10)
    got = methods_table.resampled_auroc(id_scores, ood_scores, id_counts, ood_counts)
    for b in range(10):
        drawn = ood_metrics(np.repeat(id_scores, id_counts[b]), np.repeat(ood_scores, ood_counts[b]))
        assert got[b] == pytest.approx(drawn.auroc, abs=1e-12)


def measured(shift: float, seed: int) -> methods_table.Scores:
    rng = np.random.default_rng(seed)
    sets = {"id": shift, "near.a": 0.0, "near.b": 0.3, "far.c": -1.0}
    return {name: (rng.normal(size=400) + mean).astype(np.float32) for name, mean in sets.items()}


def test_the_gap_is_to_the_best_and_its_interval_holds_it() -> None:
    good, poor = measured(2, 0), measured(1, 1)
    network = methods_table.Measured("net", {"poor": poor, "good": good, "again": good}, {})
    rows = {row["method"]: row for row in methods_table.table(network, 200)}
    assert list(rows)[-1] == "poor"
    near = np.mean([ood_metrics(poor["id"], poor[s]).auroc for s in ("near.a", "near.b")])
    far = ood_metrics(poor["id"], poor["far.c"]).auroc
    assert rows["poor"]["values"][:3] == pytest.approx([near, far, (near + far) / 2])
    assert rows["poor"]["low"] <= rows["poor"]["gap"] <= rows["poor"]["high"] < 0
    assert rows["again"]["gap"] == rows["again"]["low"] == rows["again"]["high"] == 0  # paired: no noise of its own


def test_gaps_name_the_worst_network_of_each_method() -> None:
    def rows(a: float, b: float) -> list[dict[str, object]]:
        return [{"method": "a", "gap": a}, {"method": "b", "gap": b}]

    found = methods_table.gaps({"one": rows(0, -2.5), "two": rows(-9, 0)})
    assert found == [
        {"method": "b", "one": "-2.50", "two": "0.00", "mean": "-1.25", "worst": "-2.50"},
        {"method": "a", "one": "0.00", "two": "-9.00", "mean": "-4.50", "worst": "-9.00"},
    ]


def test_a_feature_file_gives_disjoint_training_and_validation_images_and_groups(tmp_path: Path) -> None:
    features = torch.arange(400.0).reshape(200, 2).half()
    tensors = {
        "train.features": features,
        "train.labels": (torch.arange(200) % 4).short(),
        "test.features": torch.zeros(3, 2).half(),
        "test.labels": torch.zeros(3).short(),
        "near.letters": torch.zeros(5, 2).half(),
        "textures.features": torch.zeros(6, 2),
        "weight": torch.zeros(4, 2),
        "bias": torch.zeros(4),
    }
    save_file(tensors, tmp_path / "net.safetensors")
    (network,) = feature_files.read_all(tmp_path)
    assert {name: len(rows) for name, rows in network.ood.items()} == {"near.letters": 5, "far.textures": 6}
    train, val = network.data.train, network.data.val
    assert (len(train.features), len(val.features)) == (180, 20)
    rows = torch.cat([train.features, val.features])
    assert sorted(rows[:, 0].tolist()) == features[:, 0].tolist()
    assert (train.labels == (train.features[:, 0].numpy() / 2 % 4)).all()
    assert train.features.dtype == torch.float32


PAPER = {"line": {"p_w": 90, "p_a": 90, "clip": 1.0}}


@pytest.mark.real_data
def test_every_method_can_be_measured_on_a_real_network(real_data: Path) -> None:
    """The smallest one."""
    network = feature_files.read(real_data / "features" / "resnet20_cifar10.safetensors")
    found = methods_table.score_all(network, ["fdbd", "mds++", "msp", "line"], PAPER)
    assert not found.left_out
    means = {row["method"]: 100 * row["values"][2] for row in methods_table.table(found, 20)}
    assert means == pytest.approx({"fdbd": 92.08, "mds++": 91.43, "msp": 87.44, "line": 85.47}, abs=0.3)
