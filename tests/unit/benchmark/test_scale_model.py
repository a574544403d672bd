"""The model of scale: its arithmetic, its simulation against what can be computed, and the page that shows it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.measure import show
from benchmarks.scale.__main__ import costs, tables
from benchmarks.scale.burst import compare, simulate
from benchmarks.scale.model import Costs, Load, most_streams, size

PAGE = Path(__file__).parents[3] / "docs" / "scale.md"
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
COSTS = Costs(
    worker_us=100,
    redis_record_us=5,
    calls_per_record=0.002,
    inner_per_record=3,
    judge_us=40,
    judge_redis_us=10,
    stream_bytes=1000,
    bucket_stream_bytes=500,
)


def test_each_need_is_what_its_inputs_multiply_to():
    need = size(Load(rate=10_000, streams=1000, bucket_seconds=10, kept_seconds=100, replicas=3), COSTS)
    assert need.worker_rate == pytest.approx(7000)
    assert (need.workers, need.partitions) == (3, 12)  # 1.5 x 10,000 / 7,000
    assert need.redis_core == pytest.approx(0.05 + 0.001)
    assert need.groups == 1
    assert size(Load(rate=300_000, streams=0), COSTS).groups == 3  # 1.5 cores at 0.7 each
    assert need.breaks_at == pytest.approx((0.7 - 0.001) / 5e-6)
    assert (need.redis_calls, need.redis_inner) == (pytest.approx(20), pytest.approx(30_000))
    assert need.redis_bytes == 1000 * (1000 + 10 * 500)
    assert need.judge_core == pytest.approx(0.004)
    assert need.network_in == need.network_out == 10_000 * (4 * 2048 + 300)
    assert need.network_copies == 2 * need.network_in
    assert need.disk_bytes == 3 * need.network_in * 86_400
    assert most_streams(Load(bucket_seconds=1), COSTS) == pytest.approx(17_500)


@pytest.mark.parametrize("partitions", [1, 12])
def test_the_simulated_lag_is_the_one_of_a_fluid_and_the_same_for_the_same_seed(partitions):
    lag = simulate(1000, 1500, times=10, burst_s=20, partitions=partitions)
    assert lag.most == pytest.approx(20 * (10_000 - 1500), rel=0.02)
    assert lag.caught_up_s == pytest.approx(20 + lag.most / (1500 - 1000), rel=0.05)
    assert lag.seconds == pytest.approx(lag.most / 1500, rel=0.05)
    assert lag == simulate(1000, 1500, times=10, burst_s=20, partitions=partitions)
    assert lag != simulate(1000, 1500, times=10, burst_s=20, partitions=partitions, seed=1)


def test_without_room_to_catch_up_there_is_no_end_to_wait_for():
    with pytest.raises(ValueError, match=r"a rate of 1500 was given, expected one below the capacity of 1500"):
        simulate(1500, 1500)


def test_a_run_that_behaves_as_the_simulation_is_found_to_do_so():
    """100 records a second for 3 s, 1,000 for 3 s, drained at 400."""
    seen = [(t / 100, min(3300, round(max(100 * min(t / 100, 3), 300 + 400 * (t / 100 - 3))))) for t in range(1200)]
    found = compare(seen, [0.0, 3.0, 6.0], [300, 3000, 300], 100, 10)
    assert found["simulated / measured, most"] == pytest.approx(1, abs=0.1)
    assert found["most behind"] == pytest.approx(1800, rel=0.02)


def test_the_page_shows_what_the_command_prints(capsys):
    show({}, tables(Load()), None)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|") and not line.startswith("|-")]
    assert len(rows) > 20
    shown = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    assert [row for row in rows if not any(_agree(row, line) for line in shown)] == []


def _agree(row: str, line: str) -> bool:
    """The same words, and numbers within 1%: another release of numpy draws other arrivals for the burst."""
    (said, numbers), (written, others) = ((NUMBER.sub("#", text), NUMBER.findall(text)) for text in (row, line))
    pairs = zip(numbers, others, strict=True) if said == written else ()
    near = [float(a.replace(",", "")) == pytest.approx(float(b.replace(",", "")), rel=0.01) for a, b in pairs]
    return said == written and all(near)


def test_twice_the_rate_takes_twice_of_everything_that_counting_takes():
    one, two = (size(replace(Load(streams=0), rate=r), costs()) for r in (50_000, 100_000))
    assert two.redis_core == pytest.approx(2 * one.redis_core)
    assert two.network_in == 2 * one.network_in
    assert two.disk_bytes == 2 * one.disk_bytes
    assert abs(two.workers - 2 * one.workers) <= 1
