"""A worker and ingest by the start script of the image, with no more rights than their containers have."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from monitor.testing import launcher
from tests.cluster import Cluster
from tests.deploy.confined import confined, why_not
from tests.ingest import IngestServer, attributes
from tests.monitor_support import CLASSES

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be done"), pytest.mark.slow]


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """The folder /opt/monitor of the image, its program being that of these tests."""
    folder = tmp_path_factory.mktemp("opt") / "monitor"
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name in ("start.sh", "healthy.py", "warm_kernels.py"):
        shutil.copy(ROOT / "docker" / name, programs)
    for name, rest in (("python", ""), ("ood-monitor", " -m monitor.cli")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable}{rest} "$@"\n')
        (programs / name).chmod(0o755)
    (programs / "start.sh").chmod(0o755)
    return folder


def environment(port: int) -> dict[str, str]:
    """What the image and compose.yml set."""
    return {
        **os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
        "NUMBA_CACHE_DIR": "/tmp/kernels", "OOD_MONITOR__HTTP__PORT": str(port),
    }  # fmt: skip


def reads(*more: Path) -> list[Path]:
    return [Path(sys.base_prefix), Path(sys.prefix), ROOT, *more]


def run(command: list[str], *folders: Path, port: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        confined(command, reads(*folders)),
        env=environment(port),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_in_confinement_nothing_but_tmp_can_be_written_and_nothing_is_left_to_root(image):
    script = (
        "id -u; touch /x /usr/x /var/tmp/x 2>&1 | grep -c 'Read-only'; touch /tmp/x && echo tmp; cat /proc/self/status"
    )
    done = run(["sh", "-c", script], image)
    assert done.stdout.splitlines()[:3] == ["10001", "3", "tmp"], done.stdout + done.stderr
    assert "CapEff:\t0000000000000000" in done.stdout
    assert "CapBnd:\t0000000000000000" in done.stdout
    assert "NoNewPrivs:\t1" in done.stdout


def compiled(folder: Path) -> list[str]:
    """The names of LINe's kernel as it is kept, and of what numba keeps for the panel."""
    return sorted(p.name for p in folder.rglob("*.*") if p.suffix in {".kernel", ".nbc"})


def test_a_worker_counts_is_well_and_ends_in_order_with_the_kernels_of_the_image(cluster, image, tmp_path):
    c: Cluster = cluster()
    c.publish(2000)
    warm = {**environment(1), "NUMBA_CACHE_DIR": str(image / "kernels")}
    subprocess.run([str(image / "bin/start.sh"), "--warm", str(CLASSES)], env=warm, check=True, timeout=900)
    kernels = compiled(image / "kernels")
    assert {Path(name).suffix for name in kernels} == {".kernel", ".nbc"}
    port = launcher.free_port()
    c.folder.chmod(0o755)
    command = confined([str(image / "bin/start.sh"), "run", "--config", str(c.path)], reads(image, c.folder))
    with (c.folder / "worker-confined.log").open("wb") as log:
        worker = subprocess.Popen(command, env=environment(port), stdout=log, stderr=log)
    c.workers.append(worker)
    c.wait_until_counted()
    assert c.store.totals() == c.recounted()
    assert compiled(Path(f"/proc/{worker.pid}/root/tmp/kernels")) == kernels, "a kernel was compiled again"
    assert "/numba/_dispatcher" not in Path(f"/proc/{worker.pid}/maps").read_text(), "numba was imported"
    healthy = [sys.executable, str(image / "bin/healthy.py")]
    done = subprocess.run(healthy, env=environment(port), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "healthy: the process makes progress\n"), done.stderr
    worker.terminate()
    assert worker.wait(30) == 0, c.logs()
    c.workers.remove(worker)
    assert "the current batch is counted" in c.logs()


def test_ingest_takes_posts_is_well_and_ends_in_order(cluster, image, tmp_path):
    c: Cluster = cluster()
    server = IngestServer(tmp_path, c.bootstrap, c.topic)
    tmp_path.chmod(0o755)
    command = confined([str(image / "bin/start.sh"), "ingest", "--config", str(server.path)], reads(image, tmp_path))
    with server.output.open("wb") as log:
        server.process = subprocess.Popen(command, env=environment(1), stdout=log, stderr=log)
    try:
        server.wait_until_ready()
        posted = httpx.post(server.url, content=b"\0" * 32, headers=attributes("r1"), timeout=30)
        assert posted.status_code == 202, posted.text
        healthy = [sys.executable, str(image / "bin/healthy.py"), str(server.port)]
        assert subprocess.run(healthy, env=environment(1), capture_output=True, timeout=30, check=False).returncode == 0
        assert server.stop() == 0, server.log()
    finally:
        server.__exit__()
    assert [r.value for r in c.records()] == [b"\0" * 32]
