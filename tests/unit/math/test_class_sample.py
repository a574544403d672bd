"""The bounded sample: which rows are in it, and on what that depends."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from line_plugin.errors import FitError, SettingsError
from line_plugin.math.class_sample import ClassSample, mix


def rows(n: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that say which one they are."""
    return torch.arange(n, dtype=torch.float32)[:, None].repeat(1, 2), (torch.arange(n) * 7 + 3) % k


def drawn(x: torch.Tensor, y: torch.Tensor, k: int, batches: list[int], **how: int) -> ClassSample:
    sample = ClassSample(k, **how)
    for one, label in zip(torch.split(x, batches), torch.split(y, batches), strict=True):
        sample.add_(one, label)
    return sample


def literal(y: torch.Tensor, k: int, per_class: int, seed: int) -> list[int]:
    """Every row ranked, the lowest of each class, class by class."""
    kept = []
    for c in range(k):
        mine = [i for i, label in enumerate(y.tolist()) if label == c]
        ranks = [int(mix(seed, np.array([c]), np.array([place]))[0]) for place in range(len(mine))]
        kept += [i for _, i in sorted(zip(ranks, mine, strict=True))[:per_class]]
    return kept


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 6), st.integers(1, 30), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_however_it_is_batched_the_lowest_ranks_of_each_class_are_kept(
    batches: list[int], k: int, at_most: int, seed: int
) -> None:
    x, y = rows(sum(batches), k)
    sample = drawn(x, y, k, batches, rows=at_most, seed=seed)
    assert sample.features[:, 0].int().tolist() == literal(y, k, max(1, at_most // k), seed)
    assert sample.labels.tolist() == y[sample.features[:, 0].long()].tolist()


def test_how_classes_are_mixed_changes_nothing() -> None:
    x, y = rows(200, 4)
    by_class = torch.argsort(y, stable=True)
    one, other = drawn(x, y, 4, [200], rows=20), drawn(x[by_class], y[by_class], 4, [200], rows=20)
    assert torch.equal(one.features, other.features)


def test_rows_without_a_label_count_for_nothing() -> None:
    x, y = rows(50, 3)
    gaps = torch.full((50,), -1)
    both = torch.stack([gaps, y], dim=1).flatten()
    assert torch.equal(
        drawn(x, y, 3, [50], rows=9).features, drawn(x.repeat_interleave(2, 0), both, 3, [100], rows=9).features
    )


def test_every_row_is_as_likely_as_every_other() -> None:
    x, y = rows(40, 1)
    often = np.zeros(40)
    for seed in range(2000):
        often[drawn(x, y, 1, [40], rows=10, seed=seed).features[:, 0].int().numpy()] += 1
    assert often.min() > 400  # 500 expected, standard deviation 19
    assert often.max() < 600


def test_the_draw_is_the_same_on_every_machine() -> None:
    assert [hex(int(v)) for v in mix(1, np.array([0, 0, 5]), np.array([0, 1, 0]))] == [
        "0x5e41ab087439611e",
        "0xe9fd6049d65af21e",
        "0xa0567ef80dedf5cb",
    ]


def test_more_classes_than_rows_keep_one_row_each() -> None:
    x, y = rows(100, 20)
    assert drawn(x, y, 20, [100], rows=5).labels.tolist() == list(range(20))


def test_half_precision_is_kept_in_float32() -> None:
    x, y = rows(10, 2)
    assert drawn(x.half(), y, 2, [10]).features.dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: ClassSample(2, rows=0),
            SettingsError,
            "a sample of 0 rows of 2 classes was asked for, expected at least 1 of each",
        ),
        (
            lambda: ClassSample(0),
            SettingsError,
            "a sample of 5000 rows of 0 classes was asked for, expected at least 1 of each",
        ),
        (
            lambda: ClassSample(2).add_(torch.ones(3), torch.zeros(3)),
            FitError,
            "features of shape (3,) and labels of shape (3,) given: expected (N, D) and one label a row",
        ),
        (
            lambda: ClassSample(2).add_(torch.ones(3, 4), torch.zeros(2)),
            FitError,
            "features of shape (3, 4) and labels of shape (2,) given: expected (N, D) and one label a row",
        ),
        (
            lambda: ClassSample(2).add_(torch.ones(2, 4), torch.tensor([0, 2])),
            FitError,
            "label 2 given, expected a class from 0 to 1",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused_in_a_whole_sentence(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make()


def test_one_row_of_one_class_is_a_sample_and_no_row_is_an_empty_one() -> None:
    sample = ClassSample(1, rows=1)
    assert (sample.features.shape, sample.labels.tolist()) == ((0, 0), [])
    sample.add_(torch.empty(0, 4), torch.empty(0, dtype=torch.int64))
    assert (sample.features.shape, sample.labels.tolist()) == ((0, 0), [])
    sample.add_(torch.ones(1, 4), torch.tensor([0]))
    assert (sample.features.tolist(), sample.labels.tolist()) == ([[1.0] * 4], [0])


@pytest.mark.parametrize("fewer", [1, 4, 7, 12, 99])
def test_a_smaller_sample_is_the_one_that_would_have_been_drawn(fewer: int) -> None:
    x, y = rows(50, 3)
    whole, small = drawn(x, y, 3, [50], rows=12, seed=5), drawn(x, y, 3, [50], rows=min(fewer, 12), seed=5)
    found = whole.first(fewer)
    assert (found.rows, found.seed, found.per_class) == (small.rows, 5, small.per_class)
    assert torch.equal(found.features, small.features)
    for one in (found, small, whole):  # and goes on as that one would
        one.add_(x + 50, y)
    assert torch.equal(found.features, small.features)
    assert torch.equal(found.labels, small.labels)
    assert torch.equal(
        whole.features, drawn(torch.cat([x, x + 50]), torch.cat([y, y]), 3, [100], rows=12, seed=5).features
    )
    assert ClassSample(3).first(2).features.shape == (0, 0)
