"""Finds the compiled functions: on disk, or compiled, if possible in a process that ends afterwards."""

from __future__ import annotations

import functools
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from line_plugin.kernels.cpu import kept, linked
from line_plugin.kernels.notice import first_line

log = logging.getLogger(__name__)

Kind = Literal["scorer", "angle", "residual", "of_class"]
"""LINe's own kernel (:mod:`.blocked.job`) and those of the panel's experts (:mod:`.blocked.experts`)."""

_SECONDS = 300.0
"""A machine that compiles for longer than this does it again in its own process, in which nothing limits it."""


@functools.cache
def function(kind: Kind, width: int) -> int:
    """The address of a compiled function of one address, for tiles of ``width`` classes (0 if it has no tiles).

    A function that is kept on disk is loaded without numba. If it is not kept, a process that has imported neither
    torch nor numba lets another process compile it. In all other cases, and if any of this fails, numba compiles it
    here.
    """
    name = f"{kind}-{width}"
    if (address := _without_numba(kind, width, name)) is not None:
        return address
    compiled = _compile(kind, width)
    keep(name, compiled)
    return int(compiled.address)


def keep(name: str, compiled: Any, places: list[Path] | None = None) -> bool:
    """Keeps what numba compiled on disk; returns whether it could.

    Args:
        name: the name to keep it under; compiled: numba's function; places: folders, numba's own if not given.
    """
    try:
        if not kept.usable():
            return False
        _, kind, (data, _) = compiled._library.serialize_using_object_code()
        if kind != "object":
            return False
        return kept.write(name, kept.Code(compiled.native_name, linked.undefined(data), data), places)
    except Exception as error:  # another numba may call this otherwise; its own cache then has the code
        log.debug("compiled code is not kept: %s: %s", type(error).__name__, first_line(error))
        return False


def _compile(kind: Kind, width: int) -> Any:
    from line_plugin.kernels.cpu.blocked import experts, job

    make = {"scorer": job.compiled, "angle": experts.angle, "residual": experts.residual, "of_class": experts.of_class}
    return make[kind](width)


def _without_numba(kind: Kind, width: int, name: str) -> int | None:
    try:
        if not kept.usable():
            return None
        code = kept.read(name)
        if code is None and not {"torch", "numba"} & sys.modules.keys():
            code = _compile_apart(kind, width, name)
        return None if code is None else linked.link(code)
    except Exception as error:  # another version of llvmlite, or this machine, may raise anything
        log.info(
            "a scoring kernel is compiled by numba in this process, which takes about 90 MB more for it: it cannot be "
            "loaded by itself (%s: %s)",
            type(error).__name__,
            first_line(error),
        )
        return None


def _compile_apart(kind: Kind, width: int, name: str) -> kept.Code | None:
    """Compiles in another process and reads what that has kept; ``None`` if Python cannot be started here.

    Raises:
        RuntimeError, subprocess.SubprocessError, OSError: it could not be compiled there.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return None
    with tempfile.TemporaryDirectory(prefix="openood-line-") as scratch:
        places = [*kept.folders(), Path(scratch)]
        given = {"path": sys.path, "kind": kind, "width": width, "name": name, "places": [str(p) for p in places]}
        code = (
            "import json, sys\ngiven = json.load(sys.stdin)\nsys.path[:] = given.pop('path')\n"
            "from line_plugin.kernels.cpu.compiling import run_apart\nrun_apart(**given)"
        )
        done = subprocess.run(  # noqa: S603 - this Python and the lines above
            [sys.executable, "-c", code],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            env={**os.environ, "NUMBA_CACHE_DIR": scratch},  # numba has the object file only if it compiles
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise RuntimeError(f"the process that compiles ended with {done.returncode}: {reason}")
        return kept.read(name, places)


def run_apart(kind: Kind, width: int, name: str, places: list[str]) -> None:
    """Compiles and keeps one function, in the process that is started for that.

    Raises:
        SystemExit: the code could not be kept.
    """
    if not keep(name, _compile(kind, width), [Path(p) for p in places]):
        raise SystemExit("the compiled code could not be kept in any folder")
