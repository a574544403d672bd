"""Shared by both halves of the kernel: adds a list of neurons to a few rows, and lays rows out block by block."""

from __future__ import annotations

from typing import Any

import numba
from numba import literally

from line_plugin.kernels.cpu.blocked import layout
from line_plugin.kernels.cpu.blocked.rows import clip
from line_plugin.kernels.cpu.blocked.sums import ALL, accumulate

ROWS = 64
"""How many rows share a tile while it is in the cache."""


def jit(function: Any) -> Any:
    """Marks a function that is compiled with its caller and cached on disk with it."""
    return numba.njit(nogil=True)(function)


def cached(function: Any) -> Any:
    """Marks a function that Python calls; its compiled code is cached on disk if a folder can be written."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder to write the compiled code to
        return numba.njit(nogil=True)(function)


def loose(function: Any) -> Any:
    """As :func:`cached`, for functions that only bound an error, so that their sums may be taken in any order."""
    return numba.njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})(function)


aligned = jit(layout.aligned)


@jit
def add(
    vectors: int,
    block: int,
    size: int,
    tile: int,
    entry: int,
    free: int,
    end: int,
    values: int,
    floors: int,
    out: int,
    step: int,
) -> None:
    """Adds a list of neurons to ``size`` rows, the first ``free`` of its entries without a comparison.

    ``vectors`` is a literal, ``size`` comes from :func:`unit`, and ``step`` is the bytes from one row of ``out`` to the
    next. The others are addresses, as :func:`line_plugin.kernels.cpu.blocked.sums.accumulate` takes them.
    """
    literally(vectors)
    line, masked = 4 * block, entry + free
    if size > 2:
        accumulate(False, ALL, vectors, tile, entry, free, values, line, floors, out, step)
        accumulate(True, ALL, vectors, tile, masked, end - free, values, line, floors, out, step)
    elif size == 2:
        accumulate(False, 2, vectors, tile, entry, free, values, line, floors, out, step)
        accumulate(True, 2, vectors, tile, masked, end - free, values, line, floors, out, step)
    else:
        accumulate(False, 1, vectors, tile, entry, free, values, line, floors, out, step)
        accumulate(True, 1, vectors, tile, masked, end - free, values, line, floors, out, step)


@jit
def unit(rows: int, share: int) -> int:
    """How many of ``rows`` rows to take at once: a number for which :func:`add` has a loop."""
    return share if rows >= share else min(rows, 2)


@jit
def clip_row(x: Any, delta: Any, z: Any, r: int) -> None:
    """Writes ``x`` (D,), clipped, into row ``r`` of ``z`` (blocks, rows, block)."""
    block, d = z.shape[2], x.shape[0]
    for b in range(z.shape[0]):
        begin = b * block
        clip(False, x.ctypes.data + 4 * begin, delta, z[b, r].ctypes.data, min(block, d - begin), 0)
