"""Compiles the function that threads call with the address of a batch (:mod:`.places`).

A call through numba's own dispatcher unpacks twelve arrays in Python and takes 10 us. A call with an address takes less
than 1 us.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types

from line_plugin.kernels.cpu import kept
from line_plugin.kernels.cpu.blocked import classes, layout, masked
from line_plugin.kernels.cpu.blocked.address import at, compile_for_address
from line_plugin.kernels.cpu.blocked.host import LANES
from line_plugin.kernels.cpu.blocked.instructions import I64, inline
from line_plugin.kernels.cpu.blocked.places import (
    ANGLE,
    CLIP,
    CONFIDENCE,
    FEATURES,
    HEAD,
    KEYS,
    LENGTH,
    MEAN,
    MEAN_WEIGHT,
    ROWS,
    SHIFT,
    SIZES,
    SPANS,
)
from line_plugin.kernels.cpu.blocked.sums import chains, shared_rows


@inline
def _claim(typing: Any, counter: Any) -> Any:
    """Returns the number at the pointer and adds one to it, atomically, so that each thread gets another number."""

    def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", args[0], ir.Constant(I64, 1), "monotonic")

    return types.int64(types.CPointer(types.int64)), emit


@functools.cache
def compiled(width: int) -> Any:
    """Compiles the function that scores jobs, for tiles of ``width`` classes; numba caches it on disk.

    Each call claims spans of rows until none is left, and fills in the classes and confidences of those rows.
    """
    vectors = width // LANES
    share, block = shared_rows(vectors), layout.block_length(width)
    drops = chains(vectors) == 1  # with more chains, leaving an entry out would move the others to other partial sums
    source = int(kept.sources()[:15], 16)

    def work(address: Any) -> None:
        _ = source  # part of the key of numba's cache, which would not see that a file which this one inlines changed
        job = carray(address, LENGTH)
        spans, n = job[SPANS], job[ROWS]
        sizes, places = job[HEAD:], job[HEAD + SIZES :]
        k, columns, count, d, blocks, steps = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
        padded = count * columns
        x = carray(at(job[FEATURES], np.float32), (n, d))
        delta = np.int32(job[CLIP]).view(np.float32)
        keys = carray(at(job[KEYS], np.int64), n)
        confidence = carray(at(job[CONFIDENCE], np.float32), n)
        head = (
            carray(at(places[0], np.float32), (k, d)),
            carray(at(places[1], np.float32), (count, d, columns)),
            carray(at(places[2], np.float32), padded),
            carray(at(places[3], np.float32), (k, d)),
            carray(at(places[4], np.uint8), (k, blocks, block)),
            carray(at(places[5], np.uint16), (k, blocks, 2)),
        )
        screen = (
            carray(at(places[6], np.int8), (count, steps, columns, 4)),
            carray(at(places[7], np.float32), padded),
            carray(at(places[8], np.int32), padded),
            carray(at(places[9], np.float32), padded),
            carray(at(places[10], np.float32), padded),
        )
        wants, out = job[ANGLE] != 0, n if job[ANGLE] != 0 else 0
        parts = (
            carray(at(job[SHIFT], np.float32), padded),
            carray(at(job[MEAN], np.float32), d),
            carray(at(job[MEAN_WEIGHT], np.float32), d),
        )
        angle = carray(at(job[ANGLE], np.float64), out)
        while True:
            i = _claim(address)
            if i >= spans:
                return
            first, last = n * i // spans, n * (i + 1) // spans
            classes.predict(vectors, share, block, drops, x, delta, head, screen, keys, first, last)
            masked.mask(vectors, share, x, delta, head, keys, confidence, wants, parts, angle, first, last)
            for row in range(first, last):
                keys[row] >>= 1

    return compile_for_address(work)
