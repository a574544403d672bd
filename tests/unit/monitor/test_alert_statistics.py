"""Seeded statistics of the shipped code: false alerts within the budget, delays within their bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom

from line_plugin.method.calibration import Calibration
from monitor.math import nulls
from monitor.math.lifecycle import AlertRules
from monitor.math.state import Bucket, MonitorState, Rules
from tests.unit.monitor.alert_streams import fold, law, rules


@pytest.mark.parametrize(("keys", "size"), [(1, 10), (30, 10), (1000, 4)])
def test_false_alerts_stay_within_one_budget_for_any_number_of_keys(keys: int, size: int) -> None:
    """A budget of 1 per 2,000 requests over 400,000: at most 200 expected. All levels at once."""
    how = rules(2000, levels=("stream", "everything"), resolve_after=5.0, silence_after=1e9)
    rng, state, total = np.random.default_rng(keys), MonitorState.new(how), 0
    names = [f"s{i:04d}" for i in range(keys)]
    target = 400_000 if keys > 1 else 60_000
    i = 0
    while total < target:
        counts = rng.multinomial(size, law(0), keys).tolist()
        state, _ = fold(state, Bucket(i, i, i + 1, {(n, 0): c for n, c in zip(names, counts, strict=True)}), how)
        i, total = i + 1, total + size * keys
    # Raises are at most one a sample: a binomial of rate 1 / 2,000 exceeds this with probability 0.001.
    assert state.raises <= binom.ppf(0.999, total, 1 / 2000)
    assert state.raises > 0, "a budget this small is spent in part"
    assert how.budget.spent(state.samples) <= total / 2000 + 1e-9


def test_false_alerts_stay_within_the_budget_with_bounded_masses_of_small_calibration_sets() -> None:
    """60 calibration sets of 1,000, 20,000 requests on each, a budget of 1 per 2,000: at most 600 expected."""
    rng, raises = np.random.default_rng(2), 0
    how = Rules(rules(2000).budget, nulls.pooled(1000), alerts=AlertRules(resolve_after=5.0, silence_after=1e9))
    states, bounds = MonitorState.new(how), []
    for _ in range(60):
        calibration = Calibration.from_scores(torch.from_numpy(rng.standard_normal(1000).astype(np.float32)))
        bounds.append(np.array(calibration.cell_bounds()[:-1]))
    for i in range(400):
        x = rng.standard_normal((60, 50))
        counts = {
            (f"s{j:02d}", 0): np.bincount(np.searchsorted(b, x[j], side="right"), minlength=7).tolist()
            for j, b in enumerate(bounds)
        }
        states, _ = fold(states, Bucket(i, i, i + 1, counts), how)
    raises = states.raises
    assert raises <= binom.ppf(0.999, 60 * 20_000, 1 / 2000)


@pytest.mark.parametrize(("contamination", "bound"), [(0.05, 250), (0.2, 45), (0.5, 20)])
def test_median_delay_is_within_its_bound(contamination: float, bound: int) -> None:
    """300 streams, a budget of 1 per 100,000 each, buckets of one sample after 2,000 ID samples."""
    how, rng, names = rules(1e5, silence_after=1e9), np.random.default_rng(5), [f"s{i:03d}" for i in range(300)]
    state, delay = MonitorState.new(how), dict.fromkeys(names, np.inf)
    for i in range(20 + bound):
        size, mass = (100, law(0)) if i < 20 else (1, law(contamination))
        counts = rng.multinomial(size, mass, len(names)).tolist()
        waiting = {(n, 0): c for n, c in zip(names, counts, strict=True) if np.isinf(delay[n])}
        state, said = fold(state, Bucket(i, i, i + 1, waiting), how)
        for t in said:
            if t.change == "raised":
                delay[str(t.alert.stream)] = i - 19 if i >= 20 else np.inf
    assert np.median(list(delay.values())) <= bound
