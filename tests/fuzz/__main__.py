"""``python -m tests.fuzz --inputs 1000000``: spoiled messages through the boundary of a record, in its own process.

Whatever ends that process, an exception or a signal, is a failure; the record that did it is found and kept in the
corpus. Batches are drawn from ``(seed, number)``, so each can be drawn again.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import random
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz import corpus

BATCH = 50
GROWTH_MB = 90


def records_of(seed: int, number: int) -> list:
    from tests.fuzz.messages import draw

    rng = random.Random(f"{seed}:{number}")
    return [draw(rng, offset) for offset in range(BATCH)]


def peak_mb(*, anew: bool = False) -> int:
    """The most memory that this process has held; ``anew`` begins to measure now."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = [n for n in Path("/proc/self/status").read_text().splitlines() if n.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def run(seed: int, batches: range, mark: Path | None, only: int | None = None) -> int:
    """Judge batches; ``only`` one record of each."""
    from tests.fuzz.judge import Judge, words

    logging.getLogger("monitor").setLevel(logging.ERROR)
    judge, began, grown = Judge(), time.monotonic(), 0
    judge.judge([record for record, _ in records_of(seed, -1)])  # whatever is loaded once is loaded now
    judge.became.clear()
    before, meant = peak_mb(anew=True), 0
    for number in batches:
        if mark is not None:
            mark.write_text(str(number))
        drawn = records_of(seed, number)
        drawn = drawn if only is None else drawn[only : only + 1]
        fates = judge.judge([record for record, _ in drawn])
        for (record, as_meant), fate in zip(drawn, fates, strict=True):
            meant += as_meant
            assert not as_meant or fate == "counted", f"a valid message was {fate}: {words(record)}"
        grown = peak_mb() - before
        assert grown < GROWTH_MB, f"memory grew by {grown} MB"
    total = sum(judge.became.values())
    print(f"{total} records in {time.monotonic() - began:.0f} s, {meant} of them valid, memory grew by {grown} MB")
    print("  " + ", ".join(f"{name} {n}" for name, n in judge.became.most_common()))
    return 0


def run_corpus() -> int:
    """Judge each record of the corpus, and see that none takes much memory."""
    from tests.fuzz.judge import Judge

    logging.getLogger("monitor").setLevel(logging.ERROR)
    judge, kept = Judge(), corpus.load()
    judge.judge([record for record, _ in records_of(0, -1)])
    for name, record in kept.items():
        before = peak_mb(anew=True)
        (fate,) = judge.judge([record])
        grown = peak_mb() - before
        print(f"{name}: {fate}, {grown} MB")
        assert grown < GROWTH_MB, f"{name}: memory grew by {grown} MB"
    print(f"{len(kept)} records")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--corpus", action="store_true", help="only the records that once did harm")
    options = parser.parse_args()
    if options.corpus:
        return run_corpus()
    batches = range(options.first, options.first + max(1, options.inputs // BATCH))
    if options.child is not None:
        return run(options.seed, batches, options.child, options.only)
    mark = Path(f"/tmp/fuzz-{time.time_ns()}")
    try:
        child = _child(options.seed, options.inputs, 0, mark)
        if child.returncode == 0:
            return 0
        failed = int(mark.read_text()) if mark.exists() else 0
        print(f"seed {options.seed}, batch {failed}: the process ended with {child.returncode}")
        for n in range(BATCH):
            one = _child(options.seed, 1, failed, mark, n)
            if one.returncode:
                record = records_of(options.seed, failed)[n][0]
                name = hashlib.sha256(repr(record).encode()).hexdigest()[:12]
                print(f"record {n} of it does so by itself; kept as {corpus.save(name, record)}")
                break
    finally:
        mark.unlink(missing_ok=True)
    return 1


def _child(seed: int, inputs: int, first: int, mark: Path, only: int | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz", "--child", str(mark), "--seed", str(seed)]
    command += ["--inputs", str(inputs), "--first", str(first), *([] if only is None else ["--only", str(only)])]
    return subprocess.run(command, check=False)


if __name__ == "__main__":
    raise SystemExit(main())
