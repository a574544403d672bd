"""A Ray of this command's own, on loopback and gone when it ends; or a place in a cluster that runs already."""

from __future__ import annotations

import contextlib
import functools
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
from pathlib import Path
from typing import Any

from line_plugin.errors import ClusterError, SettingsError

STARTS = 3
"""How often a local Ray is started: it gives up on itself after 30 seconds, which a busy machine may need."""
_LONGEST_FOLDER = 30  # Ray's sockets lie 60 characters below, and the name of a socket has 107 at most
_CONNECT_SECONDS = 10.0


def require_ray() -> Any:
    """Ray, or an error that says what to install.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise SettingsError("--ray needs Ray, which is not installed: pip install 'openood-line[ray]'") from error
    return ray


@contextlib.contextmanager
def local_ray(cpus: int, store_bytes: int) -> Iterator[Any]:
    """A Ray on loopback, without a dashboard, in a folder of its own; afterwards its processes and folder are gone.

    Args:
        cpus: how many actors without a GPU may run.
        store_bytes: memory for what is on its way between processes; what is beyond goes to disk.

    Raises:
        ClusterError: it does not start. SettingsError: Ray is not installed.
    """
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="openood-ray-", dir=base if len(base) <= _LONGEST_FOLDER else "/tmp")  # noqa: S108
    with _environment(_local_environment()), _signals_kept(), contextlib.ExitStack() as last:
        last.callback(shutil.rmtree, folder, ignore_errors=True)
        last.callback(_end_leftovers, folder)
        ray = _quiet_ray()
        last.callback(ray.shutdown)
        for attempt in range(STARTS):
            try:
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    configure_logging=False,
                    log_to_driver=False,
                    object_store_memory=store_bytes,
                    _temp_dir=folder,
                )
                break
            except Exception as error:
                ray.shutdown()
                _end_leftovers(folder)
                if attempt + 1 == STARTS:
                    raise ClusterError(
                        f"Ray does not start on this machine ({_first_line(error)}): make room for it, or leave out "
                        "--ray"
                    ) from error
        yield ray


@contextlib.contextmanager
def joined_ray(address: str) -> Iterator[Any]:
    """A place in the cluster at ``HOST:PORT``; afterwards it runs on without us.

    Raises:
        ClusterError: there is none. SettingsError: Ray is not installed.
    """
    host, _, port = address.rpartition(":")
    with _signals_kept(), contextlib.ExitStack() as last:
        ray = _quiet_ray()
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        except OSError as error:
            raise ClusterError(
                f"nothing answers at {address} ({error.strerror or error}): give the address that `ray start --head` "
                "printed, or --ray alone for a Ray on this machine"
            ) from error
        last.callback(ray.shutdown)
        try:
            ray.init(address=address, configure_logging=False, log_to_driver=False)
        except Exception as error:
            raise ClusterError(
                f"cannot join the Ray cluster at {address} ({_first_line(error)}): this machine must be one of its "
                "nodes, with the same Ray and Python, and RAY_AUTH_TOKEN set if the cluster asks for a token"
            ) from error
        yield ray


def _quiet_ray() -> Any:
    """Ray, which says nothing by itself: what matters of it becomes our own errors."""
    logging.getLogger("ray").setLevel(logging.CRITICAL + 1)
    return require_ray()


def _local_environment() -> dict[str, str]:
    """What makes Ray stay on loopback, refuse strangers on this machine, and report to nobody."""
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # its word for: every socket on 127.0.0.1
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _token(),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # leaves CUDA_VISIBLE_DEVICES alone without a GPU, and says nothing
    }


@functools.cache
def _token() -> str:
    """One for the life of this process, since Ray reads it once; in no file."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def _environment(changed: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in [*changed, "RAY_ADDRESS"]}
    os.environ.update(changed)
    os.environ.pop("RAY_ADDRESS", None)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; give it back. While Ray runs it is an orderly end, like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_leftovers(folder: str, seconds: float = 10.0) -> None:
    """End what still runs in a folder that is ours alone, such as the half of a Ray whose start was interrupted."""
    until = time.monotonic() + seconds
    while found := _running_in(folder):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > until:
            return
        time.sleep(0.05)


def _running_in(folder: str) -> list[int]:
    try:
        listed = subprocess.run(["ps", "-eo", "pid=,stat=,args="], capture_output=True, text=True, check=True).stdout  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return []
    rows = [line.split(None, 2) for line in listed.splitlines()]
    inside = f"{Path(folder)}/"
    return [int(r[0]) for r in rows if len(r) == 3 and inside in r[2] and "Z" not in r[1] and int(r[0]) != os.getpid()]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
