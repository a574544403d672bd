"""Metrics against scikit-learn as OpenOOD calls it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from line_plugin.errors import FeatureError
from line_plugin.math.metrics import accuracy, ood_metrics


def openood(id_confidence: np.ndarray, ood_confidence: np.ndarray) -> tuple[float, float, float, float]:
    """``auc_and_fpr_recall`` of openood/evaluators/metrics.py, in its own steps."""
    conf = np.concatenate([id_confidence, ood_confidence])
    ood = np.r_[np.zeros(len(id_confidence)), np.ones(len(ood_confidence))]
    fpr_list, tpr_list, _ = sk.roc_curve(ood, -conf)
    fpr = fpr_list[np.argmax(tpr_list >= 0.95)]
    precision_in, recall_in, _ = sk.precision_recall_curve(1 - ood, conf)
    precision_out, recall_out, _ = sk.precision_recall_curve(ood, -conf)
    return fpr, sk.auc(fpr_list, tpr_list), sk.auc(recall_in, precision_in), sk.auc(recall_out, precision_out)


def check(id_confidence: np.ndarray, ood_confidence: np.ndarray) -> None:
    got = ood_metrics(id_confidence, ood_confidence)
    expected = openood(id_confidence, ood_confidence)
    np.testing.assert_allclose((got.fpr95, got.auroc, got.aupr_in, got.aupr_out), expected, atol=1e-12)


few_values = arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]))
floats = arrays(np.float32, st.integers(1, 60), elements=st.floats(-50, 50, width=32))


@settings(max_examples=80, deadline=None)
@given(few_values, few_values)
def test_equal_to_openood_where_scores_tie(id_confidence: np.ndarray, ood_confidence: np.ndarray) -> None:
    check(id_confidence, ood_confidence)


@settings(max_examples=80, deadline=None)
@given(floats, floats)
def test_equal_to_openood_on_any_scores(id_confidence: np.ndarray, ood_confidence: np.ndarray) -> None:
    check(id_confidence, ood_confidence)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(5000, 3000), (100, 9000), (1, 1)])
def test_equal_to_openood_on_large_sets(sizes: tuple[int, int], dtype: type) -> None:
    rng = np.random.default_rng(0)
    check(rng.normal(1, 1, sizes[0]).astype(dtype), rng.normal(0, 1, sizes[1]).astype(dtype))


@settings(max_examples=60, deadline=None)
@given(floats, floats)
def test_papers_fpr95_is_the_share_of_ood_above_the_threshold_that_keeps_95_per_cent_of_id(
    id_confidence: np.ndarray, ood_confidence: np.ndarray
) -> None:
    keeping = [t for t in np.unique(id_confidence) if np.mean(id_confidence >= t) >= 0.95]
    expected = np.mean(ood_confidence >= max(keeping))
    assert ood_metrics(id_confidence, ood_confidence).fpr95_id == pytest.approx(expected)


def test_the_two_fpr95_conventions_differ() -> None:
    # ID has a long low tail, OOD a long high one: OpenOOD's rate counts the first, the papers' the second.
    id_confidence = np.r_[np.full(90, 5.0), np.full(10, -5.0)]
    ood_confidence = np.r_[np.full(97, 0.0), np.full(3, 9.0)]
    got = ood_metrics(id_confidence, ood_confidence)
    assert (got.fpr95, got.fpr95_id) == (0.10, 1.0)


def test_nan_and_empty_scores_are_refused_with_their_count() -> None:
    with pytest.raises(FeatureError, match="2 NaN among 3 OOD"):
        ood_metrics(np.ones(3), np.array([np.nan, 1.0, np.nan]))
    with pytest.raises(FeatureError, match="no ID score"):
        ood_metrics(np.ones(0), np.ones(3))


def test_accuracy_counts_labelled_images_only() -> None:
    assert accuracy(np.array([0, 1, 2]), np.array([0, 2, -1])) == 0.5
    assert np.isnan(accuracy(np.array([0]), np.array([-1])))


@pytest.mark.parametrize(
    ("id_confidence", "ood_confidence", "message"),
    [
        (np.ones(3), np.array([np.nan, 1.0, np.nan]), "2 NaN among 3 OOD scores"),
        (np.array([np.nan]), np.ones(3), "1 NaN among 1 ID scores"),
        (np.ones(0), np.ones(3), "no ID score given: metrics need samples of both"),
        (np.ones(3), np.ones(0), "no OOD score given: metrics need samples of both"),
    ],
)
def test_nan_and_empty_scores_are_refused_in_a_whole_sentence(
    id_confidence: np.ndarray, ood_confidence: np.ndarray, message: str
) -> None:
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        ood_metrics(id_confidence, ood_confidence)


def test_the_metrics_of_six_samples_by_hand() -> None:
    """ID at 1, 3, 4, 4 and OOD at 2, 3; the tie at 3 counts by half."""
    got = ood_metrics(np.array([1.0, 3.0, 4.0, 4.0]), np.array([2.0, 3.0]))
    assert got.auroc == (0 + 1.5 + 2 + 2) / 8
    assert got.fpr95 == 0.5  # both OOD are caught at 3, which flags 1 and 3 of ID
    assert got.fpr95_id == 1.0  # all of ID is kept at 1, which keeps both OOD
    assert got.aupr_in == pytest.approx(0.5 * 1 + 0.25 * (1 + 0.75) / 2 + 0.25 * (0.6 + 4 / 6) / 2)


def test_95_percent_is_enough_and_less_is_not() -> None:
    exactly, fewer = np.r_[np.full(1, -1.0), np.full(19, 5.0)], np.r_[np.full(2, -1.0), np.full(19, 5.0)]
    assert ood_metrics(exactly, np.zeros(2)).fpr95_id == 0.0
    assert ood_metrics(fewer, np.zeros(2)).fpr95_id == 1.0
    assert ood_metrics(np.zeros(2), -exactly).fpr95 == 0.0
    assert ood_metrics(np.zeros(2), -fewer).fpr95 == 1.0


def test_a_tie_of_two_kinds_of_numbers_is_a_tie_in_the_wider_one() -> None:
    """.1 in float32 is above .1 in float64, which it is compared with."""
    assert ood_metrics(np.float32([0.1]), np.float64([0.1])).auroc == 1.0
    assert ood_metrics(np.float64([0.1]), np.float32([0.1])).auroc == 0.0
