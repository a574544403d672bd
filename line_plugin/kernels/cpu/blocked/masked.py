"""Computes the masked logits and their log-sum-exp, over rows sorted by predicted class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import literally

from line_plugin.kernels.cpu.blocked.rows import largest, total
from line_plugin.kernels.cpu.blocked.sums import dot
from line_plugin.kernels.cpu.blocked.tiles import ROWS, add, aligned, clip_row, jit, unit

SHORTEST = 1e-12
"""The value of :mod:`line_plugin.math.experts.angle`, named here again so that numba caches it with this file's code.
"""


@jit
def _drop_zeros(z: Any, r: int, entries: Any, ends: Any, kept: Any, kept_ends: Any) -> None:
    """Copies the lists of row ``r`` without the neurons whose ``z`` is 0, in the same order."""
    for b in range(entries.shape[0]):
        values = z[b, r]
        free, end, n = ends[b, 0], ends[b, 1], np.uint64(0)
        for i in range(end):
            if i == free:
                kept_ends[b, 0] = n
            kept[b, n] = entries[b, i]
            n += np.uint64(values[entries[b, i]] != 0)
        if free == end:
            kept_ends[b, 0] = n
        kept_ends[b, 1] = n


@jit
def _units(keys: Any, order: Any, start: int, rows: int, share: int, sizes: Any) -> int:
    """Cuts ``rows`` sorted rows into units that share a list, fills in their ``sizes`` and returns how many there are.

    Rows with the same even key share a list. An odd key marks a row that has a list of its own.
    """
    units, r = 0, 0
    while r < rows:
        key, same = keys[order[start + r]], 1
        while same < share and r + same < rows and keys[order[start + r + same]] == key and key % 2 == 0:
            same += 1
        sizes[units] = unit(same, share)
        r += sizes[units]
        units += 1
    return units


@jit
def _exp(x: Any) -> Any:
    """``exp`` for x <= 0 in plain float32 steps (Cody and Waite; the polynomial of Cephes).

    It is vectorised and gives the same bits at every place of an array, which vector libraries do not promise. Its
    relative error is 1e-7 at most.
    """
    x = x if x > np.float32(-87) else np.float32(-87)
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = x - n * np.float32(0.693359375) - n * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * r * r + r + np.float32(1)) * power


@jit
def log_sum_exp(logits: Any) -> Any:
    """Log-sum-exp of a row whose length is a multiple of the lanes. Overwrites the row."""
    best = largest(logits.ctypes.data, logits.shape[0])
    for k in range(logits.shape[0]):
        logits[k] = _exp(logits[k] - best)
    return best + math.log(total(logits.ctypes.data, logits.shape[0]))


@jit
def _add_left_out(vectors: int, z: Any, head: Any, classes: Any, sizes: Any, units: int, logits: Any) -> None:
    """Adds to masked logits the products of the masked neurons, which makes them the logits of the whole head.

    Args:
        z: (blocks, rows, block), rows in units that share a class; classes, sizes: one of each for every unit.
    """
    literally(vectors)
    _, tiles, _, _, entries, ends = head
    (count, d, width), block = tiles.shape, z.shape[2]
    step = count * width * 4
    for t in range(count):
        for b in range(z.shape[0]):
            tile = tiles.ctypes.data + (t * d + b * block) * width * 4
            values, out = z[b].ctypes.data, logits.ctypes.data + t * width * 4
            for u in range(units):
                end = np.int64(ends[classes[u], b, 1])
                entry, rest = entries[classes[u], b].ctypes.data + end, min(block, d - b * block) - end
                add(vectors, block, sizes[u], tile, entry, rest, rest, values, 0, out, step)
                values += sizes[u] * block * 4
                out += sizes[u] * step


@jit
def _angles(x: Any, delta: Any, which: Any, parts: Any, logits: Any, line: Any, angle: Any) -> None:
    """Computes the angle of the rows ``which`` from the whole head's logits, without bias; overwrites those logits.

    Args:
        parts: see :func:`mask`; line: scratch, (1, 1, D) float32 and some more.
    """
    shift, mean, mean_weight = parts
    d, offset = x.shape[1], line[0, 0]
    for r in range(len(which)):
        clip_row(x[which[r]], delta, line, 0)
        for j in range(d):
            offset[j] -= mean[j]
        length = math.sqrt(dot(offset.ctypes.data, offset.ctypes.data, d))
        along = dot(offset.ctypes.data, mean_weight.ctypes.data, d)
        logits[r] += shift
        angle[which[r]] = (log_sum_exp(logits[r]) - along) / max(length, SHORTEST)


@jit
def mask(
    vectors: int,
    share: int,
    x: Any,
    delta: Any,
    head: Any,
    keys: Any,
    confidence: Any,
    wants: bool,
    parts: Any,
    angle: Any,
    first: int,
    last: int,
) -> None:
    """Fills ``confidence`` from ``keys`` (:func:`line_plugin.kernels.cpu.blocked.halves`), and ``angle`` if wanted.

    The logits over all neurons are the masked logits plus the products of the masked neurons. If the mask leaves out
    whole neurons alone, those are a tenth of all neurons, so this is cheaper than computing all logits once more.

    Args:
        wants: whether to fill ``angle`` (N,) float64; the head's lists must then need no comparisons.
        parts: shift (tiles * width,), mean (D,), mean_weight (D,), float32, see
            :class:`line_plugin.kernels.cpu.angle.AngleParts`.
    """
    literally(vectors)
    _, tiles, bias, floors, entries, ends = head
    count, d, width = tiles.shape
    blocks, block = entries.shape[1:]
    group = min(ROWS, last - first)
    order = first + np.argsort(keys[first:last], kind="mergesort")
    z, own_floors = np.empty((blocks, group, block), np.float32), np.empty((blocks, group, block), np.float32)
    logits = aligned(group, len(bias))
    kept = np.empty((group, blocks, block + 1), np.uint8)  # an entry is written before it is known to stay
    lists, lines = np.empty(group, np.int64), np.empty(group, np.int64)
    own_ends, sizes = np.empty((group, blocks, 2), np.int64), np.empty(group, np.int64)
    classes = np.empty(group, np.int64)
    every = aligned(group if wants else 0, len(bias))
    line = np.empty((1, 1, d + 64 if wants else 0), np.float32)
    for start in range(0, last - first, group):
        rows, r = min(group, last - first - start), 0
        units = _units(keys, order, start, rows, share, sizes)
        for u in range(units):
            n = order[start + r]
            c = keys[n] // 2
            classes[u] = c
            for more in range(sizes[u]):
                clip_row(x[order[start + r + more]], delta, z, r + more)
            clip_row(floors[c], np.float32(np.inf), own_floors, r)
            if keys[n] % 2:
                _drop_zeros(z, r, entries[c], ends[c], kept[u], own_ends[u])
                lists[u], lines[u] = kept[u].ctypes.data, block + 1
            else:
                own_ends[u] = ends[c]
                lists[u], lines[u] = entries[c].ctypes.data, block
            r += sizes[u]
        logits[:rows] = 0
        step = count * width * 4
        for t in range(count):
            for b in range(blocks):
                tile = tiles.ctypes.data + (t * d + b * block) * width * 4
                values, floor = z[b].ctypes.data, own_floors[b].ctypes.data
                out = logits.ctypes.data + t * width * 4
                for u in range(units):
                    entry, free, end = lists[u] + b * lines[u], own_ends[u, b, 0], own_ends[u, b, 1]
                    add(vectors, block, sizes[u], tile, entry, free, end, values, floor, out, step)
                    values, floor = values + sizes[u] * block * 4, floor + sizes[u] * block * 4
                    out += sizes[u] * step
        if wants:
            every[:rows] = logits[:rows]
            _add_left_out(vectors, z, head, classes, sizes, units, every)
            _angles(x, delta, order[start : start + rows], parts, every, line, angle)
        for r in range(rows):
            logits[r] += bias
            confidence[order[start + r]] = log_sum_exp(logits[r])
