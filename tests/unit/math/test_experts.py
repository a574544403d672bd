"""The experts of the panel against one row at a time, and what streams for them against numpy on all rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from line_plugin.errors import EmptyClassError, FitError, SettingsError, WidthError
from line_plugin.math.experts.angle import centre_weight, score_angle
from line_plugin.math.experts.combination import Scale, combine
from line_plugin.math.experts.prototypes import find_prototypes, score_prototypes
from line_plugin.math.experts.virtual_logit import Subspace, find_alpha, score_virtual_logit
from line_plugin.math.moments import Moments
from tests.oracle import literal_panel

SHAPES = st.tuples(st.integers(1, 6), st.integers(2, 13), st.integers(0, 1000))


def rows(n: int, d: int, seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.relu(torch.randn(n, d, generator=g, dtype=torch.float64)) + 0.01


def head(k: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed + 1)
    return torch.randn(k, d, generator=g, dtype=torch.float64), torch.randn(k, generator=g, dtype=torch.float64)


@settings(deadline=None, max_examples=30)
@given(SHAPES, st.sampled_from([None, 0.4]))
def test_the_angle_is_its_formula_row_by_row(shape: tuple[int, int, int], clip: float | None) -> None:
    k, d, seed = shape
    x, (weight, _) = rows(9, d, seed), head(k, d, seed)
    z = x if clip is None else x.clamp(max=clip)
    mean = z[:5].mean(dim=0) + 0.1
    expected = [literal_panel.angle(a, clip, mean.numpy(), weight.numpy()) for a in x.numpy()]
    np.testing.assert_allclose(score_angle(z, mean, centre_weight(weight)), expected, rtol=1e-9)


def test_a_row_at_the_mean_has_a_finite_angle() -> None:
    mean = torch.ones(4, dtype=torch.float64)
    assert torch.isfinite(score_angle(mean[None], mean, torch.randn(3, 4, dtype=torch.float64))).all()


@settings(deadline=None, max_examples=30)
@given(SHAPES, st.integers(1, 4))
def test_the_prototype_score_is_the_distance_to_the_nearest_of_its_class(shape: tuple[int, int, int], p: int) -> None:
    k, d, seed = shape
    x, centres = rows(9, d, seed), torch.nn.functional.normalize(rows(k * p, d, seed + 5), dim=1).reshape(k, p, d)
    classes = torch.arange(9) % k
    expected = [literal_panel.prototypes(a, centres[c].numpy()) for a, c in zip(x.numpy(), classes, strict=True)]
    np.testing.assert_allclose(score_prototypes(x, classes, centres), expected, atol=1e-7)


def test_prototypes_find_the_directions_that_rows_come_in() -> None:
    g = torch.Generator().manual_seed(0)
    directions = torch.eye(6, dtype=torch.float64)[[0, 2, 4]]
    lengths = 1 + torch.rand(90, 1, generator=g, dtype=torch.float64)
    x = (directions[torch.arange(90) % 3] + 0.01 * torch.randn(90, 6, generator=g, dtype=torch.float64)) * lengths
    found = find_prototypes(x, torch.zeros(90, dtype=torch.int64), 1, 3)[0]
    nearest = (found @ directions.T).max(dim=1)
    assert sorted(nearest.indices.tolist()) == [0, 1, 2]
    assert (nearest.values > 0.999).all()
    assert torch.allclose(found.norm(dim=1), torch.ones(3, dtype=torch.float64))


def test_a_class_of_fewer_rows_than_prototypes_has_some_twice() -> None:
    x = rows(2, 5, 0)
    found = find_prototypes(x, torch.zeros(2, dtype=torch.int64), 1, 4)[0]
    torch.testing.assert_close(found[:2], torch.nn.functional.normalize(x, dim=1))
    torch.testing.assert_close(found[2:], found[:2])


def test_prototypes_refuse_an_empty_class_and_a_count_of_zero() -> None:
    x, labels = rows(4, 5, 0), torch.tensor([0, 0, 2, 2])
    with pytest.raises(EmptyClassError, match="class 1"):
        find_prototypes(x, labels, 3, 2)
    with pytest.raises(SettingsError, match="prototypes=0"):
        find_prototypes(x, labels, 3, 0)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 13), st.data(), st.integers(0, 1000))
def test_the_residual_is_what_the_principal_axes_leave(d: int, data: st.DataObject, seed: int) -> None:
    principal = data.draw(st.integers(1, d))
    x = rows(40, d, seed)
    covariance = torch.cov(x.T, correction=0).reshape(d, d)
    subspace = Subspace.find(x.mean(dim=0), covariance, principal)
    assert len(subspace.basis) == min(principal, d - principal) or principal == d
    expected = [literal_panel.residual(a, x.mean(dim=0).numpy(), covariance.numpy(), principal) for a in x.numpy()]
    np.testing.assert_allclose(subspace.residual(x), expected, atol=1e-6)


def test_the_principal_subspace_has_256_dimensions_or_half_of_the_width() -> None:
    for width, directions, is_residual in ((300, 44, True), (600, 256, False), (256, 128, True), (1, 1, False)):
        found = Subspace.find(torch.zeros(width).double(), torch.diag(torch.arange(width)).double())
        assert (len(found.basis), found.is_residual) == (directions if width > 1 else 0, is_residual or width == 1)


def test_the_virtual_logit_takes_the_residual_in_units_of_the_largest_logit() -> None:
    x, (weight, bias) = rows(20, 7, 3), head(3, 7, 3)
    classes = (x @ weight.T + bias).argmax(dim=1)
    subspace = Subspace.find(x.mean(dim=0), torch.cov(x.T, correction=0), 3)
    logits = (x @ weight.T + bias).amax(dim=1)
    alpha = find_alpha(logits, subspace.residual(x))
    assert alpha == pytest.approx(float(logits.mean() / subspace.residual(x).mean()))
    scores = score_virtual_logit(x, classes, weight, bias, subspace, alpha)
    torch.testing.assert_close(scores, logits - alpha * subspace.residual(x))
    assert float(scores.mean()) == pytest.approx(0, abs=1e-9)
    assert find_alpha(logits, torch.zeros(20)) == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 60), st.integers(1, 4), st.integers(0, 1000))
def test_the_sum_counts_each_expert_in_units_of_its_spread_below_the_median(n: int, experts: int, seed: int) -> None:
    g = np.random.default_rng(seed)
    training, new = g.normal(size=(n, experts)) * 10.0 ** g.integers(-3, 4, experts), g.normal(size=(7, experts))
    scales = [Scale.find("one", torch.from_numpy(training[:, e])) for e in range(experts)]
    found = combine([torch.from_numpy(new[:, e]) for e in range(experts)], scales)
    np.testing.assert_allclose(found, literal_panel.combined(new, training), rtol=1e-9, atol=1e-9)


def test_an_expert_that_gives_every_row_the_same_is_refused() -> None:
    with pytest.raises(FitError, match="expert 'angle' has median 2"):
        Scale.find("angle", torch.full((50,), 2.0))
    with pytest.raises(FitError, match="expert 'angle'"):
        Scale.find("angle", torch.tensor([1.0, float("nan"), 2.0]))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 9), st.integers(0, 1000))
def test_moments_do_not_depend_on_the_batches(n: int, cut: int, d: int, seed: int) -> None:
    x, moments = rows(n, d, seed).float(), Moments.zeros(d)
    moments.add_(x[:cut])
    moments.add_(x[cut:])
    wide = x.double().numpy()
    np.testing.assert_allclose(moments.mean, wide.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(wide.T, ddof=0).reshape(d, d), atol=1e-12)


def test_moments_refuse_another_width_and_no_row() -> None:
    with pytest.raises(WidthError, match=r"\(2, 3\) given, expected \(N, 4\)"):
        Moments.zeros(4).add_(torch.rand(2, 3))
    with pytest.raises(FitError, match="moments of no row"):
        _ = Moments.zeros(4).mean


def test_a_centred_weight_has_the_kind_of_numbers_it_is_made_of_and_lies_where_it_lay() -> None:
    weight = np.array([[1, 2], [3, 6]], np.float32)
    assert centre_weight(weight).dtype == np.float32
    centred = centre_weight(torch.from_numpy(weight))
    assert (centred.dtype, centred.tolist()) == (torch.float32, [[-1, -2], [1, 2]])


def test_arrays_are_scaled_as_tensors_are() -> None:
    scale, values = Scale(2.0, 4.0), np.array([2, 6, -2], np.float32)
    scaled = scale.apply(values)
    assert (scaled.dtype, scaled.tolist()) == (np.float64, [0, 1, -1])
    assert scale.apply(torch.from_numpy(values)).tolist() == [0, 1, -1]


def test_an_expert_that_is_refused_is_named_with_its_quantiles_and_what_to_do() -> None:
    with pytest.raises(FitError) as refused:
        Scale.find("angle", torch.ones(3))
    assert str(refused.value) == (
        "expert 'angle' has median 1 and 1 % quantile 1 over 3 training rows, expected the median to be above: leave "
        "this expert out, or fit on more different images"
    )
