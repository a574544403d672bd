"""The threshold from ID data alone: the fast reading equals the literal one, and what the choice depends on."""

from __future__ import annotations

import re
from collections.abc import Callable

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
    assert any(
        "60 training rows were used, so an AUROC of the table may be off by about 6 points" in s
        for s in choose_clip(x, y, w, b).limits()
    )
    sentences = choose_clip(x - 0.5, y, w, b).limits()
    assert any("negative" in s and "rmds++ or mds++" in s for s in sentences)


def test_nothing_is_said_of_data_that_are_as_they_should_be() -> None:
    x, y, w, b = data(600)
    assert choose_clip(x + 0.01, y, w, b).limits() == []


# -- in whole sentences, and on the very bounds ------------------------------------------------------------------------


def chosen(
    folds: int = 5, classes: int = 10, rows: int = 500, dead: int = 0, tried: int = 13, negative: float = 0.0
) -> leave_out.LeaveOut:
    dealt = tuple(tuple(range(f, classes, folds)) for f in range(folds)) if classes > 1 else ()
    candidates = tuple(Candidate(p, 1.0, ()) for p in PERCENTILES[:tried])
    return leave_out.LeaveOut(1.0, 97.5, candidates, dealt, 0, rows, 64, dead, negative)


ONE = (
    "The head has one class, so none can be left out: the 97.5th percentile of the training activations was taken "
    "without a check."
)
FEW = (
    "The head has 4 classes, fewer than 5: each was left out by itself, and what is learnt from so few says little "
    "about other inputs. Check the threshold on OOD inputs of your own if you have some."
)
ROWS = (
    "499 training rows were used, so an AUROC of the table may be off by about 2 points or more; fit on at least 500."
)
DEAD = "3 of 64 features are 0 in all 500 rows: they never fire and are in no percentile."
DROPPED = "2 of 13 percentiles are 0 or less and were not tried: most activations are 0."
NEGATIVE = (
    "12.5% of the activations are negative. The rule then still chooses how much of the upper end to clip, but LINe "
    "assumes activations behind a ReLU and does badly on some networks without one (ViT, Swin, ConvNeXt). Compare it "
    "by `openood eval` with the methods ebo, rmds++ or mds++."
)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (chosen(), []),
        (chosen(folds=5, classes=5), []),
        (chosen(classes=1), [ONE]),
        (chosen(classes=1, rows=9), [ONE]),
        (chosen(folds=4, classes=4), [FEW]),
        (chosen(rows=499), [ROWS]),
        (chosen(dead=3), [DEAD]),
        (chosen(tried=11), [DROPPED]),
        (chosen(negative=0.125), [NEGATIVE]),
    ],
    ids=[
        "nothing",
        "five classes",
        "one class",
        "one class, few rows",
        "four",
        "few rows",
        "dead",
        "dropped",
        "negative",
    ],
)
def test_what_a_choice_cannot_stand_on_is_said_in_whole_sentences(made: leave_out.LeaveOut, said: list[str]) -> None:
    assert made.limits() == said


def test_a_choice_says_how_it_was_made() -> None:
    x, y, w, b = data(40, 6, 4)
    x = torch.cat([x, torch.zeros(40, 1)], dim=1) - torch.tensor([0.2, 0, 0, 0, 0, 0, 0])
    w = torch.cat([w, torch.zeros(4, 1)], dim=1)
    found = choose_clip(x, y, w, b, seed=9, folds=2, percentiles=(90, 99))
    live = x[:, :6].numpy()
    assert found.folds == deal_classes(4, 9, 2)
    assert [c.percentile for c in found.candidates] == [90.0, 99.0]
    assert (found.seed, found.rows, found.width, found.dead) == (9, 40, 7, 1)
    assert found.negative == pytest.approx((live < 0).mean())
    taken = leave_out.take(found.candidates)
    assert (found.clip, found.percentile) == (taken.clip, taken.percentile)
    assert found.clip == float(np.float32(found.clip))


@pytest.mark.parametrize(("k", "folds"), [(0, 5), (1, 5), (2, 5), (3, 2)])
def test_classes_are_dealt_in_the_order_of_their_random_numbers(k: int, folds: int) -> None:
    ranks = [int(leave_out.mix(4, np.array([-1]), np.array([c]))[0]) for c in range(k)]
    order = sorted(range(k), key=lambda c: ranks[c])
    count = min(folds, k)
    expected = () if k < 2 else tuple(tuple(sorted(order[f::count])) for f in range(count))
    assert deal_classes(k, 4, folds) == expected


def test_a_fold_without_rows_or_with_all_of_them_is_not_judged() -> None:
    energies = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 0.0], [5.0, 0.0, 1.0]]).double()
    assert len(leave_out._judge(energies, np.array([0, 1, 1]), 3)) == 2
    assert leave_out._judge(energies, np.array([1, 1, 1]), 3) == ()
    assert leave_out._judge(energies, np.array([], dtype=int), 0) == ()


def test_an_auroc_counts_ties_by_half() -> None:
    inside, outside = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0])
    assert leave_out._auroc(inside, outside) == pytest.approx((0.5 + 1 + 3) / 6)


def test_a_candidate_on_the_margin_counts_as_good_and_a_tie_goes_to_the_better_then_the_lower() -> None:
    def pick(*pairs: tuple[float, float], **how: float) -> float:
        return leave_out.take([Candidate(p, 1.0, (m,)) for p, m in pairs], **how).percentile

    assert pick((80, 0.75), (97, 0.5), margin=0.25) == 97
    assert pick((80, 0.75), (97, 0.4999), margin=0.25) == 80
    assert pick((95, 0.5), (100, 0.6), margin=0.25) == 100
    assert pick((100, 0.5), (95, 0.5)) == 95
    assert pick((80, 0.5), (97, 0.5), usual=81) == 80
    assert leave_out.take([Candidate(90, 1.0, ()), Candidate(97, 2.0, ())]).percentile == 97
    assert Candidate(90, 1.0, (0.5, 0.7)).mean == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda x, y, w, b: (x, y, w[0], b),
            WidthError,
            "features (60, 7), weight (7,) and bias (6,) given, expected (N, D), (K, D) and (K,)",
        ),
        (
            lambda x, y, w, b: (x, y, w, b[:5]),
            WidthError,
            "features (60, 7), weight (6, 7) and bias (5,) given, expected (N, D), (K, D) and (K,)",
        ),
        (
            lambda x, y, w, b: (x[0], y, w, b),
            WidthError,
            "features (7,), weight (6, 7) and bias (6,) given, expected (N, D), (K, D) and (K,)",
        ),
        (
            lambda x, y, w, b: (x[:, :5], y, w, b),
            WidthError,
            "features (60, 5) and labels (60,) given, expected (N, 7) and (N,)",
        ),
        (
            lambda x, y, w, b: (x, y[:3], w, b),
            WidthError,
            "features (60, 7) and labels (3,) given, expected (N, 7) and (N,)",
        ),
        (lambda x, y, w, b: (x[:0], y[:0], w, b), FitError, "no training row given: the rule needs some of each class"),
        (lambda x, y, w, b: (x, y + 1, w, b), FitError, "labels from 1 to 6 given, expected classes from 0 to 5"),
        (lambda x, y, w, b: (x, y - 1, w, b), FitError, "labels from -1 to 4 given, expected classes from 0 to 5"),
        (
            lambda x, y, w, b: (x / torch.tensor([0.0] + [1.0] * 6), y, w, b),
            NonFiniteError,
            "60 NaN or Inf among 420 training features: check the network's output",
        ),
        (
            lambda x, y, w, b: (-x.abs(), y, w, b),
            FitError,
            (
                "the 99.9th percentile of the training activations is not above 0, so there is nothing to clip: check "
                "that the features are those that enter the head, or set clip yourself"
            ),
        ),
    ],
)
def test_what_does_not_belong_together_is_refused_in_a_whole_sentence(
    change: Callable[..., Data], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        choose_clip(*change(*data()))
