"""Gives the memory of the start back to the system."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Ends the start of a process: what is loaded by now stays, and what was freed is given back to the system.

    Reading an artifact leaves the allocator with tens of megabytes that nothing uses. glibc keeps them as long as
    something lies above them, unless somebody asks for it (``malloc_trim``). Other C libraries are left alone.
    """
    gc.collect()
    gc.freeze()  # else every full collection walks through all modules again
    trim = getattr(ctypes.pythonapi, "malloc_trim", None)
    if trim is not None:
        trim.argtypes = [ctypes.c_size_t]
        trim(0)
