"""The units: by systemd's own tools, by the settings they name, and by the system calls that the processes make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from monitor.config import load, load_as
from monitor.config.ingest import IngestConfig
from tests.cluster import Cluster
from tests.ingest import IngestServer, attributes

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
PROGRAM = "opt/ood-monitor/bin/ood-monitor"

systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed (Debian: systemd)"
)


def _traces() -> bool:
    """Whether processes can be traced here: some containers forbid it."""
    if not shutil.which("strace"):
        return False
    tried = ["strace", "-D", "-f", "--seccomp-bpf", "-qqq", "-e", "inject=sethostname:error=EPERM", "true"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


strace = pytest.mark.skipif(
    not _traces(), reason="strace is not installed (Debian: strace), or processes cannot be traced here"
)
each = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def values(unit: Path, key: str) -> list[str]:
    """What a unit says of a key, comments left out."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def test_there_is_a_unit_of_each_process():
    assert [u.stem for u in UNITS] == ["ood-ingest", "ood-monitor"]


@systemd
@each
def test_systemd_reads_the_unit_without_a_complaint(unit, tmp_path):
    """Under a root of its own, since the program has to be where the unit says."""
    folder = tmp_path / "etc/systemd/system"
    folder.mkdir(parents=True)
    shutil.copy(unit, folder)
    program = tmp_path / PROGRAM
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for needed in ("network-online.target", "sysinit.target", "basic.target", "shutdown.target", "multi-user.target"):
        (folder / needed).write_text("[Unit]\nDescription=there\n")
    done = run("systemd-analyze", "verify", "--man=no", f"--root={tmp_path}", f"/etc/systemd/system/{unit.name}")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@systemd
@each
def test_little_is_left_that_the_process_may_do(unit):
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", str(unit))
    assert done.returncode == 0, done.stdout[-300:]


@each
def test_the_command_and_its_settings_are_those_of_the_program(unit):
    (line,) = values(unit, "ExecStart")
    program, command, option, path, *rest = line.split()
    assert (program, option, rest) == (f"/{PROGRAM}", "--config", ["--log-format", "json"])
    done = subprocess.run(
        [sys.executable, "-m", "monitor.cli", command, "--help"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "--log-format" in done.stdout
    config = ROOT / "configs" / Path(path).name
    longest = load_as(IngestConfig, config, {}).queue.drain_seconds if command == "ingest" else 20
    assert int(values(unit, "TimeoutStopSec")[0]) > longest + 10


@each
def test_the_secrets_it_may_hand_over_are_settings(unit, tmp_path):
    names = re.findall(r"^#LoadCredential=(\w+):", unit.read_text(), re.MULTILINE)
    (folder,) = re.findall(r"^#Environment=(\w+_SECRETS_DIR)=%d$", unit.read_text(), re.MULTILINE)
    assert names
    for name in names:
        (tmp_path / name).write_text("a-secret-of-the-tests\n")
    if unit.stem == "ood-ingest":
        config = load_as(IngestConfig, ROOT / "configs/ingest.yml", {folder: str(tmp_path)})
        assert config.http.token.get_secret_value() == "a-secret-of-the-tests"
        return
    monitor = load(ROOT / "configs/monitor.yml", {folder: str(tmp_path)})
    assert monitor.redis.password.get_secret_value() == "a-secret-of-the-tests"


def allowed(unit: Path) -> set[str]:
    """System calls that SystemCallFilter= leaves."""
    found: set[str] = set()
    for line in values(unit, "SystemCallFilter"):
        calls = {call for name in line.removeprefix("~").split() for call in expanded(name)}
        found = found - calls if line.startswith("~") else found | calls
    return found


def expanded(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    listed = run("systemd-analyze", "syscall-filter", "--no-pager", name).stdout.splitlines()
    inside = [line.strip() for line in listed[1:] if line.startswith("    ") and not line.strip().startswith("#")]
    return {call for one in inside for call in expanded(one)}


def watched(unit: Path, trace: Path, *arguments: str) -> list[str]:
    """The command under strace, which refuses what the unit refuses, and writes that and all calls for memory down.

    ``-D`` keeps the command our own child, so that a signal reaches it and not strace.
    """
    calls = allowed(unit) - {"mmap", "mprotect"}
    assert len(calls) > 200
    command = ["strace", "-D", "-f", "--seccomp-bpf", "-qqq", "-e", "signal=none", "-o", str(trace)]
    but = ",".join(f"?{call}" for call in sorted(calls))
    command += ["-e", f"trace=!{but}", "-e", f"inject=!{but},mmap,mprotect:error=EPERM"]
    return [*command, sys.executable, "-m", "monitor.cli", *arguments]


def refused(trace: Path, memory: bool) -> set[str]:
    """What the unit refuses of the calls that were made.

    Args:
        trace: what strace wrote.
        memory: whether MemoryDenyWriteExecute= is on.
    """
    lines = trace.read_text().splitlines()
    made = {line: re.findall(r"^\d+ +(\w+)\(", line) for line in lines}
    found = {call for calls in made.values() for call in calls if call not in ("mmap", "mprotect")}
    writes = re.compile(r"mmap\(.*PROT_WRITE\|PROT_EXEC|mprotect\(.*PROT_EXEC")
    return found | {call for line, calls in made.items() for call in calls if memory and writes.search(line)}


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@systemd
@strace
def test_a_worker_does_its_work_without_the_system_calls_that_the_unit_refuses(cluster, tmp_path):
    unit, trace = ROOT / "deploy/systemd/ood-monitor.service", tmp_path / "refused"
    c: Cluster = cluster()
    c.publish(2000)
    with (tmp_path / "worker-strace.log").open("wb") as log:
        command = watched(unit, trace, "run", "--config", str(c.path))
        c.workers.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env=ENVIRONMENT))
    c.wait_until_counted()
    c.wait(lambda: "folded_at" in c.store.health().times, 30)
    c.leave(c.workers[0])
    assert "mmap" in trace.read_text()
    assert refused(trace, memory=False) <= CAN_DO_WITHOUT, trace.read_text()[:2000]
    assert refused(trace, memory=True) > refused(trace, memory=False), "numba compiles: memory of code must be allowed"
    assert not values(unit, "MemoryDenyWriteExecute")


CAN_DO_WITHOUT = {"sched_setaffinity", "set_mempolicy", "mbind"}
"""With these OpenBLAS and OpenMP say which core and which memory they would like best. Any other is worth a look."""


@systemd
@strace
def test_ingest_does_its_work_without_the_system_calls_that_its_unit_refuses(cluster, tmp_path):
    unit, trace = ROOT / "deploy/systemd/ood-ingest.service", tmp_path / "refused"
    c: Cluster = cluster()
    server = IngestServer(tmp_path, c.bootstrap, c.topic)
    with server.output.open("wb") as log:
        command = watched(unit, trace, "ingest", "--config", str(server.path))
        server.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env=ENVIRONMENT)
    try:
        server.wait_until_ready()
        posted = httpx.post(server.url, content=b"\0" * 32, headers=attributes("r1"), timeout=30)
        assert posted.status_code == 202, posted.text
        assert server.stop() == 0
    finally:
        server.__exit__()
    assert values(unit, "MemoryDenyWriteExecute") == ["yes"]
    assert "mmap" in trace.read_text()
    assert refused(trace, memory=True) <= CAN_DO_WITHOUT, trace.read_text()[:2000]
