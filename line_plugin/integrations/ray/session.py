"""Starts a Ray for this command alone, on loopback, and ends it afterwards; or joins a running cluster."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

from line_plugin.errors import ClusterError, MissingLibraryError
from line_plugin.optional import say_missing

PATIENCE = {"RAY_raylet_start_wait_time_s": "90", "RAY_agent_register_timeout_ms": "90000"}
"""Ray's own limits for its start are 15 and 30 seconds, which is too short on a busy machine."""
STARTS = 3
"""How often to try to start Ray. Now and then one of its processes hangs."""
_LONGEST_FOLDER = 30  # Ray adds 60 characters for its sockets, and the name of a socket has 107 at most
_CONNECT_SECONDS = 10.0
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0 makes Ray open every socket on 127.0.0.1
_Process = tuple[int, str]
"""Process id and start time, which together name one process."""
_NEEDLESS = ("start_monitor", "start_api_server", "start_log_monitor")
_SILENCE = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # CUDA_VISIBLE_DEVICES stays, without a warning
}


def require_ray() -> None:
    """Refuses before the run begins. Ray is not imported here, since it reads its settings when imported.

    Raises:
        MissingLibraryError: Ray is not installed.
    """
    try:
        found = importlib.util.find_spec("ray")
    except ValueError:  # another module has its name
        found = None
    if found is None:
        raise MissingLibraryError(say_missing("ray", "--ray"))


@contextlib.contextmanager
def local_ray(cpus: int, store_bytes: int) -> Iterator[Any]:
    """Runs a Ray on loopback, without a dashboard, in a folder of its own.

    Afterwards its processes and folder are removed.

    Args:
        cpus: how many actors without a GPU may run.
        store_bytes: memory for data on its way between processes; more than that goes to disk.

    Raises:
        ClusterError: Ray does not start. MissingLibraryError: Ray is not installed.
    """
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="openood-ray-", dir=base if len(base) <= _LONGEST_FOLDER else "/tmp")  # noqa: S108
    with _environment(_local_environment(folder)), _signals_kept(), contextlib.ExitStack() as last:
        os.environ.pop("RAY_ADDRESS", None)  # Ray would take it for the address of another cluster
        last.callback(shutil.rmtree, folder, ignore_errors=True)
        ray = quiet_ray()
        last.callback(_stop, ray, folder)
        _start(ray, folder, num_cpus=cpus, object_store_memory=store_bytes)
        yield ray


def _start(ray: Any, folder: str, **room: int) -> None:
    """Starts a Ray on this machine. If that fails, ends the processes of the failed start and tries again."""
    quiet = {"include_dashboard": False, "configure_logging": False, "log_to_driver": False}
    for attempt in range(1, STARTS + 1):
        try:
            with fewer_processes():
                ray.init(address="local", _temp_dir=folder, **quiet, **room)
            return
        except Exception as error:
            if attempt == STARTS:
                raise ClusterError(
                    f"Ray does not start on this machine ({_first_line(error)}): make room for it, or leave out --ray"
                ) from error
            _stop(ray, folder)


@contextlib.contextmanager
def joined_ray(address: str) -> Iterator[Any]:
    """Joins the cluster at ``HOST:PORT``, and leaves it running afterwards.

    Raises:
        ClusterError: no cluster answers. MissingLibraryError: Ray is not installed.
    """
    host, _, port = address.rpartition(":")
    with _environment(_SILENCE), _signals_kept(), contextlib.ExitStack() as last:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        except OSError as error:
            raise ClusterError(
                f"nothing answers at {address} ({error.strerror or error}): give the address that `ray start --head` "
                "printed, or --ray alone for a Ray on this machine"
            ) from error
        ray = quiet_ray()
        last.callback(ray.shutdown)
        try:
            ray.init(address=address, configure_logging=False, log_to_driver=False)
        except Exception as error:
            raise ClusterError(
                f"cannot join the Ray cluster at {address} ({_first_line(error)}): this machine must be one of its "
                "nodes, with the same Ray and Python, and RAY_AUTH_TOKEN set if the cluster asks for a token"
            ) from error
        yield ray


def quiet_ray() -> Any:
    """Imports Ray with the current environment and silences it. Problems that matter become errors of this package."""
    import ray
    from ray import _raylet
    from ray._private import ray_constants

    raylet: Any = _raylet
    logging.getLogger("ray").setLevel(logging.CRITICAL + 1)
    with contextlib.suppress(AttributeError, TypeError):  # if it was imported before
        raylet.Config.initialize("")
        if os.environ.get(_LOOPBACK) == "0":
            ray_constants.ENABLE_RAY_CLUSTER = False
    return ray


@contextlib.contextmanager
def fewer_processes() -> Iterator[None]:
    """Within this context, Ray starts without its autoscaler, its dashboard's server and its reader of logs.

    They are not used, and each of them takes seconds of CPU to start. Ray's agent starts as it does without
    ``ray[default]``.
    """
    from ray._private import utils
    from ray._private.node import Node

    before = {name: getattr(Node, name) for name in _NEEDLESS if hasattr(Node, name)}
    lacking = utils.get_dashboard_dependency_error
    for name in before:
        setattr(Node, name, lambda *_, **__: None)
    utils.get_dashboard_dependency_error = lambda: ImportError("not wanted")
    try:
        yield
    finally:
        utils.get_dashboard_dependency_error = lacking
        for name, method in before.items():
            setattr(Node, name, method)


def _local_environment(folder: str) -> dict[str, str]:
    """The settings that make Ray stay on loopback, refuse other users of this machine, and send no reports."""
    return {
        _LOOPBACK: "0",
        "TMPDIR": folder,  # for Ray's processes, not for this one, which has read it already
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _token(),
        "RAY_USAGE_STATS_ENABLED": "0",
        **PATIENCE,
        "RAY_worker_niceness": "0",  # actors do the actual work
        **_SILENCE,
    }


@functools.cache
def _token() -> str:
    """The token of this process. It never changes, since Ray reads it once, and is not written to a file."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def _environment(changed: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in [*changed, "RAY_ADDRESS"]}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Restores SIGTERM, which Ray takes over. While Ray runs, SIGTERM ends the command in order, like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(ray: Any, folder: str) -> None:
    """Shuts Ray down, and ends processes that outlive it, since decoding processes run on for seconds."""
    before = _running_below(folder)
    try:
        ray.shutdown()
    finally:
        end_leftovers(folder, before)


def end_leftovers(folder: str, known: frozenset[_Process] = frozenset(), seconds: float = 10.0) -> None:
    """Ends the processes that still run in a folder of ours, such as half of a Ray whose start was interrupted.

    Args:
        folder: the folder that the command lines of Ray's own processes name.
        known: other processes to end, which do not name it.
        seconds: how long to try.
    """
    until = time.monotonic() + seconds
    while found := _running_below(folder) | (known & {process for process, _, _ in _processes()}):
        for pid, _ in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > until:
            return
        time.sleep(0.05)


def _running_below(folder: str) -> frozenset[_Process]:
    """Processes whose command line names a file in the folder, and all processes that they have started."""
    listed = [row for row in _processes() if row[0][0] != os.getpid()]
    found = {process for process, _, args in listed if f"{folder}/" in args}
    while more := {process for process, parent, _ in listed if parent in {pid for pid, _ in found}} - found:
        found |= more
    return frozenset(found)


def _processes() -> list[tuple[_Process, int, str]]:
    """All running processes, each with its parent and its command line."""
    try:
        command = ["ps", "-ww", "-eo", "pid=,ppid=,stat=,lstart=,args="]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return []
    rows = [line.split(None, 8) for line in listed.splitlines()]  # lstart has five words
    return [((int(r[0]), " ".join(r[3:8])), int(r[1]), r[8]) for r in rows if len(r) == 9 and "Z" not in r[2]]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
