"""p-values, thresholds and cells by counting, and the LINe confidence one sum at a time, of arrays and of tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from line_plugin.math import conformal, scoring

HELD = np.array([1.0, 2.0, 2.0, 3.0], dtype=np.float32)


def test_a_p_value_counts_the_calibration_scores_at_or_below_and_the_sample_itself() -> None:
    assert conformal.p_values(HELD, [0.5, 1.0, 2.0, 2.5, 9.0]).tolist() == [0.2, 0.4, 0.8, 0.8, 1.0]


def test_a_cutoff_is_the_rankth_score_and_infinite_beyond_them() -> None:
    assert [conformal.cutoff(HELD, a) for a in (0.1, 0.19, 0.2, 0.4, 0.6, 0.8, 0.99, 1.0)] == [
        -math.inf, -math.inf, 1.0, 2.0, 2.0, 3.0, 3.0, math.inf,
    ]  # fmt: skip
    assert conformal.cutoffs(HELD, (0.2, 0.8, 1.0)) == (1.0, 3.0, math.inf)
    assert conformal.cutoffs(HELD) == (-math.inf,) * 6 + (math.inf,)
    assert isinstance(conformal.cutoff(HELD, 0.2), float)


def test_a_rank_forgives_a_rounding_and_no_more() -> None:
    assert 0.29 * 100 < 29
    assert conformal.rank(99, 0.29) == 29
    assert conformal.rank(99, 0.29 - 2e-11) == 28


def test_a_sample_at_a_cutoff_is_in_the_cell_above_it() -> None:
    found = conformal.cells([-5.0, 1.0, 1.5, 3.0, math.inf], [1.0, 3.0, math.inf])
    assert found.tolist() == [0, 1, 1, 2, 2]
    assert found.dtype == np.int64
    assert conformal.cells([-math.inf, 0.0], [-math.inf, math.inf]).tolist() == [1, 1], "an empty cell takes nothing"


def test_cells_and_p_values_compare_in_float64() -> None:
    """A bound that float32 cannot hold still separates two samples that it can."""
    assert conformal.cells(np.float32([1.0]), [1.0 + 1e-12, math.inf]).tolist() == [0]
    assert conformal.p_values(np.float64([1.0 + 1e-12]), np.float32([1.0])).tolist() == [0.5]


def test_masses_are_ranks_between_the_edges() -> None:
    assert conformal.cell_masses(4, (0.2, 0.5, 1.0)) == pytest.approx((0.2, 0.2, 0.6))
    assert conformal.cell_masses(999) == pytest.approx((0.001, 0.004, 0.005, 0.01, 0.03, 0.05, 0.9))


W = [[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]]
B = [0.25, -0.5]
FLOORS = [[0.0, -2.0, math.inf], [0.5, 0.0, -9.0]]
ROWS = [[2.0, 1.0, 0.5], [0.0, 3.0, 9.0]]


def literal_score(row: list[float], delta: float) -> tuple[int, float]:
    z = [min(a, delta) for a in row]
    logits = [sum(a * w for a, w in zip(z, own, strict=True)) + b for own, b in zip(W, B, strict=True)]
    c = logits.index(max(logits))
    kept = [
        sum(a * w for a, w, f in zip(z, own, FLOORS[c], strict=True) if w > f) + b for own, b in zip(W, B, strict=True)
    ]
    return c, math.log(sum(math.exp(g) for g in kept))


@pytest.mark.parametrize("kind", [np.array, lambda v: torch.tensor(v, dtype=torch.float64)], ids=["array", "tensor"])
def test_the_score_is_the_literal_one_of_each_row(kind: type) -> None:
    clipped = scoring.clip(kind(ROWS), 2.5)
    classes, confidence = scoring.score(clipped, kind(W), kind(B), kind(FLOORS))
    expected = [literal_score(row, 2.5) for row in ROWS]
    assert classes.tolist() == [c for c, _ in expected]
    assert confidence.tolist() == pytest.approx([s for _, s in expected], rel=1e-12)
    assert scoring.clip(kind(ROWS), None).tolist() == ROWS
    assert scoring.predict_class(kind([[0.0, 0.0, 0.0]]), kind(W), kind([1.0, 1.0])).tolist() == [0], "a tie"
    assert scoring.predict_class(kind([[0.0, 0.0, 0.0]]), kind(W), kind([1.0, 2.0])).tolist() == [1], "by the bias"
    assert scoring.confidence(kind([[900.0, 900.0], [-900.0, -901.0]])).tolist() == pytest.approx(
        [900 + math.log(2), -900 + math.log1p(math.exp(-1))], rel=1e-12
    )
