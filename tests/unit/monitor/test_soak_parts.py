"""What the soak measures with: blocks that are drawn again, latencies from offsets, a recount, a quota of one core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.streaming import pacing
from benchmarks.streaming.phases import recount
from benchmarks.streaming.quota import quota
from benchmarks.streaming.sampling import Sampler
from tests.monitor_support import small_line
from tests.oracle import recount as literal


def test_a_block_is_drawn_again_bit_by_bit_and_ood_is_in_the_first_stream_alone() -> None:
    rows, streams = pacing.block(5, 2, 0.0)
    again, surged = pacing.block(5, 2, 0.0), pacing.block(5, 2, 0.2)
    np.testing.assert_array_equal(rows, again[0])
    np.testing.assert_array_equal(streams, again[1])
    np.testing.assert_array_equal(streams, surged[1])
    other = (rows != surged[0]).any(axis=1)
    assert 0.17 < other[streams == 0].mean() < 0.23
    assert not other[streams != 0].any()


def test_the_recount_of_blocks_equals_the_literal_one_of_their_records() -> None:
    line = small_line()
    blocks = [[0, 0.0, 300], [1, 0.2, 0], [2, 0.2, 41]]
    records = []
    for number, share, used in blocks:
        rows, streams = pacing.block(7, number, share)
        pairs = zip(streams[:used].tolist(), rows[:used], strict=True)
        records += [(pacing.STREAMS[k].encode(), row.tobytes()) for k, row in pairs]
    assert recount(line, 7, blocks) == literal.recount(line, records)


def still(folder: Path, ticks: list[tuple[float, int]], seen: list[tuple[float, ...]], partitions: int) -> Sampler:
    """A sampler that is given what it would have seen, and looks no more."""
    (folder / "ticks").write_bytes(np.array(ticks, dtype=np.float64).tobytes())

    class NoStore:
        def partitions(self) -> dict:
            return {}

    made = Sampler(NoStore(), os.getpid(), folder / "ticks", partitions)  # type: ignore[arg-type]
    made.close()
    made.seen = seen
    return made


def test_a_latency_is_the_time_until_the_offset_of_the_last_record_of_a_tick_was_passed(tmp_path: Path) -> None:
    """Two partitions; records 0, 1 and 2 are sent at 1000 and 3 and 4 at 1100: of partition 0 three, of 1 two."""
    ticks = [(900.0, 0), (1000.0, 3), (1050.0, 3), (1100.0, 5)]
    seen = [(1010.0, 0, 0), (1020.0, 1, 1), (1040.0, 2, 1), (1130.0, 2, 2), (1200.0, 3, 2)]
    made = still(tmp_path, ticks, seen, 2)
    assert made.sent() == 5
    assert made.counted() == 5
    assert sorted(made.latencies(0, 1100)) == [20.0, 40.0]  # offset 1 of partition 1, offset 2 of partition 0
    assert sorted(made.latencies(1100, 2000)) == [30.0, 100.0]
    assert made.behind_ms() == 0.0


def test_what_is_not_counted_yet_has_no_latency_and_says_how_old_it_is(tmp_path: Path) -> None:
    now = time.time() * 1000
    made = still(tmp_path, [(now - 5000, 2), (now - 3000, 4)], [(now - 4000, 1, 1)], 2)
    assert len(made.latencies(now - 6000, now)) == 2
    assert made.behind_ms() == pytest.approx(3000, abs=500)


def test_sizes_are_those_of_the_process(tmp_path: Path) -> None:
    class Redis:
        def info(self, _: str) -> dict[str, int]:
            return {"used_memory": 3 * 2**20}

        def dbsize(self) -> int:
            return 12

    made = still(tmp_path, [], [], 1)
    made.store._client = Redis()  # type: ignore[attr-defined]
    before = made.sizes()
    with (tmp_path / "ticks").open("rb"), (tmp_path / "ticks").open("rb"):
        after = made.sizes()
    assert (before["Redis MB"], before["Redis keys"]) == (3.0, 12)
    assert after["descriptors"] == before["descriptors"] + 2
    assert before["threads"] >= 1
    assert before["RSS MB"] > 10


def test_a_process_under_a_quota_gets_that_share_of_a_core() -> None:
    spin = (
        "import time\nbegin, before = time.monotonic(), time.process_time()\n"
        "while time.monotonic() < begin + 1.5: pass\nprint(time.process_time() - before)"
    )
    try:
        with quota(0.1) as under:
            wait = "import sys; sys.stdin.readline()\n"
            child = subprocess.Popen(
                [sys.executable, "-c", wait + spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            under.add(child.pid)
            out, _ = child.communicate("\n", timeout=60)
            periods, throttled = under.throttled_periods()
    except RuntimeError as error:
        pytest.skip(str(error))
    assert float(out) < 0.1 * 1.5 + 0.15
    assert throttled > periods / 2
    assert not under.folder.exists()
