"""Memory that the start of a process freed is given back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

CODE = """
import ctypes, gc
from benchmarks.mappings import Memory
from monitor.service.memory import settle
kept = [bytes(20_000) for _ in range(4000)]  # 80 MB in blocks that come from the heap
above = bytes(20_000)                        # lies on top, so that the heap cannot shrink
full = Memory.of().resident
del kept
freed = Memory.of().resident
settle()
print(full - freed < 20, freed - Memory.of().resident > 60, gc.get_freeze_count() > 1000)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="this system has no /proc")
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc_trim")
def test_what_the_start_freed_is_given_back_although_something_lies_above_it() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True", "True"]
