"""The rules of judging say what the settings and the artifact say, and refuse what they cannot judge by."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from monitor.config import AlertConfig
from monitor.errors import ConfigError
from monitor.judging.rules import budget, rules
from monitor.math import nulls
from monitor.math.budget import Budget
from monitor.store.counts import OVERFLOW

COUNTS = [1, 4, 5, 10, 30, 50, 900]
AGAIN = "write it again with `ood-monitor replay --save-classes`"


@pytest.fixture
def calibrated(tmp_path: Path):
    """Rules with a class calibration of these classes, made with the artifact aa..."""

    def build(classes, **more):
        path = tmp_path / "classes.json"
        path.write_text(json.dumps({"artifact": "a" * 64, "classes": classes}), "utf-8")
        return rules(AlertConfig(class_calibration=str(path)), 5000, **more)

    return build


def test_every_setting_of_alerts_is_a_rule_of_alerts():
    alerts = rules(AlertConfig(silence_seconds=120, critical_rate=0.5, resolve_after=3000), 5000).alerts
    assert (alerts.silence_after, alerts.critical_rate, alerts.resolve_after) == (120, 0.5, 3000)


def test_no_silence_is_told_if_its_time_is_0():
    assert rules(AlertConfig(silence_seconds=0), 5000).alerts.silence_after == math.inf


def test_the_streams_beyond_the_limit_are_not_watched_for_silence():
    assert tuple(rules(AlertConfig(), 5000).unwatched) == (OVERFLOW,)


@pytest.mark.parametrize("masses", ["expectation", "nominal", "simultaneous"])
def test_the_calibration_set_is_trusted_as_far_as_the_settings_say(masses):
    assert rules(AlertConfig(masses=masses), 5000).nulls == nulls.pooled(5000, masses, risk=0.05)


def test_the_bounds_hold_for_the_calibration_sets_of_all_models_together():
    together = rules(AlertConfig(), (1000, 5000)).nulls
    assert together == nulls.together((1000, 5000), risk=0.05)
    assert together != rules(AlertConfig(), 1000).nulls


def test_the_bounds_of_all_experts_hold_together():
    two = rules(AlertConfig(), 5000, experts=("line", "angle"))
    assert two.experts == ("line", "angle")
    assert two.nulls == nulls.pooled(5000, risk=0.05 / 2)


@pytest.mark.parametrize(("tpr", "cells"), [(0.999, 1), (0.995, 2), (0.99, 3), (0.98, 4), (0.95, 5), (0.9, 6)])
def test_the_flagged_cells_are_those_beyond_the_threshold_of_the_artifact(tpr, cells):
    assert rules(AlertConfig(), 5000, tpr=tpr).flag_cells == cells


@pytest.mark.parametrize("tpr", [0.0, 0.94, 0.9501])
def test_a_threshold_between_two_cells_is_refused_with_those_that_can_be_counted(tpr):
    with pytest.raises(ConfigError) as refused:
        rules(AlertConfig(), 5000, tpr=tpr)
    assert str(refused.value) == (
        f"the artifact is calibrated with tpr {tpr:g}, and the monitor counts flagged inputs at one of "
        "0.999, 0.995, 0.99, 0.98, 0.95, 0.9 only: run `openood calibrate --tpr` with one of these"
    )


def test_the_budget_is_split_evenly_over_the_levels_that_are_watched():
    config = AlertConfig(requests_per_false_alert=5000)
    assert budget(config) == Budget(5000, {"stream": 1, "everything": 1})
    config = AlertConfig(requests_per_false_alert=5000, class_calibration="classes.json")
    assert budget(config) == Budget(5000, {"stream": 1, "everything": 1, "class": 1})
    assert rules(AlertConfig(requests_per_false_alert=7000), 5000).budget.requests == 7000


def test_a_class_without_a_calibration_has_no_bounds_of_its_own(calibrated):
    assert rules(AlertConfig(), 5000).class_nulls == {}
    assert calibrated({}).class_nulls == {}


def test_the_bounds_of_all_classes_hold_together(calibrated):
    two = calibrated({"3": COUNTS, "7": [0, 0, 0, 0, 0, 0, 10]}).class_nulls
    assert two == {3: nulls.of_class(COUNTS, risk=0.025), 7: nulls.of_class([0] * 6 + [10], risk=0.025)}


def test_a_class_calibration_holds_the_cells_of_every_expert(calibrated):
    own = [COUNTS, [2, 8, 10, 20, 60, 100, 800]]
    two = calibrated({"3": [*own[0], *own[1]]}, experts=("line", "angle"))
    assert two.class_nulls == {3: tuple(nulls.of_class(cells, risk=0.05 / 2) for cells in own)}
    assert two.null_rate(3, 0) < two.null_rate(3, 1)
    with pytest.raises(ConfigError, match="holds 14 cells a class, expected 7"):
        calibrated({"3": [*own[0], *own[1]]})


def test_a_class_calibration_of_this_artifact_is_taken_and_one_of_another_is_not(calibrated):
    assert set(calibrated({"3": COUNTS}, artifact="a" * 64).class_nulls) == {3}
    with pytest.raises(ConfigError) as refused:
        calibrated({"3": COUNTS}, artifact="b" * 64)
    assert str(refused.value).endswith(
        f"classes.json was made with artifact {'a' * 12}, and this one is {'b' * 12}: {AGAIN}"
    )


def test_a_class_calibration_with_other_cells_is_refused(calibrated):
    with pytest.raises(ConfigError) as refused:
        calibrated({"3": COUNTS, "4": COUNTS[1:]})
    assert str(refused.value).endswith(f"classes.json holds 6 cells a class, expected 7: {AGAIN}")


def test_a_class_calibration_that_cannot_be_read_says_how_to_write_one(tmp_path):
    path = tmp_path / "classes.json"
    with pytest.raises(ConfigError) as refused:
        rules(AlertConfig(class_calibration=str(path)), 5000)
    assert str(refused.value).startswith(f"alerts.class_calibration {path} cannot be read ([Errno 2] No such file")
    assert str(refused.value).endswith("): write it with `ood-monitor replay --save-classes`")
    for text in (
        "no JSON",
        "[]",
        "{}",
        '{"artifact": "a", "classes": [1]}',
        '{"artifact": "a", "classes": {"cat": []}}',
    ):
        path.write_text(text, "utf-8")
        with pytest.raises(ConfigError, match="cannot be read"):
            rules(AlertConfig(class_calibration=str(path)), 5000)


@pytest.mark.parametrize("count", [-1, math.inf, math.nan, 1.5, "1", None])
def test_what_counts_no_samples_is_no_class_calibration(calibrated, count):
    """A count below 0 would bound a cell by 0: each input in it would count as certainly OOD."""
    with pytest.raises(ConfigError, match=f"{count!r} samples in a cell given, expected a whole number from 0"):
        calibrated({"3": [count, *COUNTS[1:]]})
