"""The benchmark of the panel's score runs on a small head."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.scoring_panel import fitted, measure_scoring, measure_state
from line_plugin.math.experts.literal import NAMES


@pytest.mark.filterwarnings("ignore")  # a few rows a class are too few for much, as the fit says
def test_each_expert_and_the_state_of_a_panel_are_measured() -> None:
    panel, fit_us = fitted(5, 32, 2, 200)

    def clock(function: Callable[[], object]) -> float:
        function()
        return 1.0

    row = measure_scoring(panel, 16, clock)
    assert {f"{name} / LINe" for name in NAMES} <= set(row)
    assert row["panel / LINe"] == row["angle by itself: panel / LINe"] == "1.00"
    state = measure_state(panel, fit_us)
    assert state["prototypes"] == "2"
    assert float(state["in memory MB"]) >= 0
