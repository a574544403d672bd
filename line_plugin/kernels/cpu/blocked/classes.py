"""Predicts classes: approximate logits with a bound on their error first, then float64 for the classes that can win."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import literally

from line_plugin.kernels.cpu.blocked.host import LANES
from line_plugin.kernels.cpu.blocked.rows import clip, largest, total
from line_plugin.kernels.cpu.blocked.sums import accumulate_bytes, dot
from line_plugin.kernels.cpu.blocked.tiles import ROWS, add, aligned, jit, loose, unit

_DROP = 4  # a row's zeros are left out of its lists if they are more than a fourth of it


@jit
def _clip_and_measure(x: Any, delta: Any, z: Any, r: int, stats: Any) -> Any:
    """Clips as ``clip_row`` does; returns the row's largest magnitude, its sum of squares and its number of zeros."""
    block, d = z.shape[2], x.shape[0]
    stats[:] = 0
    for b in range(z.shape[0]):
        begin = b * block
        source, out = x.ctypes.data + 4 * begin, z[b, r].ctypes.data
        clip(True, source, delta, out, min(block, d - begin), stats.ctypes.data)
    most = largest(stats[0].ctypes.data, LANES)
    return most, np.float32(total(stats[1].ctypes.data, LANES)), total(stats[2].ctypes.data, LANES)


@loose
def _to_bytes(z: Any, r: int, scale: Any, q: Any) -> Any:
    """Writes row ``r`` of ``z`` in steps of ``scale``, plus 128, into ``q`` (rows, 4 * steps); returns |rest|^2."""
    rest, block = np.float32(0), z.shape[2]
    inverse = np.float32(1) / scale if scale > 1e-30 else np.float32(0)  # smaller: bytes 0, all is rest
    for b in range(z.shape[0]):
        line, steps = z[b, r], q[r, b * block : (b + 1) * block]
        for j in range(steps.shape[0]):
            step = np.rint(line[j] * inverse)
            steps[j] = np.uint8(np.int32(step) + np.int32(128))
            rest += (line[j] - step * scale) * (line[j] - step * scale)
    return rest


@jit
def _from_bytes(sums: Any, offset: Any, step: Any, scale: Any, logits: Any) -> None:
    for k in range(logits.shape[0]):
        logits[k] = np.float32(sums[k] - offset[k]) * (step * scale[k])


@jit
def _reach(logits: Any, bias: Any, size: Any, rest: Any, rounding: Any, norm: Any, lower: Any) -> Any:
    """Replaces a row of logits (without bias) by their upper bounds; returns the largest of their lower bounds.

    Args:
        logits, lower: (tiles * width,) float32; lower is scratch.
        size, rest: ``|s q|`` and ``|r|`` of the row; the other arguments describe the head
            (:class:`line_plugin.kernels.cpu.blocked.layout.Screen`).
    """
    for k in range(logits.shape[0]):
        value = logits[k] + bias[k]
        error = rounding[k] * size + norm[k] * rest + np.float32(1e-6) * abs(value)
        lower[k] = value - error
        logits[k] = value + error
    return largest(lower.ctypes.data, lower.shape[0])


@jit
def _decide(upper: Any, best: Any, z: Any, r: int, weight: Any, bias: Any, contenders: Any) -> int:
    """Finds the argmax among the classes that can reach ``best``, in float64; the lower class wins a tie.

    Args:
        upper: (tiles * width,) float32; if ``best`` is NaN, every class can reach it.
        z: (blocks, rows, block) float32, of which row ``r`` is read; weight: (K, D) float32; bias: padded.
        contenders: (K,) int64, scratch.
    """
    classes, d, count = weight.shape[0], weight.shape[1], 0
    for begin in range(0, classes, LANES):
        if not largest(upper.ctypes.data + 4 * begin, LANES) < best:
            for k in range(begin, min(begin + LANES, classes)):
                contenders[count] = k
                count += not upper[k] < best
    winner, top, block = contenders[0], -np.inf, z.shape[2]
    for i in range(count if count > 1 else 0):
        value = np.float64(bias[contenders[i]])
        for b in range(z.shape[0]):
            begin = b * block
            line = weight.ctypes.data + 4 * (contenders[i] * d + begin)
            value += dot(z[b, r].ctypes.data, line, min(block, d - begin))
        if value > top:
            winner, top = contenders[i], value
    return int(winner)


@jit
def dense(vectors: int, share: int, z: Any, rows: int, tiles: Any, logits: Any) -> None:
    """Computes the logits of ``rows`` rows over every neuron."""
    literally(vectors)
    (count, d, width), block = tiles.shape, z.shape[2]
    entries = np.arange(block).astype(np.uint8)
    logits[:rows] = 0
    for t in range(count):
        for b in range(z.shape[0]):
            tile, n, r = tiles.ctypes.data + (t * d + b * block) * width * 4, min(block, d - b * block), 0
            while r < rows:
                size = unit(rows - r, share)
                values, out = z[b, r:].ctypes.data, logits.ctypes.data + (r * count + t) * width * 4
                add(vectors, block, size, tile, entries.ctypes.data, n, n, values, 0, out, count * width * 4)
                r += size


@jit
def _dense_bytes(vectors: int, block: int, q: Any, rows: int, packed: Any, sums: Any) -> None:
    """Computes the same sums from bytes."""
    literally(vectors)
    count, steps, width = packed.shape[:3]
    line = q.shape[1]
    sums[:rows] = 0
    for t in range(count):
        for s in range(0, steps, block):
            tile, n = packed.ctypes.data + (t * steps + s) * width * 4, min(block, steps - s)
            for r in range(0, rows, 2):
                values, out = q.ctypes.data + r * line + 4 * s, sums.ctypes.data + (r * count + t) * width * 4
                if rows - r > 1:
                    accumulate_bytes(2, vectors, tile, n, values, line, out, count * width * 4)
                else:
                    accumulate_bytes(1, vectors, tile, n, values, line, out, count * width * 4)


@jit
def _norm(squares: Any, most: Any, d: int) -> Any:
    """An upper bound on the root of a sum of ``d`` squares; if the squares underflow, from the largest magnitude."""
    return np.float32(1.0001 * (math.sqrt(squares) if most > 1e-15 else most * math.sqrt(d)))


@jit
def predict(
    vectors: int,
    share: int,
    block: int,
    drops: bool,
    x: Any,
    delta: Any,
    head: Any,
    screen: Any,
    keys: Any,
    first: int,
    last: int,
) -> None:
    """Fills ``keys`` (see :func:`line_plugin.kernels.cpu.blocked.halves`).

    ``drops`` is true if the order of a row's sums stays the same when zeros are left out of a list.
    """
    literally(vectors)
    weight, tiles, bias = head[:3]
    packed, scale, offset, rounding, norm = screen
    d, classes, in_bytes = x.shape[1], len(bias), packed.shape[1] > 0
    group = min(ROWS, last - first)
    z = np.empty((-(-d // block), group, block), np.float32)
    logits, lower = aligned(group, classes), np.empty(classes, np.float32)
    contenders, stats = np.empty(weight.shape[0] + 1, np.int64), np.empty((3, LANES), np.float32)
    sums, q = np.empty((group, classes if in_bytes else 0), np.int32), np.empty((group, 4 * packed.shape[1]), np.uint8)
    step, size, rest = np.zeros(group, np.float32), np.empty(group, np.float32), np.empty(group, np.float32)
    for start in range(first, last, group):
        rows = min(group, last - start)
        for r in range(rows):
            most, squares, zeros = _clip_and_measure(x[start + r], delta, z, r, stats)
            keys[start + r] = drops and zeros * _DROP > d
            size[r] = _norm(squares, most, d)
            rest[r] = size[r] * (d + 8) * np.float32(2.0**-24)  # the rounding of a chain of float32 steps
            if in_bytes:
                step[r] = most / np.float32(127)
                rest[r] += _norm(_to_bytes(z, r, step[r], q), most, d)
                size[r] += rest[r]
        if in_bytes:
            _dense_bytes(vectors, block, q, rows, packed, sums)
        else:
            dense(vectors, share, z, rows, tiles, logits)
        for r in range(rows):
            if in_bytes:
                _from_bytes(sums[r], offset, step[r], scale, logits[r])
            best = _reach(logits[r], bias, size[r], rest[r], rounding, norm, lower)
            best = best if size[r] < 1e18 else np.float32(np.nan)
            keys[start + r] += 2 * _decide(logits[r], best, z, r, weight, bias, contenders)
