"""From an object file to the address of its function, by LLVM's own loader and without numba.

numba loads what it has cached in the same way. The code calls a few functions of numba's C library (memory for arrays,
the text of an error). That library lies in two extension modules, which can be loaded without the package around them.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from line_plugin.kernels.cpu.kept import Code

_LIBRARIES = (("numba._helperlib", "numba_"), ("numba.core.runtime._nrt_python", "NRT_"))
"""Extension modules of numba and what its compiler puts before the names of their functions."""

_engines: list[Any] = []  # the code lives as long as they do
_lock = threading.Lock()


def link(code: Code) -> int:
    """The address of the function; it stays valid until the process ends.

    Raises:
        RuntimeError: something that the code calls is not there, or LLVM does not take the file.
    """
    import llvmlite.binding as llvm

    with _lock:
        _check(code)
        if not _engines:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
        target = llvm.Target.from_triple(llvm.get_process_triple())
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target.create_target_machine())
        engine.add_object_file(llvm.ObjectFileRef.from_data(code.data))
        engine.finalize_object()
        address = int(engine.get_function_address(code.symbol))
        if not address:
            raise RuntimeError(f"the object file has no function {code.symbol}")
        _engines.append(engine)
        return address


def _check(code: Code) -> None:
    """Make every name that the code needs known to LLVM, which would end the process if one were missing.

    Raises:
        RuntimeError: one is missing.
    """
    import llvmlite.binding as llvm

    known = _names_of_numba()
    for name in code.needs:
        address = known.get(name) or _address_in_process(name)
        if not address:
            raise RuntimeError(f"the object file needs {name}, which this process does not have")
        llvm.add_symbol(name, address)


def _names_of_numba() -> dict[str, int]:
    """Addresses in numba's library by the names that its compiler calls them by; functions of C keep their names."""
    found: dict[str, int] = {}
    for module, prefix in _LIBRARIES:
        helpers: dict[str, int] = _extension(module).c_helpers
        found |= helpers | {prefix + name: address for name, address in helpers.items()}
    return found


def _address_in_process(name: str) -> int:
    """The address of a function or variable of Python or of the C library; 0 if there is none."""
    try:
        return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
    except AttributeError:
        return 0


def _extension(name: str) -> Any:
    """An extension module of numba, without importing numba; the same one that numba would import."""
    if name in sys.modules:
        return sys.modules[name]
    package = importlib.util.find_spec("numba")
    folders = package.submodule_search_locations if package is not None else None
    if not folders:
        raise RuntimeError("numba is not installed")
    *parents, last = name.split(".")[1:]
    folder = Path(folders[0]).joinpath(*parents)
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = folder / (last + suffix)
        if path.is_file():
            loader = importlib.machinery.ExtensionFileLoader(name, str(path))
            spec = importlib.util.spec_from_file_location(name, path, loader=loader)
            if spec is None:
                break
            module = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
            sys.modules.pop(name, None)  # numba, if it comes later, finds its module by itself
            return module
    raise RuntimeError(f"numba has no {name}")


def undefined(data: bytes) -> list[str]:
    """The names that an ELF object file of 64 bits uses and does not define.

    Raises:
        ValueError, struct.error: the data is not such a file.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not an ELF object file of 64 bits, lowest byte first")
    return sorted({name for section, name in _symbols(data) if section == 0 and name})


def _symbols(data: bytes) -> Iterator[tuple[int, str]]:
    """The section of each symbol, 0 if it is defined elsewhere, and its name."""
    offset, size, count = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
    for _, kind, _, _, start, length, link_to, _, _, each in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        names = sections[link_to][4]
        for at in range(start, start + length, each):
            name, _, _, section = struct.unpack_from("<IBBH", data, at)
            end = data.index(b"\0", names + name)
            yield section, data[names + name : end].decode()
