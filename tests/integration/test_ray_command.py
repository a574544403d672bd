"""``openood ... --ray`` as typed: a Ray of the command's own, which says nothing and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from line_plugin.integrations.ray import session
from tests.cluster import REPOSITORY
from tests.integration.test_ray import features, prepared

pytest.importorskip("ray", reason="Ray is not installed: pip install 'openood-line[ray]'")
AT_WORK_SECONDS = 240


def start(flags: list[str], temp: Path) -> subprocess.Popen[str]:
    """The command in a session of its own, with a folder for temporary files of its own."""
    command = [sys.executable, "-m", "line_plugin.cli", *flags]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(temp)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True
    )


def of_session(leader: int) -> list[str]:
    """The processes that belong to it."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,sess=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 3) for line in listed.splitlines()]
    return [" ".join(r) for r in rows if int(r[1]) == leader and "Z" not in r[2]]


def gone(leader: int, pids: set[int]) -> None:
    """Wait for the last one: a process that was killed may take a moment."""
    until = time.monotonic() + 30
    while (left := of_session(leader) + [str(pid) for pid in pids if Path(f"/proc/{pid}").exists()]) and (
        time.monotonic() < until
    ):
        time.sleep(0.05)
    assert left == []


@pytest.fixture
def temp() -> Iterator[Path]:
    """A short name, since Ray's sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def left_in(temp: Path) -> list[str]:
    """What a command leaves there; torch makes a folder for its compiler as soon as it is imported."""
    return [p.name for p in temp.iterdir() if not p.name.startswith("torchinductor_")]


def seen(folder: Path) -> set[int]:
    return {int(p.name) for p in (folder / "seen").iterdir()}


def test_a_command_with_a_ray_of_its_own_says_what_one_process_says_and_leaves_nothing(
    tmp_path: Path, temp: Path
) -> None:
    flags = prepared(tmp_path, "pass")
    home = Path.home() / ".ray"
    before = {p: p.stat().st_mtime_ns for p in home.rglob("*")} if home.exists() else {}
    shared = ["--cache-dir", str(tmp_path / "ray"), "--num-workers", "1", "--ray", "--ray-actors", "2"]
    run = start([*flags, *shared], temp)
    out, err = run.communicate(timeout=AT_WORK_SECONDS)
    assert (run.returncode, err) == (0, "")
    alone = start([*flags, "--cache-dir", str(tmp_path / "one")], temp)
    assert alone.communicate(timeout=AT_WORK_SECONDS) == (out, "")
    assert features(tmp_path / "ray") == features(tmp_path / "one") != {}
    assert len(seen(tmp_path)) >= 3, "two actors and the commands themselves"
    gone(run.pid, seen(tmp_path))
    assert left_in(temp) == []
    assert ({p: p.stat().st_mtime_ns for p in home.rglob("*")} if home.exists() else {}) == before


def test_ctrl_c_ends_ray_and_its_actors_and_leaves_nothing_half_written(tmp_path: Path, temp: Path) -> None:
    # The actors hang in their first batch, each with a decoding process of its own.
    flags = prepared(tmp_path, "time.sleep(600 if len(x) > 1 else 0)")
    shared = ["--cache-dir", str(tmp_path / "cache"), "--num-workers", "1", "--ray", "--ray-actors", "2"]
    run = start([*flags, *shared], temp)
    until = time.monotonic() + AT_WORK_SECONDS
    while len(seen(tmp_path)) < 3:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)
    ours = {int(row.split()[0]) for row in of_session(run.pid)}
    assert len(ours) > 3
    assert listening(ours) != set()
    assert {address for address in listening(ours) if not address.startswith("127.")} == set()
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert err.count("\n") == 1
    assert "interrupted" in err
    gone(run.pid, seen(tmp_path))
    assert left_in(temp) == []
    assert not list((tmp_path / "cache/features").iterdir())


def listening(pids: set[int]) -> set[str]:
    """Addresses on which these processes take TCP connections, from /proc: IPv4, and IPv6 that stands for it."""
    inodes = {}
    for name, width in (("tcp", 8), ("tcp6", 32)):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                inodes[fields[9]] = readable(fields[1][:width])
    found = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in inodes:
                found.add(inodes[target[8:-1]])
    return found


def readable(address: str) -> str:
    """The kernel's hexadecimal words as a dotted address; of IPv6 only what stands for IPv4."""
    last = address[-8:]
    head = address[:-8]
    if head not in ("", "0000000000000000FFFF0000"):
        return address
    return ".".join(str(int(last[i : i + 2], 16)) for i in (6, 4, 2, 0))


def test_what_is_left_of_an_interrupted_start_is_ended(tmp_path: Path) -> None:
    script = f"{sys.executable} -c 'import time; print(1, flush=True); time.sleep(600)' & wait"
    child = subprocess.Popen(["sh", "-c", script, f"{tmp_path}/log"], stdout=subprocess.PIPE)
    other = subprocess.Popen(["sleep", "600"])
    assert child.stdout is not None
    child.stdout.readline()
    session.end_leftovers(str(tmp_path))
    child.wait(30)  # by itself it would take ten minutes
    assert child.stdout.read() == b"", "closed by what the child has started, too"
    assert other.poll() is None
    other.kill()
    other.wait()
