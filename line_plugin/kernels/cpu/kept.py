"""Compiled kernels on disk, as object files that a process can use without numba.

numba, once it has loaded or compiled a kernel, takes 90 MB that it does not give back; the code itself is 150 KB. So
a process that compiles a kernel keeps its object file here, and the next process hands that to LLVM (:mod:`.linked`).

An object file is used only if everything that its bits come from is the same: the source of the kernels, numba,
llvmlite, Python, the CPU and numba's settings. It is
machine code, so it is only read from a file that belongs to this user or to root and that nobody else may write to.
Numba looks less closely at its own files in the same folder.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import platform
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

_SOURCES = Path(__file__).parent / "blocked"
_FIRST_LINE = b"openood-line kernel 1\n"
_MOST_BYTES = 4 << 20
_NO_MATTER = {"NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS", "NUMBA_CAPTURED_ERRORS"}
"""Settings of numba that do not change what it compiles."""


class Code(NamedTuple):
    """One compiled function.

    Attributes:
        symbol: the name of the function in the object file.
        needs: names that the object file does not define itself.
        data: the object file.
    """

    symbol: str
    needs: Sequence[str]
    data: bytes


def usable() -> bool:
    """Whether code can be kept on this system at all: Linux on 64 bits, whose object files :mod:`.linked` can read."""
    from line_plugin.kernels.cpu.blocked import host

    return sys.platform == "linux" and sys.maxsize > 2**32 and not host.SETTINGS_FILE.is_file()


def folders() -> list[Path]:
    """The folders of kept code, the first that can be written first: numba's own choice."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return [Path(given)]
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return [_SOURCES / "__pycache__", *([user / "openood-line"] if user.is_absolute() else [])]


def read(name: str, places: Sequence[Path] | None = None) -> Code | None:
    """The code that was kept under this name for this machine and these libraries; ``None`` if there is none.

    Args:
        name: of the kernel; places: folders, :func:`folders` if not given.
    """
    wanted = _file(name)
    for folder in folders() if places is None else places:
        try:
            found = _parse(_trusted_bytes(folder / wanted), name)
        except (OSError, ValueError, KeyError, TypeError):  # not there, somebody else's, cut short: compiled again
            continue
        return found
    return None


def write(name: str, code: Code, places: Sequence[Path] | None = None) -> bool:
    """Keep code in the first folder that can be written; whether there is one."""
    about = {
        "key": _key(name),
        "symbol": code.symbol,
        "needs": list(code.needs),
        "sha256": hashlib.sha256(code.data).hexdigest(),
    }
    content = _FIRST_LINE + json.dumps(about).encode() + b"\n" + code.data
    return any(_replace(folder, _file(name), content) for folder in (folders() if places is None else places))


def _replace(folder: Path, name: str, content: bytes) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), 0o644)  # whatever the umask is, nobody else may write to it
                file.write(content)
            Path(temporary).replace(folder / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError:
        return False
    return True


def _trusted_bytes(path: Path) -> bytes:
    """The content of a file that only this user, or root, can have written.

    Raises:
        OSError: it is not there; ValueError: somebody else can have written it, or it is too long.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        others_write = stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in {os.geteuid(), 0} or others_write:
            raise ValueError(f"{path} may have been written by somebody else")
        if status.st_size > _MOST_BYTES:
            raise ValueError(f"{path} has {status.st_size} bytes, expected {_MOST_BYTES} at most")
        return file.read()


def _parse(content: bytes, name: str) -> Code:
    head, _, data = content.removeprefix(_FIRST_LINE).partition(b"\n")
    about = json.loads(head)
    if not content.startswith(_FIRST_LINE) or about["key"] != _key(name):
        raise ValueError("the code of another release")
    if about["sha256"] != hashlib.sha256(data).hexdigest():
        raise ValueError("not the bytes that were written")
    return Code(about["symbol"], about["needs"], data)


def _file(name: str) -> str:
    return f"{name}-{_key(name)[:24]}.kernel"


def _key(name: str) -> str:
    """A digest of all that decides the bits of the code, and of the name."""
    return hashlib.sha256(json.dumps([name, _circumstances()]).encode()).hexdigest()


@functools.cache
def sources() -> str:
    """The digest of the kernels' source: of every file, as they inline one another."""
    digest = hashlib.sha256()
    for file in sorted(_SOURCES.glob("*.py")):
        digest.update(json.dumps([file.name, file.read_text(encoding="utf-8")]).encode())
    return digest.hexdigest()


@functools.cache
def _circumstances() -> list[Any]:
    import llvmlite
    import llvmlite.binding

    from line_plugin.kernels.cpu.blocked import host

    settings = sorted((k, v) for k, v in os.environ.items() if k.startswith("NUMBA_") and k not in _NO_MATTER)
    python = [sys.implementation.cache_tag, sysconfig.get_config_var("SOABI")]
    llvm = [llvmlite.__version__, list(llvmlite.binding.llvm_version_info)]
    return [sources(), _version_of_numba(), llvm, python, platform.machine(), list(host.target()), settings]


def _version_of_numba() -> str:
    """The version of the numba that would be imported; it is not imported."""
    spec = importlib.util.find_spec("numba")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("numba is not installed", name="numba")
    return (Path(spec.origin).parent / "_version.py").read_text(encoding="utf-8")
