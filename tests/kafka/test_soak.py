"""The soak in its short form: half a minute of ID traffic, a burst, and a surge at the end, on genuine servers."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.streaming.phases import Plan
from benchmarks.streaming.soak import soak
from tests.kafka.apache import why_not

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.skipif(
        shutil.which("prometheus-alertmanager") is None, reason="prometheus-alertmanager is not installed"
    ),
]


def test_a_burst_of_ten_times_the_traffic_loses_nothing_and_a_surge_afterwards_is_told(tmp_path):
    """No quota and no measured capacity: 400 a second are little for any machine."""
    plan = Plan(minutes=0.15, rate=400, quota=0, burst_seconds=2, minute=3)
    found = soak(plan, tmp_path)
    assert found.broken == []
    assert found.sent > 4000
    assert found.burst_rate > found.rate, "a starved sender does not reach ten times as much"
    assert found.told_seconds is not None
    assert [row["phase"] for row in found.minutes[:3]] == ["steady"] * 3
    assert {"burst", "catching up", "steady again", "the end"} <= {row["phase"] for row in found.minutes}
    assert all(row["p50 ms"] <= row["p99 ms"] < 60_000 for row in found.minutes if row["p50 ms"] is not None)
