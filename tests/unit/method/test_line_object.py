"""The LINe object: fitting, merging, refusing, sweeping."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from line_plugin import ClassSums, LINe
from line_plugin.errors import (
    EmptyClassError,
    FeatureError,
    FitError,
    NonFiniteError,
    NotFittedError,
    SettingsError,
    WidthError,
)
from line_plugin.method.fit import NegativeFeatureWarning


def features(n: int = 60, k: int = 4, d: int = 9, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.relu(torch.randn(n, d, generator=g)), torch.arange(n) % k


def head(k: int = 4, d: int = 9, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(k, d, generator=g), torch.randn(k, generator=g)


@pytest.fixture
def fitted() -> LINe:
    return LINe(50, 50, 1.0).fit_features(*features(), *head())


def test_batches_of_zero_and_one_score(fitted: LINe) -> None:
    x, _ = features(5)
    assert fitted.score(x[:0]).shape == (0,)
    assert fitted.score(x[:1]).shape == (1,)
    assert fitted.predict(x[:0])[0].dtype == torch.int64


def test_a_row_scores_the_same_alone_and_in_a_batch(fitted: LINe) -> None:
    x, _ = features(50, seed=5)
    together = fitted.predict(x)
    alone = [fitted.predict(row[None]) for row in x]
    assert torch.equal(torch.cat([c for c, _ in alone]), together[0])
    assert torch.equal(torch.cat([s for _, s in alone]), together[1])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 60), st.integers(0, 1000))
def test_merging_two_partial_fits_equals_one_fit(cut: int, seed: int) -> None:
    x, y = features(seed=seed)
    whole = ClassSums.zeros(4, 9).add_(x, y)
    merged = ClassSums.zeros(4, 9).add_(x[:cut], y[:cut]).merge(ClassSums.zeros(4, 9).add_(x[cut:], y[cut:]))
    assert torch.equal(whole.counts, merged.counts)
    torch.testing.assert_close(whole.sums, merged.sums, rtol=1e-14, atol=1e-14)
    one, two = (LINe(50, 50, 1.0).fit_sums(s, *head()) for s in (whole, merged))
    torch.testing.assert_close(one.score(x), two.score(x))


def test_unknown_labels_are_ignored() -> None:
    x, y = features()
    hidden = y.clone()
    hidden[::7] = -1
    kept = hidden >= 0
    one = LINe(50, 50, 1.0).fit_features(x, hidden, *head())
    two = LINe(50, 50, 1.0).fit_features(x[kept], y[kept], *head())
    assert torch.equal(one.score(x), two.score(x))


def test_an_empty_class_is_refused_by_name() -> None:
    x, y = features()
    y[y == 2] = 1
    with pytest.raises(EmptyClassError, match=r"no training image of class bird \(1 of 4 classes\)"):
        LINe().fit_features(x, y, *head(), class_names=["cat", "dog", "bird", "fish"])


def test_a_label_beyond_the_head_is_refused() -> None:
    x, y = features()
    y[3] = 4
    with pytest.raises(FitError, match="label 4 given, but the head has 4 classes"):
        LINe().fit_features(x, y, *head())


def test_nan_and_inf_are_counted(fitted: LINe) -> None:
    x, _ = features(6)
    x[1, 2], x[1, 3], x[4, 0] = torch.nan, torch.inf, -torch.inf
    with pytest.raises(NonFiniteError, match="3 NaN or Inf in 2 of 6 rows"):
        fitted.score(x)
    with pytest.raises(NonFiniteError, match="3 NaN or Inf among"):
        LINe().fit_features(x, torch.arange(6) % 4, *head())


def test_wrong_width_says_got_and_expected(fitted: LINe) -> None:
    with pytest.raises(WidthError, match=r"\(2, 8\) given, expected \(N, 9\)"):
        fitted.score(torch.rand(2, 8))
    with pytest.raises(WidthError, match=r"expected \(N, 9\)"):
        fitted.score(torch.rand(9))


def test_integer_features_are_refused(fitted: LINe) -> None:
    with pytest.raises(FeatureError, match=r"dtype torch.int64 given"):
        fitted.score(torch.ones(2, 9, dtype=torch.int64))


def test_scoring_before_fitting_is_refused() -> None:
    with pytest.raises(NotFittedError, match="not fitted"):
        LINe().score(torch.rand(1, 3))


@pytest.mark.parametrize("wrong", [{"p_w": 101}, {"p_a": -1}, {"clip": 0.0}, {"clip": float("nan")}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(wrong))}="):
        LINe(**wrong)


def test_an_unknown_preset_offers_the_nearest() -> None:
    with pytest.raises(SettingsError, match="did you mean 'cifar10-densenet'"):
        LINe.preset("cifar10-densenett")


def test_with_settings_equals_a_fresh_fit(fitted: LINe) -> None:
    x, y = features()
    for p_w, p_a, clip in [(50, 20, 0.5), (10, None, None), (None, 90, 2.0)]:
        fresh = LINe(p_w, p_a, clip).fit_features(x, y, *head())
        assert torch.equal(fitted.with_settings(p_w, p_a, clip).score(x), fresh.score(x))


def test_negative_features_are_warned_about_and_scored() -> None:
    x, y = features()
    with pytest.warns(NegativeFeatureWarning, match="assumes pooled activations behind a ReLU"):
        line = LINe(50, 50, 1.0).fit_features(x - 0.3, y, *head())
    assert torch.isfinite(line.score(x)).all()


def test_fit_from_a_loader_equals_fit_from_its_features() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4))
    images, labels = torch.randn(50, 3, 2, 2), torch.arange(50) % 4
    loader = [(images[i : i + 8], labels[i : i + 8]) for i in range(0, 50, 8)]
    line = LINe(50, 50, 1.0).fit(net, loader)
    x = net[:3](images).detach()
    direct = LINe(50, 50, 1.0).fit_features(x, labels, net[3].weight, net[3].bias)
    torch.testing.assert_close(line.score(x), direct.score(x))
    assert line.provenance.head == "3"
    assert line.num_samples == 50


def test_a_loader_without_a_batch_is_refused() -> None:
    with pytest.raises(FitError, match="no batch"):
        LINe().fit(nn.Linear(3, 2), [])


def test_no_tensor_larger_than_the_head_is_kept() -> None:
    k, d = 30, 64
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(300, d, generator=g), torch.arange(300) % k
    line = LINe(10, 10, 0.8).fit_features(x, y, *head(k, d))
    held = [t for t in vars(line._state).values() if isinstance(t, torch.Tensor)] + [line.sums.sums]
    assert max(t.numel() for t in held) == k * d


def test_near_ties_are_decided_alike_in_every_batch() -> None:
    # Two equal rows in the head: the lower class wins wherever the row stands in the batch.
    weight, bias = head(6, 9)
    weight[4], bias[4] = weight[1] * (1 + 1e-7), bias[1]
    x, y = features(64, 6)
    line = LINe(50, 50, None).fit_features(x, y, weight, bias)
    whole = line.predict(x)[0]
    for start in range(0, 64, 5):
        np.testing.assert_array_equal(line.predict(x[start : start + 5])[0], whole[start : start + 5])
