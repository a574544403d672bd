"""A share of one core for a process, by the kernel's own scheduler: cgroup v2 where it is there, else v1."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 50_000


@dataclass(frozen=True)
class CpuQuota:
    """Processes in ``folder`` run for at most ``share`` of one core, all together."""

    folder: Path
    share: float

    def add(self, pid: int) -> None:
        """Put a process with all its threads under the quota; children that it starts later are under it, too."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def throttled_periods(self) -> tuple[int, int]:
        """Periods so far in which somebody wanted to run, and those of them in which the quota was used up."""
        found = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
        return int(found["nr_periods"]), int(found["nr_throttled"])


@contextlib.contextmanager
def quota(share: float) -> Iterator[CpuQuota]:
    """A quota while the context lasts; processes still under it then go on without.

    Raises:
        RuntimeError: control groups cannot be made here.
    """
    version_two = (ROOT / "cgroup.controllers").is_file()
    parent = ROOT if version_two else ROOT / "cpu"
    folder = parent / f"ood-monitor-soak-{os.getpid()}"
    try:
        if version_two:
            (parent / "cgroup.subtree_control").write_text("+cpu")
        folder.mkdir()
    except OSError as error:
        raise RuntimeError(
            f"no CPU quota can be set here ({error}): run this as root on a machine whose control groups are writable, "
            "or with --quota 0, which measures the capacity without a bound"
        ) from error
    try:
        allowed = round(share * PERIOD_US)
        if version_two:
            (folder / "cpu.max").write_text(f"{allowed} {PERIOD_US}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(allowed))
        yield CpuQuota(folder, share)
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):  # it ended meanwhile
                (parent / "cgroup.procs").write_text(pid)
        folder.rmdir()
