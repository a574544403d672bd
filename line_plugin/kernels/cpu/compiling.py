"""The compiled scorer of a head: kept on disk, or compiled, if possible in a process that ends afterwards."""

from __future__ import annotations

import functools
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from line_plugin.kernels.cpu import kept, linked
from line_plugin.kernels.notice import first_line

log = logging.getLogger(__name__)

_SECONDS = 300.0
"""A machine that compiles for longer than this does it in its own process again, where nothing limits it."""


@functools.cache
def scorer(width: int) -> int:
    """The address of the compiled scorer of jobs for tiles of ``width`` classes, see :mod:`.blocked.job`.

    A process that has not imported numba gets it without: from disk, or from a process of its own that compiles it
    and ends. Everything else, and every failure of this, is numba in this process.
    """
    if (address := _without_numba(width)) is not None:
        return address
    from line_plugin.kernels.cpu.blocked import job

    function = job.compiled(width)
    keep(width, function)
    return int(function.address)


def keep(width: int, function: Any, places: list[Path] | None = None) -> bool:
    """Keep what numba compiled, for processes without numba; whether it is kept.

    Args:
        function: from :func:`line_plugin.kernels.cpu.blocked.job.compiled`.
    """
    try:
        if not kept.usable():
            return False
        _, kind, (data, _) = function._library.serialize_using_object_code()
        if kind != "object":
            return False
        return kept.write(_name(width), kept.Code(function.native_name, linked.undefined(data), data), places)
    except Exception as error:  # another numba may call this otherwise: its own cache then has the code alone
        log.debug("compiled code is not kept: %s: %s", type(error).__name__, first_line(error))
        return False


def _without_numba(width: int) -> int | None:
    try:
        if not kept.usable():
            return None
        code = kept.read(_name(width))
        if code is None and not {"torch", "numba"} & sys.modules.keys():
            code = _compile_apart(width)
        return None if code is None else linked.link(code)
    except Exception as error:  # whatever another version of llvmlite, or this machine, brings
        log.info(
            "the scoring kernel is compiled by numba in this process, which keeps 90 MB for it: without that it "
            "cannot be loaded (%s: %s)",
            type(error).__name__,
            first_line(error),
        )
        return None


def _compile_apart(width: int) -> kept.Code | None:
    """Compile in a process of its own, and read what it has kept; ``None`` if it could not."""
    if not sys.executable or getattr(sys, "frozen", False):
        return None
    with tempfile.TemporaryDirectory(prefix="openood-line-") as scratch:
        places = [*kept.folders(), Path(scratch)]
        given = json.dumps({"path": sys.path, "width": width, "places": [str(p) for p in places]})
        code = (
            "import json, sys\ngiven = json.load(sys.stdin)\nsys.path[:] = given['path']\n"
            "from line_plugin.kernels.cpu.compiling import run_apart\nrun_apart(given['width'], given['places'])"
        )
        done = subprocess.run(  # noqa: S603 - this Python and the lines above
            [sys.executable, "-c", code],
            input=given,
            capture_output=True,
            text=True,
            env={**os.environ, "NUMBA_CACHE_DIR": scratch},  # numba has an object file only of what it compiles itself
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise RuntimeError(f"the process that compiles ended with {done.returncode}: {said}")
        return kept.read(_name(width), places)


def run_apart(width: int, places: list[str]) -> None:
    """What the other process does."""
    from line_plugin.kernels.cpu.blocked import job

    if not keep(width, job.compiled(width), [Path(p) for p in places]):
        raise SystemExit("the compiled code could not be kept in any folder")


def _name(width: int) -> str:
    return f"scorer-{width}"
