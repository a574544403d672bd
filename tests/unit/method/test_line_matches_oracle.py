"""LINe against its literal reading."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from line_plugin import PRESETS, LINe
from line_plugin.math import masks
from line_plugin.math.contributions import ClassSums, contributions
from tests.oracle.literal_line import contribution_by_gradient, literal_masks, literal_score

SWITCHES = {
    "cifar10": (90.0, 90.0, 1.0),
    "cifar100": (90.0, 10.0, 1.0),
    "imagenet": (10.0, 10.0, 0.8),
    "no AC": (90.0, 90.0, None),
    "no AP": (90.0, None, 1.0),
    "no WP": (None, 90.0, 1.0),
    "all off": (None, None, None),
}
SHAPES = [(2, 1), (2, 7), (3, 8), (5, 33), (10, 64), (17, 31), (40, 12)]


def problem(k: int, d: int, seed: int, n: int = 50) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    features = torch.relu(torch.randn(n + k, d, generator=g))
    labels = torch.cat([torch.arange(k), torch.randint(0, k, (n,), generator=g)])
    weight, bias = torch.randn(k, d, generator=g) * 0.5, torch.randn(k, generator=g) * 0.1
    test = torch.relu(torch.randn(n, d, generator=g)) * 1.5
    return features, labels, weight, bias, test


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
@pytest.mark.parametrize(("k", "d"), SHAPES)
def test_score_equals_the_literal_reading(k: int, d: int, switch: str) -> None:
    p_w, p_a, clip = SWITCHES[switch]
    features, labels, weight, bias, test = problem(k, d, seed=k * 100 + d)
    line = LINe(p_w, p_a, clip).fit_features(features, labels, weight, bias)
    c = contribution_by_gradient(features.numpy(), labels.numpy(), weight.double().numpy(), bias.double().numpy())
    classes, scores = literal_score(test.numpy(), c, weight.double().numpy(), bias.double().numpy(), p_w, p_a, clip)
    got_classes, got = line.predict(test)
    np.testing.assert_array_equal(got_classes.numpy(), classes)
    np.testing.assert_allclose(got.numpy(), scores, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    k=st.integers(1, 9), d=st.integers(1, 20), p_w=st.floats(0, 100), p_a=st.floats(0, 100), seed=st.integers(0, 999)
)
def test_floors_keep_exactly_the_weights_both_literal_masks_keep(
    k: int, d: int, p_w: float, p_a: float, seed: int
) -> None:
    features, labels, weight, _, _ = problem(k, d, seed)
    features[:, ::3] = 0  # dead neurons: contribution exactly 0
    c = contributions(ClassSums.zeros(k, d).add_(features, labels).means(), weight)
    activation, weights = literal_masks(c.numpy(), weight.double().numpy(), p_w, p_a)
    signed, head = c.numpy(), weight.numpy()
    thresholds = masks.weight_thresholds(signed, head, p_w)
    floors = masks.weight_floors(signed, thresholds, masks.activation_mask(signed, p_a))
    kept = head[None, :, :] > floors[:, None, :]
    np.testing.assert_array_equal(kept, activation[:, None, :] & weights)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000))
def test_a_weight_one_rounding_above_its_floor_passes_and_one_at_it_does_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    c = rng.normal(size=(4, 6)) * 10.0 ** rng.integers(-8, 8, size=(4, 6))
    t = rng.normal(size=4) * 10.0 ** rng.integers(-6, 6, size=4)
    floor = masks.weight_floors(c, t, np.ones((4, 6), np.bool_))
    magnitude, cut = np.abs(c), t[:, None]
    finite = np.isfinite(floor)
    assert not (magnitude * floor > cut)[finite].any()
    assert (magnitude * np.nextafter(floor, np.float32(np.inf)) > cut)[finite].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_low_precision_features_score_as_their_float32_values(dtype: torch.dtype) -> None:
    features, labels, weight, bias, test = problem(6, 19, seed=3)
    line = LINe(10, 10, 0.8).fit_features(features, labels, weight, bias)
    low = test.to(dtype)
    assert torch.equal(line.score(low), line.score(low.float()))
    assert line.score(low).dtype == torch.float32


def test_published_presets_are_the_papers() -> None:
    assert {name: (s.p_w, s.p_a, s.clip) for name, s in PRESETS.items()} == {
        "cifar10-densenet": (90, 90, 1.0),
        "cifar100-densenet": (90, 10, 1.0),
        "imagenet-resnet50": (10, 10, 0.8),
    }
