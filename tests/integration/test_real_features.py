"""LINe on the paper's own DenseNet: 40,000 real embeddings of CIFAR-10 and four OOD sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from line_plugin import LINe
from line_plugin.math.metrics import ood_metrics
from tests.oracle.literal_line import contribution_by_gradient, literal_score
from tests.unit.method.test_line_matches_oracle import SWITCHES

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def embeddings(real_data: Path) -> Tensors:
    return load_file(real_data / "features" / "densenet_bc100_12_cifar10.safetensors")


@pytest.fixture(scope="module")
def literal_contribution(embeddings: Tensors) -> np.ndarray:
    """One image and one backward pass at a time, over 1,500 training images."""
    weight, bias = embeddings["weight"].double().numpy(), embeddings["bias"].double().numpy()
    features, labels = embeddings["train.features"][:1500], embeddings["train.labels"][:1500]
    return contribution_by_gradient(features.double().numpy(), labels.numpy(), weight, bias)


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_real_scores_equal_the_literal_reading(
    embeddings: Tensors, literal_contribution: np.ndarray, switch: str
) -> None:
    p_w, p_a, clip = SWITCHES[switch]
    weight, bias = embeddings["weight"], embeddings["bias"]
    line = LINe(p_w, p_a, clip).fit_features(
        embeddings["train.features"][:1500], embeddings["train.labels"][:1500], weight, bias
    )
    rows = torch.cat(
        [
            embeddings[k][:150]
            for k in ("test.features", "textures.features", "cifar100.features", "tin.features", "mnist.features")
        ]
    )
    classes, scores = literal_score(
        rows.numpy(), literal_contribution, weight.double().numpy(), bias.double().numpy(), p_w, p_a, clip
    )
    got_classes, got = line.predict(rows)
    np.testing.assert_array_equal(got_classes.numpy(), classes)
    np.testing.assert_allclose(got.numpy(), scores, atol=1e-5, rtol=1e-5)


def test_the_clip_from_training_data_alone_is_as_good_as_the_published_one(embeddings: Tensors) -> None:
    train = embeddings["train.features"], embeddings["train.labels"], embeddings["weight"], embeddings["bias"]
    line = LINe.auto().fit_features(*train)
    assert line.choice is not None
    assert line.choice.percentile == 97.5
    assert line.choice.rows == 5000
    paper = LINe(90, 90, 1.0).fit_features(*train)

    def mean(one: LINe) -> float:
        inside = one.score(embeddings["test.features"]).numpy()
        sets = [one.score(embeddings[f"{n}.features"]).numpy() for n in ("textures", "cifar100", "tin", "mnist")]
        return float(np.mean([ood_metrics(inside, rows).auroc for rows in sets]))

    assert mean(line) > mean(paper)


# (FPR95 with ID positive, AUROC) in per cent, fit on the 20,000 training images, ID = the 10,000 test images.
MEASURED = {
    "cifar10": {"textures": (25.1, 95.3), "cifar100": (56.1, 87.1), "tin": (48.1, 89.0), "mnist": (0.0, 100.0)},
    "no WP": {"textures": (24.8, 95.3), "cifar100": (55.6, 87.2), "tin": (48.1, 89.1), "mnist": (0.0, 100.0)},
    "only AC": {"textures": (47.6, 91.3), "cifar100": (51.6, 89.6), "tin": (46.2, 90.4), "mnist": (15.5, 97.5)},
    "AC and WP": {"textures": (27.8, 94.7), "cifar100": (63.1, 84.9), "tin": (53.8, 87.6), "mnist": (0.0, 100.0)},
}
SETTINGS = {
    "cifar10": (90, 90, 1.0),
    "no WP": (None, 90, 1.0),
    "only AC": (None, None, 1.0),
    "AC and WP": (90, None, 1.0),
}


@pytest.mark.parametrize("name", MEASURED)
def test_detection_on_real_sets_is_what_the_authors_procedure_gives(embeddings: Tensors, name: str) -> None:
    line = LINe(*SETTINGS[name]).fit_features(
        embeddings["train.features"], embeddings["train.labels"], embeddings["weight"], embeddings["bias"]
    )
    id_scores = line.score(embeddings["test.features"]).numpy()
    for ood, (fpr95, auroc) in MEASURED[name].items():
        got = ood_metrics(id_scores, line.score(embeddings[f"{ood}.features"]).numpy())
        assert 100 * got.fpr95_id == pytest.approx(fpr95, abs=0.06)
        assert 100 * got.auroc == pytest.approx(auroc, abs=0.06)
