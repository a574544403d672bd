"""The threshold from ID data alone: the fast reading equals the literal one, and what the choice depends on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from line_plugin.errors import FitError, NonFiniteError, WidthError
from line_plugin.math import leave_out
from line_plugin.math.clip_choice import PERCENTILES, Candidate
from line_plugin.math.leave_out import choose_clip, deal_classes
from tests.oracle import literal_leave_out as literal

Data = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def data(n: int = 60, d: int = 7, k: int = 6, seed: int = 0) -> Data:
    """Rows behind a ReLU, each class with a few neurons of its own, and a head that knows them."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % k
    centres = torch.rand(k, d, generator=g)
    features = (centres[labels] + 0.6 * torch.randn(n, d, generator=g)).relu()
    return features, labels, 3 * (centres - centres.mean(0)), 0.1 * torch.randn(k, generator=g)


@pytest.mark.parametrize(("n", "d", "k"), [(60, 7, 6), (31, 5, 11), (24, 9, 5), (40, 3, 3), (30, 4, 2), (1030, 3, 7)])
def test_every_auroc_of_the_table_equals_the_literal_reading(n: int, d: int, k: int) -> None:
    x, y, w, b = data(n, d, k)
    found = choose_clip(x, y, w, b, seed=3, percentiles=(80, 95, 99.5))
    for candidate in found.candidates:
        assert candidate.clip == pytest.approx(np.percentile(x.numpy(), candidate.percentile), rel=1e-6)
        expected = literal.fold_aurocs(
            x.double().numpy(), y.numpy(), w.double().numpy(), b.double().numpy(), candidate.clip, found.folds
        )
        assert candidate.aurocs == pytest.approx(expected, abs=1e-12)
    assert found.percentile == literal.choose(
        [c.percentile for c in found.candidates], [c.mean for c in found.candidates]
    )


def test_classes_are_dealt_once_each_into_folds_of_equal_size() -> None:
    for k in (2, 4, 5, 6, 99, 1000):
        folds = deal_classes(k, seed=1)
        assert sorted(c for f in folds for c in f) == list(range(k))
        assert len(folds) == min(k, 5)
        assert max(map(len, folds)) - min(map(len, folds)) <= 1


def test_the_dealing_is_the_same_on_every_machine_and_changes_with_the_seed() -> None:
    np.random.seed(4)  # the state of no other generator counts
    torch.manual_seed(4)
    assert deal_classes(10, seed=0) == ((2, 4), (0, 3), (1, 7), (5, 9), (6, 8))
    assert len({deal_classes(10, seed=s) for s in range(20)}) > 15


@given(st.lists(st.sampled_from([0.9, 0.8972, 0.8949, 0.8]), min_size=len(PERCENTILES), max_size=len(PERCENTILES)))
@settings(max_examples=200, deadline=None)
def test_of_the_candidates_near_the_best_the_one_nearest_the_usual_percentile_is_taken(means: list[float]) -> None:
    candidates = [Candidate(p, 1.0, (m,)) for p, m in zip(PERCENTILES, means, strict=True)]
    assert leave_out.take(candidates).percentile == literal.choose(list(PERCENTILES), means)


def test_a_clear_best_far_from_the_usual_percentile_is_taken() -> None:
    candidates = [Candidate(p, 1.0, (0.9 if p == 80 else 0.8,)) for p in PERCENTILES]
    assert leave_out.take(candidates).percentile == 80


def test_features_that_never_fire_change_nothing() -> None:
    x, y, w, b = data()
    plain = choose_clip(x, y, w, b)
    wide = choose_clip(
        torch.cat([x, torch.zeros(len(x), 30)], dim=1), y, torch.cat([w, torch.ones(len(w), 30)], dim=1), b
    )
    assert (wide.clip, wide.percentile) == (plain.clip, plain.percentile)
    assert [c.aurocs for c in wide.candidates] == [c.aurocs for c in plain.candidates]
    assert wide.dead == 30
    assert any("30 of 37 features are 0 in all 60 rows" in s for s in wide.limits())


def test_the_choice_scales_with_the_features() -> None:
    x, y, w, b = data()
    plain, scaled = choose_clip(x, y, w, b), choose_clip(4 * x, y, w / 4, b)
    assert scaled.clip == 4 * plain.clip
    assert [c.aurocs for c in scaled.candidates] == [c.aurocs for c in plain.candidates]


def test_the_order_of_the_rows_changes_nothing() -> None:
    x, y, w, b = data()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    assert choose_clip(x, y, w, b) == choose_clip(x[order], y[order], w, b)


def test_the_number_of_threads_changes_nothing() -> None:
    x, y, w, b = data(3000, 64, 20)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = choose_clip(x, y, w, b)
        torch.set_num_threads(2)
        assert choose_clip(x, y, w, b) == one
    finally:
        torch.set_num_threads(before)


def test_percentiles_without_a_positive_value_are_not_tried_and_it_is_said() -> None:
    x, y, w, b = data()
    sparse = x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.08)
    found = choose_clip(sparse, y, w, b)
    assert found.candidates
    assert len(found.candidates) < len(PERCENTILES)
    assert all(c.clip > 0 for c in found.candidates)
    assert any("percentiles are 0 or less and were not tried" in s for s in found.limits())


def test_activations_that_are_all_zero_are_refused() -> None:
    _, y, w, b = data()
    with pytest.raises(FitError, match="nothing to clip"):
        choose_clip(torch.zeros(60, 7), y, w, b)


def test_few_classes_are_left_out_one_by_one_and_it_is_said() -> None:
    x, y, w, b = data(k=3)
    found = choose_clip(x, y, w, b)
    assert sorted(found.folds) == [(0,), (1,), (2,)]
    assert any("3 classes, fewer than 5" in s for s in found.limits())


def test_one_class_gives_the_usual_percentile_unjudged_and_it_is_said() -> None:
    x, y, w, b = data(k=1)
    found = choose_clip(x, y, w, b)
    assert found.percentile == 97.5
    assert found.folds == ()
    assert all(c.aurocs == () for c in found.candidates)
    assert any("without a check" in s for s in found.limits())


def test_few_rows_and_negative_features_are_said() -> None:
    x, y, w, b = data()
    assert any("60 training rows were used" in s for s in choose_clip(x, y, w, b).limits())
    sentences = choose_clip(x - 0.5, y, w, b).limits()
    assert any("negative" in s and "rmds++ or mds++" in s for s in sentences)


def test_nothing_is_said_of_data_that_are_as_they_should_be() -> None:
    x, y, w, b = data(600)
    assert choose_clip(x + 0.01, y, w, b).limits() == []


def test_what_does_not_belong_together_is_refused() -> None:
    x, y, w, b = data()
    with pytest.raises(WidthError, match=r"expected \(N, 7\)"):
        choose_clip(x[:, :5], y, w, b)
    with pytest.raises(WidthError):
        choose_clip(x, y[:3], w, b)
    with pytest.raises(FitError, match="no training row"):
        choose_clip(x[:0], y[:0], w, b)
    with pytest.raises(FitError, match="expected classes from 0 to 5"):
        choose_clip(x, y + 1, w, b)
    x[3, 2] = float("nan")
    with pytest.raises(NonFiniteError, match="1 NaN or Inf"):
        choose_clip(x, y, w, b)
