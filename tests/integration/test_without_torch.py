"""A worker on a machine where torch is not installed: it counts, it alerts, and it takes a fifth of the memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.live import Live, transitions, wait_for_surge
from tests.monitor_support import WITHOUT_TORCH, small_panel
from tests.oracle.recount import recount_panel

MOST_MB = 280
"""Loosely: it takes about 190 MB here, and took 800 when it imported torch."""


def resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024 / 1e6


def maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system has no /proc")
def test_a_worker_without_torch_counts_and_alerts_in_a_fifth_of_the_memory(cluster):
    c = cluster()
    (c.folder / "sitecustomize.py").write_text(WITHOUT_TORCH)
    paths = {"PYTHONPATH": f"{c.folder}:{c.environment()['PYTHONPATH']}"}
    worker = c.start_worker(paths)
    with Live(c) as live:
        c.wait(lambda: c.counted() > 0)
        wait_for_surge(c, live, seconds=60)
        assert resident(worker.pid) < MOST_MB, c.logs()
    c.wait_until_counted()
    assert c.store.totals() == c.recounted()
    assert "libtorch" not in maps(worker.pid)
    c.leave(worker)
    assert "Traceback" not in c.logs()


def test_a_worker_imports_no_torch_if_it_could(cluster):
    c = cluster()
    panel = small_panel()
    c.config["model"]["artifact"] = str(c.folder / "panel.safetensors")
    panel.save(c.config["model"]["artifact"])
    c.path.write_text(yaml.safe_dump(c.config))
    c.publish(600)
    worker = c.start_worker()
    c.wait(lambda: sum(c.store.totals().values()) >= 2 * c.sent)
    assert c.store.totals() == recount_panel(panel, [(r.key, r.value) for r in c.records()])
    assert "libtorch" not in maps(worker.pid)
    assert transitions(c, "stalled") == []
