"""A Ray of this command's own, on loopback and gone when it ends; or a place in a cluster that runs already."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from monitor.errors import MissingLibraryError, ReplayError
from monitor.service.replaying.fleet import Fleet

STORE_BYTES = 128 * 2**20
"""Shared memory of a Ray that is started here: counts of a few pieces."""

STARTS = 3
"""How often a Ray of our own is started: it gives up on itself after 30 seconds, which a busy machine may need."""

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@contextmanager
def open_ray(fleet: Fleet) -> Iterator[Any]:
    """Ray, quiet; one that was started here has ended, and left no file, when this ends.

    Raises:
        MissingLibraryError: it is not installed.
        ReplayError: it does not start, or cannot be reached.
    """
    with ExitStack() as ending:
        # Ray's listener prints what happens to actors on stdout, which is the report's.
        ending.enter_context(redirect_stdout(ending.enter_context(Path(os.devnull).open("w", encoding="utf-8"))))
        quiet = {"log_to_driver": False, "configure_logging": False}
        if fleet.address:
            _reach(fleet.address)
            ending.enter_context(_environment(_QUIET))
            ray = _import_ray()
            ending.callback(ray.shutdown)
            _start(ray, {"address": fleet.address, **quiet}, f"at {fleet.address}", 1)
        else:
            token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token()}  # nobody else on this machine may use it
            ending.enter_context(_environment({**_QUIET, **token}))
            ray = _import_ray()
            # Ray's sockets lie in its folder, and their names have to be short.
            folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
            ending.callback(_remove, folder)
            settings: dict[str, Any] = {"address": "local", "include_dashboard": False, **quiet}
            settings |= {"object_store_memory": STORE_BYTES, "_node_ip_address": "127.0.0.1"}
            settings |= {"num_cpus": max(fleet.actors, os.cpu_count() or 1), "_temp_dir": folder}
            ending.callback(_end_what_runs_in, folder)
            ending.callback(ray.shutdown)
            _start(ray, settings, "on this machine", STARTS)
        yield ray


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingLibraryError('--ray needs Ray: pip install "openood-line[ray]"') from None
    logging.getLogger("ray").setLevel(logging.CRITICAL + 1)  # what matters becomes an error of ours
    with suppress(ImportError, AttributeError, TypeError):  # it reads the environment as it is imported: do it again
        importlib.import_module("ray._raylet").Config.initialize("")
    return ray


@functools.cache
def _token() -> str:
    """One for the life of this process, since Ray reads it once; it is in no file."""
    return secrets.token_hex(32)


def _start(ray: Any, settings: dict[str, Any], where: str, attempts: int) -> None:
    for attempt in range(attempts):
        try:
            ray.init(**settings)
            return
        except Exception as error:
            ray.shutdown()
            if "_temp_dir" in settings:
                _end_what_runs_in(settings["_temp_dir"])
            said = str(error).strip().splitlines() or [type(error).__name__]
            if attempt + 1 == attempts:
                raise ReplayError(
                    f"Ray {where} cannot be used ({said[0][:300]}): look whether it runs and whether the machine has "
                    "room for it, or replay without --ray"
                ) from error


def _end_what_runs_in(folder: str, seconds: float = 10.0) -> None:
    """End what still runs in a folder that is ours alone, such as the half of a Ray that did not start."""
    until = time.monotonic() + seconds
    while found := _running_in(folder):
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > until:
            return
        time.sleep(0.05)


def _remove(folder: str, seconds: float = 10.0) -> None:
    """Remove a folder, again if a process that is about to end still wrote to it."""
    until = time.monotonic() + seconds
    while Path(folder).exists() and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)


def _running_in(folder: str) -> list[int]:
    try:
        # -ww: whole lines, whatever COLUMNS says
        ps = subprocess.run(["ps", "-eww", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return []
    rows = [line.split(None, 2) for line in ps.stdout.splitlines()]
    return [int(r[0]) for r in rows if len(r) == 3 and f"{folder}/" in r[2] and "Z" not in r[1]]


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _reach(address: str) -> None:
    """Find out within seconds what Ray finds out after minutes: that nobody listens there."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # auto, or a name that Ray itself explains
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ReplayError(
            f"Ray at {address} cannot be used ({error}): look whether it runs (`ray status --address {address}`), or "
            "replay without --ray"
        ) from None
