"""Compiled functions that take the address of a block of numbers, and arrays behind the addresses in it."""

from __future__ import annotations

from typing import Any

import numba
from numba import types

from line_plugin.kernels.cpu.blocked.instructions import inline

SIGNATURE = types.void(types.CPointer(types.int64))


@inline
def at(typing: Any, address: Any, kind: Any) -> Any:
    """The address as a pointer to numbers of that dtype."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(kind.dtype)(types.int64, kind), emit


def compile_for_address(work: Any) -> Any:
    """Compiles a function that takes such an address; numba caches it on disk if a folder can be written."""
    try:
        return numba.cfunc(SIGNATURE, cache=True)(work)
    except RuntimeError:  # no folder to write the compiled code to
        return numba.cfunc(SIGNATURE)(work)
