"""Intervals and comparisons against literal recounts: samples written out, pairs counted one by one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from line_plugin.errors import FeatureError, SettingsError
from line_plugin.math import bootstrap, delong
from line_plugin.math.metrics import ood_metrics


def confidences(seed: int = 0, ties: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {"id": rng.normal(2, 1, 60), "near": rng.normal(1.2, 1, 40), "far": rng.normal(0, 1, 30)}
    return {k: np.round(v, 1 if ties else 12).astype(np.float32) for k, v in made.items()}


@pytest.mark.parametrize("ties", [False, True])
def test_a_draw_measures_what_its_samples_written_out_measure(ties: bool) -> None:
    scores = confidences(ties=ties)
    rng = np.random.default_rng(1)
    for _ in range(30):
        chosen_id, chosen_ood = rng.integers(60, size=60), rng.integers(40, size=40)
        ranked = bootstrap.Ranked.of(scores["id"], scores["near"])
        found = ranked.measure(np.bincount(chosen_id, minlength=60), np.bincount(chosen_ood, minlength=40))
        literal = ood_metrics(scores["id"][chosen_id], scores["near"][chosen_ood])
        assert found.tolist() == [getattr(literal, name) for name in bootstrap.COLUMNS]


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    scores = {"a": confidences()}
    right = np.arange(60) % 7 > 0
    first, again, other = (bootstrap.draw(scores, right, replicates=5, seed=s) for s in (3, 3, 4))
    assert np.array_equal(first.metrics, again.metrics)
    assert np.array_equal(first.accuracy, again.accuracy)
    assert not np.array_equal(first.metrics, other.metrics)
    assert first.metrics.shape == (5, 1, 2, 5)


def test_every_method_is_measured_on_the_same_draws() -> None:
    one = confidences()
    same_order = {k: 2 * v + 1 for k, v in one.items()}
    found = bootstrap.draw({"a": one, "b": same_order}, np.zeros(0, dtype=bool), replicates=20)
    assert np.array_equal(found.metrics[:, 0], found.metrics[:, 1])
    assert np.isnan(found.accuracy).all()


def test_the_interval_covers_the_true_auroc_about_as_often_as_it_says() -> None:
    true = 0.7602  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    covered = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        scores = {"a": {"id": rng.normal(1, 1, 80), "far": rng.normal(0, 1, 80)}}
        draws = bootstrap.draw(scores, np.zeros(0, dtype=bool), replicates=200, seed=seed)
        low, high = bootstrap.interval(draws.metrics[:, 0, 0, 1])
        covered += low <= true <= high
    assert 105 <= covered <= 120


def test_one_draw_and_empty_or_broken_sets_are_refused() -> None:
    with pytest.raises(SettingsError, match="expected 2 or more"):
        bootstrap.draw({"a": confidences()}, np.zeros(0, dtype=bool), replicates=1)
    with pytest.raises(FeatureError, match="1 NaN"):
        bootstrap.Ranked.of(np.array([1.0]), np.array([np.nan]))
    with pytest.raises(FeatureError, match="0 OOD"):
        bootstrap.Ranked.of(np.array([1.0]), np.array([]))


def literal_variance(a: dict[str, np.ndarray], b: dict[str, np.ndarray], ood: list[str]) -> tuple[float, float]:
    """The difference and its variance by DeLong's formula, every pair of images looked at."""

    def psi(x: float, y: float) -> float:
        return 1.0 if x > y else 0.5 if x == y else 0.0

    n, sets = len(a["id"]), len(ood)
    of_id = [np.mean([np.mean([psi(s["id"][i], y) for y in s[o]]) for o in ood]) for s in (a, b) for i in range(n)]
    id_gap = np.array(of_id[:n]) - np.array(of_id[n:])
    total = id_gap.var(ddof=1) / n
    for o in ood:
        parts = [[np.mean([psi(x, y) for x in s["id"]]) for y in s[o]] for s in (a, b)]
        gap = np.array(parts[0]) - np.array(parts[1])
        total += gap.var(ddof=1) / len(gap) / sets**2
    return float(id_gap.mean()), float(total)


@pytest.mark.parametrize("ood", [["near"], ["near", "far"]])
def test_the_comparison_is_delongs_formula_over_every_pair_of_images(ood: list[str]) -> None:
    a, b = confidences(0, ties=True), confidences(1, ties=True)
    (found,) = delong.compare_all({k: delong.parts_of(s["id"], [s[o] for o in ood]) for k, s in (("a", a), ("b", b))})
    difference, variance = literal_variance(a, b, ood)
    assert found.difference == pytest.approx(difference, abs=1e-12)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * variance**0.5, rel=1e-9)
    areas = [np.mean([ood_metrics(s["id"], s[o]).auroc for o in ood]) for s in (a, b)]
    assert found.difference == pytest.approx(areas[0] - areas[1], abs=1e-12)


def test_the_bootstrap_agrees_about_the_spread_of_a_difference() -> None:
    a, b = confidences(0), confidences(1)
    (found,) = delong.compare_all({k: delong.parts_of(s["id"], [s["near"], s["far"]]) for k, s in (("a", a), ("b", b))})
    draws = bootstrap.draw({"a": a, "b": b}, np.zeros(0, dtype=bool), replicates=1500)
    means = draws.metrics[:, :, :, 1].mean(axis=2)
    assert (found.high - found.low) / 3.92 == pytest.approx(float((means[:, 0] - means[:, 1]).std()), rel=0.1)


def test_a_method_does_not_differ_from_itself_and_too_few_images_are_refused() -> None:
    one = confidences()
    parts = delong.parts_of(one["id"], [one["near"]])
    (found,) = delong.compare_all({"a": parts, "b": parts})
    assert (found.difference, found.p, found.adjusted) == (0, 1, 1)
    with pytest.raises(FeatureError, match="at least 2"):
        delong.parts_of(one["id"], [one["near"][:1]])


def test_holm_by_hand() -> None:
    assert delong.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert delong.holm([0.9, 0.8]) == [1.0, 1.0]
    assert delong.holm([]) == []


# -- the numbers and the sentences -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: bootstrap.draw({"a": confidences()}, np.zeros(0, dtype=bool), replicates=1),
            SettingsError,
            "1 bootstrap draws given, expected 2 or more",
        ),
        (
            lambda: bootstrap.Ranked.of(np.array([1.0]), np.array([np.nan, 2.0])),
            FeatureError,
            "1 ID and 2 OOD scores with 1 NaN given: a bootstrap needs finite scores of both",
        ),
        (
            lambda: bootstrap.Ranked.of(np.array([]), np.array([1.0])),
            FeatureError,
            "0 ID and 1 OOD scores with 0 NaN given: a bootstrap needs finite scores of both",
        ),
        (
            lambda: bootstrap.Ranked.of(np.array([1.0]), np.array([])),
            FeatureError,
            "1 ID and 0 OOD scores with 0 NaN given: a bootstrap needs finite scores of both",
        ),
        (
            lambda: delong.parts_of(np.ones(3), [np.ones(4), np.ones(1)]),
            FeatureError,
            "sets of [3, 4, 1] images given (ID first): a comparison needs at least 2 of each",
        ),
        (
            lambda: delong.parts_of(np.ones(3), []),
            FeatureError,
            "sets of [3] images given (ID first): a comparison needs at least 2 of each",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_whole_sentence(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make()


def test_two_draws_are_enough_and_one_image_of_each_set_too() -> None:
    one = {"a": {"id": np.array([2.0]), "far": np.array([1.0])}}
    found = bootstrap.draw(one, np.array([True]), replicates=2)
    assert (found.metrics.shape, found.accuracy.tolist()) == ((2, 1, 1, 5), [1.0, 1.0])
    assert len(delong.parts_of(np.array([1.0, 2.0]), [np.array([0.0, 3.0])]).of_ood) == 1


def test_draws_are_those_of_numpys_generator_set_by_set_with_the_id_set_first() -> None:
    scores, right, rng = confidences(), np.arange(60) % 3 > 0, np.random.default_rng(7)
    named = {"in": scores["id"], "near": scores["near"], "far": scores["far"]}
    found = bootstrap.draw({"a": named}, right, id_set="in", replicates=3, seed=7)
    for r in range(3):
        chosen = rng.integers(60, size=60)
        assert found.accuracy[r] == pytest.approx(right[chosen].mean())
        for s, name in enumerate(("near", "far")):
            other = rng.integers(len(named[name]), size=len(named[name]))
            literal = ood_metrics(named["in"][chosen], named[name][other])
            assert found.metrics[r, 0, s].tolist() == [getattr(literal, column) for column in bootstrap.COLUMNS]
    assert len(bootstrap.draw({"a": scores}, right[:0], replicates=3).metrics) == 3
    again = bootstrap.draw({"a": scores}, right, replicates=2)
    assert np.array_equal(again.metrics, bootstrap.draw({"a": scores}, right, replicates=2, seed=0).metrics)


def test_an_interval_leaves_the_same_share_on_both_sides() -> None:
    values = np.arange(101.0)
    assert bootstrap.interval(values) == pytest.approx((2.5, 97.5))
    assert bootstrap.interval(values, 0.8) == pytest.approx((10.0, 90.0))


def test_a_comparison_by_hand() -> None:
    """Two ID and two OOD images: a separates them, b has one pair wrong and a tie."""
    a = delong.parts_of(np.array([3.0, 4.0]), [np.array([1.0, 2.0])])
    b = delong.parts_of(np.array([3.0, 1.0]), [np.array([1.0, 2.0])])
    assert (a.auroc, a.of_id.tolist(), a.of_ood[0].tolist()) == (1.0, [1.0, 1.0], [1.0, 1.0])
    assert (b.auroc, b.of_id.tolist(), b.of_ood[0].tolist()) == (0.625, [1.0, 0.25], [0.75, 0.5])
    (found,) = delong.compare_all({"a": a, "b": b})
    error = math.sqrt(np.var([0.0, 0.75], ddof=1) / 2 + np.var([0.25, 0.5], ddof=1) / 2)
    assert (found.first, found.second, found.difference) == ("a", "b", 0.375)
    assert (found.low, found.high) == pytest.approx((0.375 - 1.96 * error, 0.375 + 1.96 * error))
    assert found.p == found.adjusted == pytest.approx(2 * norm.sf(0.375 / error))


def test_every_pair_is_compared_in_order_and_adjusted_together() -> None:
    parts = {k: delong.parts_of(v["id"], [v["near"]]) for k, v in zip("xyz", map(confidences, range(3)), strict=True)}
    found = delong.compare_all(parts)
    assert [(c.first, c.second) for c in found] == [("x", "y"), ("x", "z"), ("y", "z")]
    assert [c.adjusted for c in found] == delong.holm([c.p for c in found])
    for c in found:
        (alone,) = delong.compare_all({c.first: parts[c.first], c.second: parts[c.second]})
        assert (alone.difference, alone.low, alone.high, alone.p) == (c.difference, c.low, c.high, c.p)


def test_methods_that_differ_without_any_spread_differ_for_certain() -> None:
    always, never = (delong.Parts(np.full(2, v), (np.full(2, v),)) for v in (1.0, 0.0))
    (found,) = delong.compare_all({"a": always, "b": never})
    assert (found.difference, found.low, found.high, found.p) == (1.0, 1.0, 1.0, 0.0)


def test_a_thousand_draws_are_made_if_nothing_else_is_said_and_draws_are_whole_numbers() -> None:
    scores = {"m": {"id": np.array([1.0, 2.0]), "o": np.array([0.0])}}
    assert bootstrap.draw(scores, np.zeros(0, np.bool_)).metrics.shape == (1000, 1, 1, 5)
    assert bootstrap._times(np.random.default_rng(0), 5).dtype == np.int64
