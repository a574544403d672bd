"""How soon a process without torch scores, and how large it is then.

    python -m benchmarks.scorer_start ARTIFACT              # three new processes
    python -m benchmarks.scorer_start ARTIFACT --once       # this process

With ``NUMBA_CACHE_DIR`` set to an empty folder the first process compiles. To compare two states of the code, run it in
both.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def measure(artifact: str) -> str:
    """One line about this process."""
    began = time.monotonic()
    from line_plugin.method.scorer import LineScorer, load_scorer

    scorer = load_scorer(artifact)
    if scorer is None:
        raise SystemExit("numba is not installed, or its kernels cannot be used here")
    rows = np.random.default_rng(0).random((64, scorer.width), np.float32)
    score = scorer.predict if isinstance(scorer, LineScorer) else scorer.predict_experts
    score(rows)
    used = resource.getrusage(resource.RUSAGE_SELF)
    ready = f"| {used.ru_utime + used.ru_stime:.2f} | {time.monotonic() - began:.2f} |"
    least = min(_seconds(lambda: score(rows)) for _ in range(100))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    resident = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024 / 1e6
    return f"{ready} {1e6 * least:.0f} | {resident:.0f} | {'yes' if 'numba' in sys.modules else 'no'} |"


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Print a line a process."""
    parser = argparse.ArgumentParser(description="How soon a process without torch scores.")
    parser.add_argument("artifact")
    parser.add_argument("--once", action="store_true", help="measure this process")
    arguments = parser.parse_args()
    if arguments.once:
        print(measure(arguments.artifact))
        return
    print("| CPU seconds to the first score | seconds | us a batch of 64, at best | MB (RSS) | numba imported |")
    print("|-|-|-|-|-|")
    command = [sys.executable, "-m", "benchmarks.scorer_start", arguments.artifact, "--once"]
    for _ in range(3):
        print(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout, end="", flush=True)


if __name__ == "__main__":
    main()
