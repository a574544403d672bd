"""The tables of the performance page: both runs in each cell, and a bound is met only if both runs meet it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from benchmarks import performance
from benchmarks.performance import Bound, bounds_table, join, tables_of

SCORES = {"rows": [{"K": 10, "batch": 64, "score": 1.5}, {"K": 10, "batch": 64, "score": 2.5}, {"K": 9, "score": 9.0}]}


def test_a_cell_has_both_runs_or_one_if_they_are_equal():
    first = [{"K": 10, "ratio": 1.234, "values": [1, 2.5], "why": None}]
    second = [{"K": 10, "ratio": 1.31, "values": [1, 3.5], "why": None}]
    assert join(first, second) == [{"K": "10", "ratio": "1.23; 1.31", "values": "1, 2.5; 1, 3.5", "why": ""}]


def test_runs_that_measured_different_rows_are_not_put_side_by_side():
    with pytest.raises(ValueError, match="zip"):
        join([{"a": 1}], [{"a": 1}, {"a": 2}])


def test_a_dict_in_a_cell_is_a_table_of_its_own_and_the_header_is_none():
    rows = [{"K": 10, "client": "a", "parts": {"poll": 1.0}}, {"K": 10, "client": "b", "parts": {"poll": 2.0}}]
    assert tables_of({"date": "today", "images": [1, 2], "Fit and eval": rows}) == {
        "fit-and-eval": [{"K": 10, "client": "a"}, {"K": 10, "client": "b"}],
        "fit-and-eval-parts": [{"": "poll", "10, a": 1.0, "10, b": 2.0}],
    }


def test_a_bound_looks_at_its_rows_alone():
    bound = Bound("score", 2.0, "scoring-1", "rows", "score", {"K": 10, "batch": 64})
    assert bound.numbers(SCORES) == [1.5, 2.5]
    assert (bound.is_met(2.0), bound.is_met(2.01)) == (True, False)


def test_of_a_number_with_its_spread_the_median_counts_and_a_least_bound_looks_down():
    bound = Bound("worker", 0.8, "worker", "throughput", "worker / bare", least=True)
    assert bound.numbers({"throughput": [{"worker / bare": "0.64 (0.54 to 0.79)"}]}) == [0.64]
    assert (bound.is_met(0.8), bound.is_met(0.79)) == (True, False)


@pytest.mark.parametrize(
    ("second", "word"), [(1.5, "met"), (2.5, "**met in one run of two**")], ids=["both", "one of two"]
)
def test_a_bound_is_met_if_both_runs_meet_it(monkeypatch, second, word):
    monkeypatch.setattr(performance, "BOUNDS", (Bound("score", 2.0, "scoring-1", "rows", "score"),))
    runs = [{"rows": [{"score": 1.0}, {"score": 2.0}]}, {"rows": [{"score": 1.25}, {"score": second}]}]
    assert bounds_table({"scoring-1": runs}) == [
        {"": "score", "bound": "at most 2", "measured": f"1 to 2; 1.25 to {second}", "met": word}
    ]
    assert bounds_table({"panel": runs}) == []


def test_a_bound_that_no_run_meets_says_so(monkeypatch):
    monkeypatch.setattr(performance, "BOUNDS", (Bound("ready", 2.0, "scoring-1", "", "ready_s"),))
    (row,) = bounds_table({"scoring-1": [{"ready_s": 2.5}, {"ready_s": 3}]})
    assert (row["measured"], row["met"]) == ("2.5; 3", "**not met**")


def test_what_has_run_once_is_not_shown_yet(tmp_path: Path):
    for name in ("panel-1", "panel-2", "fitting-1"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name}))
    found = dict(performance.read(tmp_path, ["panel", "fitting"]))
    assert found == {"panel": [{"name": "panel-1"}, {"name": "panel-2"}]}


def test_every_run_is_a_benchmark_that_is_there_and_every_bound_is_of_a_run():
    assert all(importlib.util.find_spec(f"benchmarks.{module}") for module, *_ in performance.RUNS.values())
    assert {bound.run for bound in performance.BOUNDS} <= set(performance.RUNS)
