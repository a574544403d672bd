"""A worker on a machine where torch is not installed: it counts, it alerts, and it takes a sixth of the memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks.mappings import Memory
from tests.live import Live, transitions, wait_for_surge
from tests.monitor_support import WITHOUT_TORCH, small_panel
from tests.oracle.recount import recount_panel

MOST_MB = 110
"""Of its own, which no other process shares: about 70 here, 140 with numba and scipy, and 600 with torch.

All that is resident depends on how much of LLVM's library the system has just read: between 140 and 200 MB.
"""
NEVER = {
    "torch": "libtorch",
    "scipy": "/scipy/",
    "numba": "/numba/_dispatcher",  # two other files of numba hold what compiled code calls
    "pyarrow": "/pyarrow/",
}
"""Libraries that a worker must not have imported, and what is mapped if it has."""


def imported(pid: int) -> list[str]:
    """Which of them a process has imported."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return [name for name, mapped in NEVER.items() if mapped in maps]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system has no /proc")
def test_a_worker_counts_and_alerts_without_torch_numba_or_scipy_in_little_memory(cluster):
    c = cluster()
    (c.folder / "sitecustomize.py").write_text(WITHOUT_TORCH)
    paths = {"PYTHONPATH": f"{c.folder}:{c.environment()['PYTHONPATH']}"}
    worker = c.start_worker(paths)
    with Live(c) as live:
        c.wait(lambda: c.counted() > 0)
        wait_for_surge(c, live, seconds=60)
        memory = Memory.of(worker.pid)
        assert memory.own < MOST_MB, memory.largest(12)
    c.wait_until_counted()
    assert c.store.totals() == c.recounted()
    assert imported(worker.pid) == []
    c.leave(worker)
    assert "Traceback" not in c.logs()


def test_a_worker_of_a_panel_imports_none_of_them_if_it_could(cluster):
    c = cluster()
    panel = small_panel()
    c.config["model"]["artifact"] = str(c.folder / "panel.safetensors")
    panel.save(c.config["model"]["artifact"])
    c.path.write_text(yaml.safe_dump(c.config))
    c.publish(600)
    worker = c.start_worker()
    c.wait(lambda: sum(c.store.totals().values()) >= 2 * c.sent)
    assert c.store.totals() == recount_panel(panel, [(r.key, r.value) for r in c.records()])
    assert imported(worker.pid) == []
    assert transitions(c, "stalled") == []
