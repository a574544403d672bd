"""A small Ray cluster on loopback, for tests of commands that join one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from line_plugin.integrations.ray.session import PATIENCE, fewer_processes, quiet_ray

SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # all on 127.0.0.1
    "RAY_USAGE_STATS_ENABLED": "0",
    **PATIENCE,
}


@contextlib.contextmanager
def start_cluster(cpus: int, more: int = 0) -> Iterator[Any]:
    """A head with so many cores, as Ray's own tests start one, and more nodes of one core each."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as last:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        usual = last.enter_context(node_folder())  # a cluster notes its address there, and makes no folder
        (Path(usual) / "ray").mkdir()
        patch.setenv("RAY_TMPDIR", usual)
        quiet_ray()  # which reads them
        from ray.cluster_utils import Cluster

        folders = [last.enter_context(node_folder()) for _ in range(1 + more)]
        with fewer_processes():
            found = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "temp_dir": folders[0]})
        last.callback(found.shutdown)
        for folder in folders[1:]:
            add_node(found, folder)
        yield found


def node_folder() -> tempfile.TemporaryDirectory[str]:
    """Short, since Ray's sockets are in it."""
    return tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)


def add_node(cluster: Any, folder: str) -> Any:
    """One more node with one core, whose files are in this folder."""
    with fewer_processes():
        return cluster.add_node(num_cpus=1, temp_dir=folder)


_OCCUPY = """
import ray, sys
ray.init(address=sys.argv[1], configure_logging=False, log_to_driver=False)
taken = ray.remote(num_cpus=int(sys.argv[2]))(type("Taken", (), {"ready": lambda self: None})).remote()
ray.get(taken.ready.remote())
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def cores_taken(cluster: Any, count: int) -> Iterator[subprocess.Popen[str]]:
    """Meanwhile another process uses so many cores of the cluster, so that actors have to go where others are free.

    It frees them if its input is closed.
    """
    command = [sys.executable, "-c", _OCCUPY, cluster.address, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert "ready" in other.stdout.readline()
        yield other
