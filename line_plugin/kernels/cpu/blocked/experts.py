"""The panel's experts other than LINe, compiled.

Each row is summed in one order, so its bits are the same in every batch.

Products with many classes or directions go through the tiles of the head's kernel. Scores that need the predicted class
alone are a few dot products in float64.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numba import carray, literally

from line_plugin.kernels.cpu import kept
from line_plugin.kernels.cpu.blocked import layout
from line_plugin.kernels.cpu.blocked.address import at, compile_for_address
from line_plugin.kernels.cpu.blocked.classes import dense
from line_plugin.kernels.cpu.blocked.host import LANES
from line_plugin.kernels.cpu.blocked.masked import SHORTEST, log_sum_exp
from line_plugin.kernels.cpu.blocked.sums import dot, shared_rows
from line_plugin.kernels.cpu.blocked.tiles import ROWS, aligned, clip_row, jit


@jit
def _centre_row(x: Any, delta: Any, mean: Any, z: Any, r: int) -> Any:
    """Writes ``min(x, delta) - mean`` into row ``r`` of ``z`` (blocks, rows, block); returns its squared length."""
    block, d, squares = z.shape[2], x.shape[0], 0.0
    clip_row(x, delta, z, r)
    for b in range(z.shape[0]):
        n = min(block, d - b * block)
        line, shift = z[b, r], mean[b * block :]
        for j in range(n):
            line[j] -= shift[j]
        squares += dot(line.ctypes.data, line.ctypes.data, n)
    return squares


@jit
def _angle(
    vectors: int, share: int, block: int, x: Any, delta: Any, mean: Any, tiles: Any, bias: Any, out: Any, span: Any
) -> None:
    literally(vectors)
    first, last = span
    group = min(ROWS, last - first)
    z, logits = np.empty((-(-x.shape[1] // block), group, block), np.float32), aligned(group, len(bias))
    squares = np.empty(group, np.float64)
    for start in range(first, last, group):
        rows = min(group, last - start)
        for r in range(rows):
            squares[r] = _centre_row(x[start + r], delta, mean, z, r)
        dense(vectors, share, z, rows, tiles, logits)
        for r in range(rows):
            logits[r] += bias  # 0, or -inf for classes that only fill a tile
            out[start + r] = log_sum_exp(logits[r]) / max(math.sqrt(squares[r]), SHORTEST)


@jit
def _residual(
    vectors: int, share: int, block: int, x: Any, mean: Any, tiles: Any, inside: bool, out: Any, span: Any
) -> None:
    literally(vectors)
    first, last = span
    group, size = min(ROWS, last - first), tiles.shape[0] * tiles.shape[2]
    z, sums = np.empty((-(-x.shape[1] // block), group, block), np.float32), aligned(group, size)
    squares = np.empty(group, np.float64)
    for start in range(first, last, group):
        rows = min(group, last - start)
        for r in range(rows):
            squares[r] = _centre_row(x[start + r], np.float32(np.inf), mean, z, r)
        dense(vectors, share, z, rows, tiles, sums)
        for r in range(rows):
            along = dot(sums[r].ctypes.data, sums[r].ctypes.data, size)
            out[start + r] = math.sqrt(along if inside else max(squares[r] - along, 0.0))


@jit
def _of_class(x: Any, classes: Any, weight: Any, bias: Any, prototypes: Any, out: Any, span: Any) -> None:
    """Writes the largest logit and the prototype score into ``out`` (2, N); an empty array leaves its row out."""
    d = x.shape[1]
    for n in range(span[0], span[1]):
        c, row = classes[n], x[n].ctypes.data
        if weight.shape[0]:
            out[0, n] = dot(row, weight[c].ctypes.data, d) + bias[c]
        if prototypes.shape[0]:
            best = -np.inf
            for i in range(prototypes.shape[1]):
                best = max(best, dot(row, prototypes[c, i].ctypes.data, d))
            cosine = best / max(math.sqrt(dot(row, row, d)), SHORTEST)
            out[1, n] = -math.sqrt(max(2 - 2 * cosine, 0.0))


@functools.cache
def angle(width: int) -> Any:
    """Compiles the angle expert for tiles of ``width`` classes. ``calls.py`` writes what it reads."""
    vectors = width // LANES
    share, block = shared_rows(vectors), layout.block_length(width)
    source = int(kept.sources()[:15], 16)

    def run(address: Any) -> None:
        _ = source  # as in :mod:`.job`
        job = carray(address, 12)
        n, d, count, columns = job[2], job[3], job[4], job[5]
        x = carray(at(job[7], np.float32), (n, d))
        delta = np.int32(job[6]).view(np.float32)
        mean = carray(at(job[8], np.float32), d)
        tiles = carray(at(job[9], np.float32), (count, d, columns))
        bias = carray(at(job[10], np.float32), count * columns)
        out = carray(at(job[11], np.float64), n)
        _angle(vectors, share, block, x, delta, mean, tiles, bias, out, (job[0], job[1]))

    return compile_for_address(run)


@functools.cache
def residual(width: int) -> Any:
    """Compiles the residual for tiles of ``width`` directions. ``calls.py`` writes what it reads."""
    vectors = width // LANES
    share, block = shared_rows(vectors), layout.block_length(width)
    source = int(kept.sources()[:15], 16)

    def run(address: Any) -> None:
        _ = source
        job = carray(address, 11)
        n, d, count, columns = job[2], job[3], job[4], job[5]
        x = carray(at(job[7], np.float32), (n, d))
        mean = carray(at(job[8], np.float32), d)
        tiles = carray(at(job[9], np.float32), (count, d, columns))
        out = carray(at(job[10], np.float64), n)
        _residual(vectors, share, block, x, mean, tiles, job[6] != 0, out, (job[0], job[1]))

    return compile_for_address(run)


@functools.cache
def of_class(_width: int = 0) -> Any:
    """Compiles what needs the predicted class alone. ``calls.py`` writes what it reads."""
    source = int(kept.sources()[:15], 16)

    def run(address: Any) -> None:
        _ = source
        job = carray(address, 14)
        n, d, k, classes_of_prototypes, prototypes_each = job[2], job[3], job[4], job[5], job[6]
        x = carray(at(job[8], np.float32), (n, d))
        classes = carray(at(job[9], np.int64), n)
        weight = carray(at(job[10], np.float32), (k, d))
        bias = carray(at(job[11], np.float32), job[7])
        prototypes = carray(at(job[12], np.float32), (classes_of_prototypes, prototypes_each, d))
        out = carray(at(job[13], np.float64), (2, n))
        _of_class(x, classes, weight, bias, prototypes, out, (job[0], job[1]))

    return compile_for_address(run)
