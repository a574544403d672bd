"""Class sums, contributions, percentiles and floors: written out by hand, and refused in whole sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from line_plugin.errors import EmptyClassError, FitError, NonFiniteError, SettingsError, WidthError
from line_plugin.math import masks
from line_plugin.math.contributions import ClassSums, class_means, contributions
from line_plugin.math.decomposition import MaskedHead, decompose
from line_plugin.math.moments import Moments
from line_plugin.math.percentiles import between, clip_at_percentile

X = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [9.0, 9.0]])
Y = torch.tensor([1, 0, 1, -1])


# -- class sums --------------------------------------------------------------------------------------------------------


def test_rows_are_added_to_their_class_and_unknown_ones_to_none() -> None:
    sums = ClassSums.zeros(3, 2)
    assert sums.add_(X.half(), Y) is sums
    assert sums.sums.tolist() == [[3.0, 4.0], [6.0, 8.0], [0.0, 0.0]]
    assert sums.counts.tolist() == [1, 2, 0]
    assert (sums.sums.dtype, sums.counts.dtype) == (torch.float64, torch.int64)
    assert (sums.num_classes, sums.width, sums.num_samples) == (3, 2, 3)
    assert sums.add_(X[:0], Y[:0]).num_samples == 3
    assert ClassSums.zeros(3, 2).add_(X, Y.to(torch.int8)).counts.tolist() == [1, 2, 0], "labels of any integer kind"
    assert sums.add_(X[3:] * math.nan, Y[3:]).num_samples == 3, "an unknown row may hold anything"


def test_sums_of_two_parts_are_those_of_the_whole_and_a_copy_is_left_alone() -> None:
    one, other = ClassSums.zeros(2, 2).add_(X[:2], Y[:2]), ClassSums.zeros(2, 2).add_(X[2:], Y[2:])
    kept = one.copy()
    both = one.merge(other)
    one.add_(X[:1], Y[:1])
    assert both.sums.tolist() == [[3.0, 4.0], [6.0, 8.0]]
    assert (both.counts.tolist(), kept.counts.tolist(), one.counts.tolist()) == ([1, 2], [1, 1], [1, 2])
    assert kept.sums.tolist() == [[3.0, 4.0], [1.0, 2.0]]


@pytest.mark.parametrize("kind", [np.array, torch.tensor], ids=["array", "tensor"])
def test_a_contribution_is_the_weight_times_the_class_mean(kind: Callable) -> None:
    means = class_means(kind([[3.0, 4.0], [6.0, 8.0]]), kind([1, 2]))
    assert means.tolist() == [[3.0, 4.0], [3.0, 4.0]]
    assert contributions(means, kind([[1.0, -2.0], [0.5, 0.0]])).tolist() == [[3.0, -8.0], [1.5, 0.0]]


@pytest.mark.parametrize(
    ("counts", "names", "message"),
    [
        ([1, 0, 2], None, "no training image of class 1 (1 of 3 classes)"),
        ([0, 0, 2], ["cat", "dog", "eel"], "no training image of class cat, dog (2 of 3 classes)"),
        ([0] * 5, None, "no training image of class 0, 1, 2, 3, 4 (5 of 5 classes)"),
        ([0] * 6, None, "no training image of class 0, 1, 2, 3, 4 and 1 more (6 of 6 classes)"),
    ],
)
def test_classes_without_images_are_named_up_to_five(counts: list[int], names: list[str] | None, message: str) -> None:
    whole = f"{message}: a class without images has no contribution; add images or drop the class from the head"
    sums = ClassSums(torch.zeros(len(counts), 2), torch.tensor(counts))
    with pytest.raises(EmptyClassError, match=f"^{re.escape(whole)}$"):
        sums.means(names)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: ClassSums.zeros(3, 2).add_(X[:, :1], Y),
            WidthError,
            "features of shape (4, 1) given, expected (N, 2): pass the pooled input of the classifier head",
        ),
        (
            lambda: ClassSums.zeros(3, 2).add_(X[0], Y),
            WidthError,
            "features of shape (2,) given, expected (N, 2): pass the pooled input of the classifier head",
        ),
        (
            lambda: ClassSums.zeros(3, 2).add_(X, Y[:3]),
            FitError,
            "4 features but labels of shape (3,): pass one label a row",
        ),
        (
            lambda: ClassSums.zeros(2, 2).add_(X, Y + 1),
            FitError,
            "label 2 given, but the head has 2 classes (0 to 1): check the label file against the network",
        ),
        (
            lambda: ClassSums.zeros(2, 2).add_(X / torch.tensor([[1.0, 0.0], [1, 1], [1, 1], [1, 1]]), Y),
            NonFiniteError,
            "1 NaN or Inf among 6 training features: check the network's output",
        ),
        (
            lambda: ClassSums.zeros(2, 2).merge(ClassSums.zeros(2, 3)),
            FitError,
            "cannot merge sums of shape (2, 2) and (2, 3): both parts must come from the same network",
        ),
        (
            lambda: Moments.zeros(4).add_(torch.ones(2, 3)),
            WidthError,
            "features of shape (2, 3) given, expected (N, 4)",
        ),
        (lambda: Moments.zeros(4).add_(torch.ones(4)), WidthError, "features of shape (4,) given, expected (N, 4)"),
        (lambda: Moments.zeros(4).mean, FitError, "moments of no row: pass labelled ID training images"),
        (
            lambda: clip_at_percentile(X, 100),
            SettingsError,
            "clip_percentile=100 given, expected a percentile between 0 and 100",
        ),
        (
            lambda: clip_at_percentile(X, 0),
            SettingsError,
            "clip_percentile=0 given, expected a percentile between 0 and 100",
        ),
        (
            lambda: clip_at_percentile(X.relu() * 0, 90.5),
            SettingsError,
            (
                "percentile 90.5 of the validation features is 0: nothing would be left; give a higher clip_percentile "
                "or a clip"
            ),
        ),
    ],
)
def test_what_cannot_be_summed_is_refused_in_a_whole_sentence(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make()


def test_moments_take_more_rows_at_once_than_one_float64_copy_holds() -> None:
    moments, x = Moments.zeros(2), torch.arange(10_000.0).reshape(5000, 2)
    moments.add_(x)
    assert (moments.count, moments.sums.tolist()) == (5000, x.double().sum(0).tolist())
    assert torch.equal(moments.products, x.double().T @ x.double())


def test_a_clip_is_the_percentile_of_all_features_together() -> None:
    assert clip_at_percentile(X, 50) == 4.5
    assert clip_at_percentile(X, 99.5) == float(np.percentile(X.numpy(), 99.5))
    assert clip_at_percentile(X - 4.4, 50) == pytest.approx(0.1, abs=1e-6)


# -- percentiles -------------------------------------------------------------------------------------------------------


@given(
    values=st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=40),
    p=st.one_of(st.sampled_from([0, 50, 100]), st.floats(0, 100)),
)
@settings(deadline=None, max_examples=60)
def test_the_quick_percentile_is_numpys_bit_for_bit(values: list[float], p: float) -> None:
    assert masks.percentile(np.array(values), p) == float(np.percentile(np.array(values), p))


@pytest.mark.parametrize("p", [0, 1, 50, 98.5, 99.99, 100])
@pytest.mark.parametrize("values", ["normal", "sorted", "few values", "a sample that misleads"])
def test_the_quick_percentile_of_many_values_is_numpys_too(values: str, p: float) -> None:
    rng, n = np.random.default_rng(0), 200_000
    made = {
        "normal": rng.normal(size=n),
        "sorted": np.sort(rng.normal(size=n)),
        "few values": rng.integers(0, 3, n).astype(float),
        "a sample that misleads": np.where(np.arange(n) % (n // 32768) == 0, 0.0, rng.normal(5, 1, n)),
    }[values]
    assert masks.percentile(made, p) == float(np.percentile(made, p))


def test_a_value_between_two_is_taken_from_the_nearer_end() -> None:
    assert [between(1.0, 3.0, s) for s in (0.0, 0.25, 0.5, 1.0)] == [1.0, 1.5, 2.0, 3.0]
    a, b = 0.1, 0.7
    assert between(a, b, 0.3) == a + (b - a) * 0.3 == float(np.percentile([a, b], 30))
    assert between(a, b, 0.9) == b - (b - a) * (1 - 0.9) == float(np.percentile([a, b], 90))


# -- masks -------------------------------------------------------------------------------------------------------------


def test_an_activation_is_kept_above_the_percentile_of_its_class_and_not_at_it() -> None:
    c = np.array([[1.0, 2.0, 3.0], [9.0, -1.0, 9.0]])
    assert masks.activation_mask(c, 50).tolist() == [[False, False, True], [False, False, False]]
    assert masks.activation_mask(c, 0).tolist() == [[False, True, True], [True, False, True]]
    assert masks.activation_mask(c, None).tolist() == [[True] * 3] * 2


def test_weights_are_cut_at_the_percentile_of_all_products_of_a_class() -> None:
    rng = np.random.default_rng(1)
    c, w = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)).astype(np.float32)
    expected = [np.percentile(np.abs(row) * w.astype(np.float64), 40) for row in c]
    assert masks.weight_thresholds(c, w, 40).tolist() == expected
    assert masks.weight_thresholds(c, w, None).tolist() == [-math.inf] * 3


def test_a_floor_stands_for_both_masks() -> None:
    c, keep = np.array([[2.0, -4.0, 0.0, 1.0]]), np.array([[True, True, True, False]])
    inf = math.inf
    assert masks.weight_floors(c, np.array([1.0]), keep).tolist() == [[0.5, 0.25, inf, inf]]
    assert masks.weight_floors(c, np.array([-1.0]), keep).tolist() == [[-0.5, -0.25, -inf, inf]]
    assert masks.weight_floors(c, np.array([0.0]), keep).tolist() == [[0.0, 0.0, inf, inf]]
    assert masks.weight_floors(c, np.array([-inf]), keep).tolist() == [[-inf, -inf, -inf, inf]]


def test_a_floor_of_a_neuron_without_contribution_is_found_without_a_warning() -> None:
    c, keep = np.array([[0.0, 1e-60]]), np.array([[True, True]])
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        assert masks.weight_floors(c, np.array([1.0]), keep).tolist() == [[math.inf, math.inf]]
        assert masks.weight_floors(c, np.array([0.0]), keep).tolist() == [[math.inf, 0.0]]


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_a_floor_is_the_largest_float32_that_does_not_pass(seed: int) -> None:
    rng = np.random.default_rng(seed)
    c, t = rng.normal(size=(2, 5)) * 10.0 ** rng.integers(-3, 3, (2, 5)), rng.normal(size=2)
    floors = masks.weight_floors(c, t, np.ones((2, 5), bool))
    for i in range(2):
        for j in range(5):
            low, high = floors[i, j], np.nextafter(floors[i, j], np.float32(math.inf))
            assert not abs(c[i, j]) * np.float64(low) > t[i]
            assert abs(c[i, j]) * np.float64(high) > t[i]


# -- one confidence taken apart ----------------------------------------------------------------------------------------


def test_every_part_of_a_confidence_by_hand() -> None:
    head = MaskedHead(
        torch.tensor([[1.0, -2.0], [0.5, 4.0]]), torch.tensor([0.25, -0.5]), torch.tensor([[0.0, 9.0], [0.5, 0.0]])
    )
    found = decompose(torch.tensor([3.0, 0.5]), 1, head, 2.0)
    # Class 1 keeps weights above (.5, 0): the 1 of class 0 and the 4 of class 1.
    logits = [2.0 * 1.0 + 0.25, 0.5 * 4.0 - 0.5]
    total = sum(map(math.exp, logits))
    q = [math.exp(g) / total for g in logits]
    assert head.kept(1).tolist() == [[True, False], [False, True]]
    assert head.masked(1).tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert (found.activations.tolist(), found.clipped.tolist()) == ([3.0, 0.5], [2.0, 0.5])
    assert (found.weights.tolist(), found.kept.tolist()) == ([0.5, 4.0], [False, True])
    assert found.contributions.tolist() == [0.0, 2.0]
    assert found.logits.tolist() == logits
    assert found.shares.tolist() == pytest.approx(q)
    assert found.score_contributions.tolist() == pytest.approx([2.0 * q[0], 0.5 * 4 * q[1]])
    assert found.score_bias == pytest.approx(0.25 * q[0] - 0.5 * q[1])
    assert found.entropy == pytest.approx(-sum(p * math.log(p) for p in q))
    assert found.clipped_away.tolist() == [0.0, 0.0]
    assert found.masked_away.tolist() == [1.0, 0.0]
    assert found.score == pytest.approx(math.log(total))
    assert found.score_without_clip == pytest.approx(math.log(math.exp(3.25) + math.exp(1.5)))
    assert found.score_without_mask == pytest.approx(math.log(math.exp(2 - 1 + 0.25) + math.exp(1 + 2 - 0.5)))
    other = decompose(torch.tensor([3.0, 0.5]), 0, head, None)
    assert other.clipped.tolist() == [3.0, 0.5]
    kept = decompose(torch.tensor([3.0, 0.5]), 0, head, 2.0)
    assert kept.clipped_away.tolist() == [1.0, 0.0]
