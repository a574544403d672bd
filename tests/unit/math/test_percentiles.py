"""Percentiles of scaled columns against numpy's over all the products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from line_plugin.math import masks
from line_plugin.math.percentiles import SortedColumns, between, clip_at_percentile


@settings(deadline=None, max_examples=150)
@given(
    k=st.integers(1, 120),
    d=st.integers(1, 80),
    p=st.one_of(st.sampled_from([0, 10, 50, 90, 100]), st.floats(0, 100)),
    seed=st.integers(0, 999),
    digits=st.sampled_from([1, 17]),
    dead=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_percentile_is_numpys_bit_for_bit_or_declined(
    k: int, d: int, p: float, seed: int, digits: int, dead: float
) -> None:
    rng = np.random.default_rng(seed)
    head = rng.normal(size=(k, d)).astype(np.float32).astype(np.float64).round(digits)
    scale = np.where(rng.random(d) < dead, 0.0, rng.gamma(0.3, 1, d))
    found = SortedColumns(head).percentile(scale, p)
    assert found is None or found == np.percentile(scale * head, p)


@pytest.mark.parametrize("p", [1, 10, 50, 90, 99])
@pytest.mark.parametrize(("k", "d"), [(10, 342), (100, 342), (200, 512)])
def test_it_is_found_without_the_products_on_heads_of_usual_size(k: int, d: int, p: float) -> None:
    rng = np.random.default_rng(0)
    head = rng.normal(0, 0.1, (k, d)).astype(np.float32).astype(np.float64)
    columns = SortedColumns(head)
    for _ in range(20):
        scale = rng.gamma(0.5, 1, d)
        assert columns.percentile(scale, p) == np.percentile(scale * head, p)


def test_a_sample_that_misleads_is_declined_and_the_threshold_is_still_numpys() -> None:
    # Every column jumps right behind its last sampled row, so that the sample says nothing about the top.
    head = np.tile(np.r_[np.zeros(97), 1.0, 2.0, 3.0][:, None], (1, 50)) * np.linspace(1, 2, 50)
    scale = np.ones(50)
    assert SortedColumns(head).percentile(scale, 98.5) is None
    thresholds = masks.weight_thresholds(np.ones((100, 50)), head, 98.5)
    assert set(thresholds.tolist()) == {float(np.percentile(head, 98.5))}


def test_half_way_between_two_numbers_is_rounded_as_numpy_rounds_it() -> None:
    rng = np.random.default_rng(0)
    pairs = np.sort(rng.normal(size=(2000, 2)), axis=1)
    assert [between(a, b, 0.5) for a, b in pairs] == np.percentile(pairs, 50, axis=1).tolist()


@pytest.mark.parametrize("percentile", [0.5, 1.0, 99.5])
def test_features_may_be_clipped_at_any_percentile_strictly_between_0_and_100(percentile: float) -> None:
    features = torch.arange(1.0, 101.0)[:, None]
    assert clip_at_percentile(features, percentile) == pytest.approx(np.percentile(features, percentile))
