"""Each added method against a slow, literal reading of its paper, or of OpenOOD's code."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from line_plugin.benchmark import methods
from line_plugin.benchmark.methods.base import FeatureSet, FitData, Method
from line_plugin.errors import FitError, SettingsError
from line_plugin.math.metrics import ood_metrics
from tests.oracle import literal_methods as literal

SHAPES = [(4, 12, 60), (7, 5, 90), (2, 33, 81)]  # K, D, N


class World:
    """Clustered features, a head and labels, and what the oracles read of them as float64."""

    def __init__(self, k: int, d: int, n: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(k, d, generator=generator)
        self.bias = torch.randn(k, generator=generator)
        labels = torch.arange(n) % k
        noise = torch.rand(n, d, generator=generator) + torch.rand(d, generator=generator)
        self.train = torch.relu(self.weight[labels] + noise)
        self.labels = labels.numpy()
        self.val = torch.relu(self.weight[labels.flip(0)] + torch.rand(n, d, generator=generator))
        self.rows = torch.relu(torch.randn(37, d, generator=generator) + 0.5)
        val = FeatureSet("val", self.val, np.zeros(n, np.int64), labels.flip(0).numpy(), "val")
        self.data = FitData(
            FeatureSet("train", self.train, self.labels, self.labels, "train"), val, self.weight, self.bias
        )

    def fitted(self, name: str, **settings: Any) -> Method:
        method = methods.create(name, settings)
        method.fit(self.data)
        return method


@pytest.fixture(params=SHAPES, ids=str)
def world(request: pytest.FixtureRequest) -> World:
    return World(*request.param)


Oracle = Callable[[World, Tensor], "np.ndarray[Any, Any]"]

ORACLES: list[tuple[str, dict[str, Any], Oracle]] = [
    ("mds", {}, lambda w, x: literal.mahalanobis(w.train, w.labels, x, unit=False, relative=False)),
    ("rmds", {}, lambda w, x: literal.mahalanobis(w.train, w.labels, x, unit=False, relative=True)),
    ("mds++", {}, lambda w, x: literal.mahalanobis(w.train, w.labels, x, unit=True, relative=False)),
    ("rmds++", {}, lambda w, x: literal.mahalanobis(w.train, w.labels, x, unit=True, relative=True)),
    ("fdbd", {}, lambda w, x: literal.fdbd(w.train, w.weight, w.bias, x, from_mean=True)),
    (
        "fdbd",
        {"distance_as_normalizer": False},
        lambda w, x: literal.fdbd(w.train, w.weight, w.bias, x, from_mean=False),
    ),
    ("nci", {"alpha": 0.01}, lambda w, x: literal.nci(w.train, w.weight, w.bias, x, 0.01)),
    (
        "nnguide",
        {"K": 3, "alpha": 0.2, "batch": 10},
        lambda w, x: literal.nnguide(w.train, w.weight, w.bias, x, 3, 0.2, 10),
    ),
    ("vra", {}, lambda w, x: literal.vra(w.val, w.weight, w.bias, x, 90, 10)),
    ("ash-s", {"percentile": 65}, lambda w, x: literal.ash(w.weight, w.bias, x, 65, sharpen=True)),
    ("ash-p", {"percentile": 65}, lambda w, x: literal.ash(w.weight, w.bias, x, 65, sharpen=False)),
    ("lts", {"p": 0.2}, lambda w, x: literal.lts(w.weight, w.bias, x, 0.2)),
    ("gradnorm", {}, lambda w, x: literal.gradnorm(w.weight, w.bias, x)),
    ("entropy", {}, lambda w, x: literal.entropy(w.weight, w.bias, x)),
    ("pnml", {}, lambda w, x: literal.pnml(w.train, w.weight, w.bias, x)),
    ("gmm", {"reg": 0.01}, lambda w, x: literal.gmm(w.train, w.labels, x, 0.01)),
    (
        "weiper_kldiv",
        {"n_repeats": 6, "n_bins": 20, "smoothing": 4, "smoothing_perturbed": 5},
        lambda w, x: literal.weiper(w.train, w.weight, w.bias, x, repeats=6, bins=20, widths=(4, 5)),
    ),
]


@pytest.mark.parametrize(("name", "settings", "oracle"), ORACLES, ids=[f"{n} {s}" for n, s, _ in ORACLES])
def test_scores_equal_the_literal_reading(name: str, settings: dict[str, Any], oracle: Oracle, world: World) -> None:
    got = world.fitted(name, **settings).score(world.rows).numpy()
    np.testing.assert_allclose(got, oracle(world, world.rows), rtol=2e-4, atol=2e-4)


FILES = {"centred", "densities", "gradients", "logits", "mahalanobis", "neighbours", "shaping", "subspace", "weiper"}


def test_every_method_in_these_files_is_held_to_an_oracle_or_named_here() -> None:
    elsewhere = {"openmax", "temp_scaling"}  # below
    by_parity_alone = {"ash", "ebo", "gen", "klm", "knn", "mls", "msp", "react", "scale", "she", "vim"}
    held = {name for name, _, _ in ORACLES} | elsewhere | by_parity_alone
    assert {name for name, found in methods._discover().items() if found.module in FILES} == held


@pytest.mark.parametrize("name", [n for n in methods.names() if n != "line"])
def test_a_row_has_the_same_score_in_every_batch(name: str) -> None:
    world = World(4, 48, 240)
    method = world.fitted(name, **({"dim": 24} if name == "vim" else {}))
    with torch.no_grad():
        whole = method.score(world.rows)
        alone = torch.cat([method.score(world.rows[i : i + 1]) for i in range(len(world.rows))])
    np.testing.assert_allclose(whole.numpy(), alone.numpy(), rtol=1e-4, atol=1e-4)


def test_the_length_of_a_feature_changes_no_plus_plus_score(world: World) -> None:
    for name in ("mds++", "rmds++"):
        method = world.fitted(name)
        torch.testing.assert_close(method.score(world.rows * 7), method.score(world.rows), rtol=1e-5, atol=1e-5)
        plain = world.fitted(name[:-2])
        assert not torch.allclose(plain.score(world.rows * 7), plain.score(world.rows), rtol=1e-2)


def test_temperature_scaling_finds_openoods_temperature() -> None:
    world = World(5, 20, 400)
    method = world.fitted("temp_scaling")
    expected = literal.temperature(world.data.logits(world.val), torch.from_numpy(world.data.val.labels))
    assert abs(expected - 1.5) > 0.05, "the data must move it"
    probabilities = (world.data.logits(world.rows) / expected).softmax(1).amax(1)
    torch.testing.assert_close(method.score(world.rows), probabilities)


def test_openmax_is_highest_where_the_training_images_are() -> None:
    world = World(4, 48, 400)
    method = world.fitted("openmax")
    assert method.score(world.train).median() > method.score(world.rows).median()
    assert ((method.score(world.rows) <= 0) & (method.score(world.rows) >= -1)).all()


@pytest.mark.parametrize("name", ["mds", "rmds++", "openmax"])
def test_a_class_without_an_image_is_named(name: str) -> None:
    world = World(4, 48, 80)
    world.data.train.labels[world.data.train.labels == 2] = -1
    with pytest.raises(FitError, match="class 2"):
        world.fitted(name)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("nnguide", {"K": 61}, "expected 1 to 60"),
        ("nnguide", {"alpha": 2}, "alpha=2 given"),
        ("nnguide", {"K": 2.5}, "a whole number"),
        ("vra", {"percentile_low": 95}, "percentile_low=95 given, expected at most 90"),
        ("lts", {"p": 0}, "p=0 given"),
        ("fdbd", {"distance_as_normalizer": "maybe"}, "expected true or false"),
        ("weiper_kldiv", {"n_bins": 1}, "a whole number from 2"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        World(4, 12, 60).fitted(name, **settings)


def test_gmm_refuses_a_head_whose_covariances_do_not_fit_in_memory() -> None:
    world = World(4, 12, 60)
    head = torch.empty(1000, 2048)
    with pytest.raises(FitError, match="34 GB for 1000 classes"):
        methods.create("gmm").fit(FitData(world.data.train, world.data.val, head, torch.empty(1000)))


KEPT: dict[str, Callable[[Any], list[Tensor]]] = {
    "dice": lambda m: [m._weight],
    "fdbd": lambda m: [m._detector._denom_matrix, m._detector.train_mean],
    "gmm": lambda m: [m._detector._precision, m._detector._mu, m._detector._log_det, m._detector._log_weights],
    "klm": lambda m: list(m._detector.dists.values()),
    "mds++": lambda m: [m._detector.mu, m._detector.precision],
    "nci": lambda m: [m._detector.global_mean],
    "nnguide": lambda m: [m._detector._scaled_features],
    "pnml": lambda m: [m._detector._feature_projector],
    "rmds": lambda m: [
        m._detector.mu,
        m._detector.precision,
        m._detector.background_mu,
        m._detector.background_precision,
    ],
    "she": lambda m: [m._detector.patterns],
    "vra": lambda m: [m._detector._lower_threshold, m._detector._upper_threshold],
    "weiper_kldiv": lambda m: [m._weight, m._bias, *m._edges, *m._typical],
}


@pytest.mark.parametrize("name", KEPT)
def test_the_state_that_is_listed_is_the_state_that_is_kept(name: str) -> None:
    world = World(4, 48, 240)
    method = world.fitted(name, **({"n_repeats": 6} if name == "weiper_kldiv" else {}))
    formula = methods.described()[name].state.replace(" x ", " * ")
    formula = re.sub(r"(\w) (?=[(\w])", r"\1 * ", formula).replace("max * (", "max(")
    listed = eval(formula, {"max": max, "K": 4, "D": 48, "N": 240, **method.settings})
    assert sum(kept.numel() for kept in KEPT[name](method)) == pytest.approx(listed, rel=0.01), formula


@pytest.mark.real_data
def test_moments_in_float64_are_what_openood_agrees_with_on_the_papers_densenet(real_data: Path) -> None:
    """MNIST, features of unit length: the AUROC of pytorch-ood's own float32 fit is .2 lower, in per cent."""
    from pytorch_ood.detector import RMD
    from safetensors.torch import load_file
    from sklearn.covariance import EmpiricalCovariance

    tensors = load_file(real_data / "features" / "densenet_bc100_12_cifar10.safetensors")
    train, labels = tensors["train.features"], tensors["train.labels"]
    sets = [tensors[f"{name}.features"] for name in ("test", "mnist")]
    known = FeatureSet("train", train, labels.numpy(), labels.numpy(), "train")
    method = methods.create("rmds++")
    method.fit(FitData(known, known, tensors["weight"], tensors["bias"]))
    unit = [torch.nn.functional.normalize(z, dim=1) for z in (train, *sets)]
    library = RMD(None).fit_features(unit[0], labels)
    means = torch.stack([unit[0][labels == c].mean(dim=0) for c in range(10)])
    inside = torch.from_numpy(EmpiricalCovariance().fit((unit[0] - means[labels]).numpy()).precision_).float()
    whole = torch.from_numpy(EmpiricalCovariance().fit(unit[0].numpy()).precision_).float()

    def as_openood(z: Tensor) -> Tensor:
        far = z - unit[0].mean(dim=0)
        distances = [((z - m) @ inside * (z - m)).sum(dim=1) for m in means]
        return (far @ whole * far).sum(dim=1) - torch.stack(distances).amin(dim=0)

    def auroc(score: Callable[[Tensor], Tensor], a: Tensor, b: Tensor) -> float:
        return 100 * ood_metrics(score(a).numpy(), score(b).numpy()).auroc

    ours = auroc(method.score, *sets)
    assert ours == pytest.approx(auroc(as_openood, *unit[1:]), abs=0.02)
    assert ours - auroc(lambda z: -library.predict_features(z), *unit[1:]) > 0.15
