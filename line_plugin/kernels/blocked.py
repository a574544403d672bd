"""The blocked kernel of the scoring rule for CPUs, in numba. Imported at the first score, never before.

Every logit ``g[n, k]`` is a chain of fused multiply-adds over the neurons, in an order that depends on the row alone:
vector lanes are classes, never neurons, and ``fma`` is written out, so no compiler decides where to round. A row
therefore has the same bits in every batch, at every place and on every thread.

What makes it fast: a tile of the transposed head (some neurons x some classes) stays in the first-level cache while a
group of rows passes over it, the logits of a tile stay in registers, and each row walks a list of only those neurons
that can count:

* ``z = 0``, or a floor that no weight of the neuron is above (masked neurons have +inf): left out;
* a floor below every weight of the neuron: multiplied without a comparison;
* any other: ``W > floor`` decides lane by lane.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


def _host() -> tuple[int, int, bool]:
    """Float32 lanes of a vector register, registers for sums, and whether there is a fused multiply-add."""
    has = llvmlite.binding.get_host_cpu_features()
    if "x86_64" not in llvmlite.binding.get_process_triple():
        return 4, 16, True
    return (16, 16, True) if has.get("avx512f") else (8, 8, bool(has.get("fma")))


LANES, _REGISTERS, SUPPORTED = _host()
ROWS = 64
"""Rows that share a tile while it is in the cache."""
_TILE_BYTES = 32 * 1024  # of a first-level data cache of 32 KiB or more

_F32, _I8, _I32, _I64 = ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_F32, LANES)


def _jit(function: Any) -> Any:
    """Compiled with its caller, and kept on disk with it."""
    return numba.njit(nogil=True)(function)


def _inline(function: Any) -> Any:
    return intrinsic(function)


def aligned(rows: int, columns: int) -> Any:
    """Zeros whose rows start on a cache line; ``columns`` is a multiple of 16."""
    raw = np.zeros(rows * columns + 16, np.float32)
    skip = (-raw.ctypes.data // 4) % 16
    return raw[skip : skip + rows * columns].reshape(rows, columns)


_aligned = _jit(aligned)


def pack(weight: Any) -> Any:
    """The head transposed into tiles, padded with zero classes.

    Args:
        weight: (K, D) float32.

    Returns:
        (tiles, D, width) float32: entry ``[t, j, i]`` is ``W[t * width + i, j]``; the width is a multiple of the lanes.
    """
    k, d = weight.shape
    vectors = -(-k // LANES)
    tiles = -(-vectors // _REGISTERS)
    width = -(-vectors // tiles) * LANES
    packed = aligned(tiles * d, width)
    padded = np.zeros((tiles * width, d), np.float32)
    padded[:k] = weight
    packed.reshape(tiles, d, width)[:] = padded.reshape(tiles, width, d).transpose(0, 2, 1)
    return packed.reshape(tiles, d, width)


def _constant(value: int) -> Any:
    return ir.Constant(_I64, value)


def _vector_at(builder: Any, base: Any, offset: Any) -> Any:
    return builder.bitcast(builder.gep(base, [offset]), _VECTOR.as_pointer())


def _spread(builder: Any, scalar: Any) -> Any:
    """The scalar in every lane."""
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))


def _walk(builder: Any, p: dict[str, Any], sums: list[list[Any]], begin: Any, end: Any, masked: bool) -> Any:
    """A loop over list entries ``begin <= i <= end - chains``; chain ``s`` of ``sums`` takes the entry ``i + s``.

    Returns:
        The first entry not taken, and the sums.
    """
    chains, vectors = len(sums), len(sums[0])
    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{LANES}f32"
    )
    before, head = builder.block, builder.append_basic_block("walk")
    body, after = builder.append_basic_block("entry"), builder.append_basic_block("walked")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(_I64)
    i.add_incoming(begin, before)
    phis = [[builder.phi(_VECTOR) for _ in chain] for chain in sums]
    for chain, start in zip(phis, sums, strict=True):
        for phi, value in zip(chain, start, strict=True):
            phi.add_incoming(value, before)
    beyond = builder.add(i, _constant(chains))
    builder.cbranch(builder.icmp_signed("<=", beyond, end), body, after)
    builder.position_at_end(body)
    for s, chain in enumerate(phis):
        j = builder.zext(builder.load(builder.gep(p["entries"], [builder.add(i, _constant(s))])), _I64)
        z = _spread(builder, builder.load(builder.gep(p["values"], [j])))
        floor = _spread(builder, builder.load(builder.gep(p["floors"], [j]))) if masked else None
        row = builder.mul(j, _constant(vectors * LANES))
        for v, phi in enumerate(chain):
            w = builder.load(_vector_at(builder, p["tile"], builder.add(row, _constant(v * LANES))), align=4)
            added = builder.call(fma, [w, z, phi])
            if masked:
                added = builder.select(builder.fcmp_ordered(">", w, floor), added, phi)
            phi.add_incoming(added, body)
    i.add_incoming(beyond, body)
    builder.branch(head)
    builder.position_at_end(after)
    return i, phis


@_inline
def _accumulate(
    typing: Any,
    masked: Any,
    vectors: Any,
    chains: Any,
    tile: Any,
    entries: Any,
    values: Any,
    floors: Any,
    count: Any,
    out: Any,
) -> Any:
    """``out[k] += sum_i values[j_i] W[j_i, k] [not masked or W[j_i, k] > floors[j_i]]``, ``j_i = entries[i]``.

    The first three arguments are literals; the others but ``count`` are addresses. ``tile`` is (neurons, vectors *
    LANES) float32, ``entries`` uint8, ``values`` and ``floors`` float32 by neuron, ``out`` (vectors * LANES) float32.
    Fewer than 8 vectors would wait for each other's result, so the list is dealt to ``chains`` partial sums.
    """
    if not all(isinstance(x, types.Literal) for x in (masked, vectors, chains)):
        return None

    def emit(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        names = ("tile", "entries", "values", "floors", "out")
        address = dict(zip(names, (*args[3:7], args[8]), strict=True))
        kinds = {name: _I8 if name == "entries" else _F32 for name in names}
        p = {name: builder.inttoptr(address[name], kinds[name].as_pointer()) for name in names}
        count, at = args[7], range(0, vectors.literal_value * LANES, LANES)
        zeros = [ir.Constant(_VECTOR, [0.0] * LANES) for _ in at]
        first = [builder.load(_vector_at(builder, p["out"], _constant(k)), align=4) for k in at]
        sums = [first] + [list(zeros) for _ in range(chains.literal_value - 1)]
        i, sums = _walk(builder, p, sums, _constant(0), count, masked.literal_value)
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [
                [builder.fadd(x, y) for x, y in zip(a, b, strict=True)]
                for a, b in zip(sums[:half], sums[half:], strict=True)
            ]
        if chains.literal_value > 1:
            _, sums = _walk(builder, p, sums, i, count, masked.literal_value)
        for value, k in zip(sums[0], at, strict=True):
            builder.store(value, _vector_at(builder, p["out"], _constant(k)), align=4)
        return context.get_dummy_value()

    return types.void(masked, vectors, chains, *[types.intp] * 6), emit


def list_neurons(floors: Any, low: Any, high: Any, width: int) -> tuple[Any, Any]:
    """Per predicted class, the neurons that can count, in the order in which they are added.

    Args:
        floors: (K, D); low, high: (D,), the extremes of ``W`` over classes; all float32.
        width: of a tile.

    Returns:
        ``entries`` (K, blocks, block) uint8, neurons counted from the start of their block, those first that need no
        comparison; ``ends`` (K, blocks, 2) uint16, where that first part ends and where the list does.
    """
    block = min(256, _TILE_BYTES // (4 * width))
    k, d = floors.shape
    blocks = -(-d // block)
    kind = np.full((k, blocks * block), 2, np.uint8)
    kind[:, :d] = np.where(floors < low, 0, np.where(floors < high, 1, 2))
    kind = kind.reshape(k, blocks, block)
    entries = np.argsort(kind, axis=2, kind="stable").astype(np.uint8)
    ends = np.stack([(kind == 0).sum(axis=2), (kind <= 1).sum(axis=2)], axis=2).astype(np.uint16)
    return entries, ends


@_jit
def _drop_zeros(z: Any, entries: Any, ends: Any, kept: Any, kept_ends: Any) -> None:
    """The lists of one row without the neurons whose ``z`` is 0, in the same order."""
    block = entries.shape[1]
    for b in range(entries.shape[0]):
        values = z[b * block : (b + 1) * block]
        free, end, n = ends[b, 0], ends[b, 1], np.uint64(0)
        for i in range(end):
            if i == free:
                kept_ends[b, 0] = n
            kept[b, n] = entries[b, i]
            n += np.uint64(values[entries[b, i]] != 0)
        if free == end:
            kept_ends[b, 0] = n
        kept_ends[b, 1] = n


@_jit
def _exp(x: Any) -> Any:
    """``exp`` for x <= 0 in plain float32 steps (Cody and Waite; the polynomial of Cephes): vectorised, and the same
    bits at every place of an array, which vector libraries do not promise. Off by 1e-7 of its value at most.
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


@_jit
def _log_sum_exp(logits: Any) -> Any:
    """Over a row whose length is a multiple of 4, by four maxima and sums side by side. Overwrites the row."""
    a = b = c = d = logits[0]
    for k in range(0, logits.shape[0], 4):
        a = logits[k] if logits[k] > a else a
        b = logits[k + 1] if logits[k + 1] > b else b
        c = logits[k + 2] if logits[k + 2] > c else c
        d = logits[k + 3] if logits[k + 3] > d else d
    best = max(a, b, c, d)
    for k in range(logits.shape[0]):
        logits[k] = _exp(logits[k] - best)
    s = t = u = v = 0.0
    for k in range(0, logits.shape[0], 4):
        s += logits[k]
        t += logits[k + 1]
        u += logits[k + 2]
        v += logits[k + 3]
    return best + math.log((s + t) + (u + v))


@functools.cache
def kernel(width: int) -> Any:
    """The compiled scorer of rows for tiles of ``width`` classes; compiled code is kept on disk where it can be.

    The result takes ``(z, holed, classes, packed, bias, floors, entries, ends, confidence, first, last)`` and fills
    ``confidence`` (N,) float32 of the rows ``first <= n < last``. ``z`` (N, D) float32 are clipped features, ``holed``
    (N,) bool tells which rows hold a zero, ``classes`` (N,) int64 are the predicted ones, ``packed`` is from
    :func:`pack`, ``bias`` is padded with -inf to whole tiles, ``floors`` (K, D) float32, the lists are from
    :func:`list_neurons`.
    """
    vectors = width // LANES
    chains = 1 << (max(1, 8 // vectors).bit_length() - 1)  # 8 independent sums keep two multipliers of 4 cycles busy

    def score(
        z: Any,
        holed: Any,
        classes: Any,
        packed: Any,
        bias: Any,
        floors: Any,
        entries: Any,
        ends: Any,
        confidence: Any,
        first: int,
        last: int,
    ) -> None:
        blocks, block = entries.shape[1:]
        tiles, d = packed.shape[:2]
        group = min(ROWS, last - first)
        logits = _aligned(group, tiles * width)
        kept = np.empty((group, blocks, block + 1), np.uint8)  # an entry is written before it is known to stay
        lists, own_ends = np.empty(group, np.int64), np.empty((group, blocks, 2), np.int64)
        for start in range(first, last, group):
            rows = min(group, last - start)
            for r in range(rows):
                c = classes[start + r]
                if holed[start + r]:
                    _drop_zeros(z[start + r], entries[c], ends[c], kept[r], own_ends[r])
                    lists[r] = kept[r].ctypes.data
                else:
                    own_ends[r] = ends[c]
                    lists[r] = entries[c].ctypes.data
            logits[:rows] = 0
            for t in range(tiles):
                for b in range(blocks):
                    tile = packed.ctypes.data + (t * d + b * block) * width * 4
                    for r in range(rows):
                        free, end = own_ends[r, b, 0], own_ends[r, b, 1]
                        n, c = start + r, classes[start + r]
                        out, at = logits.ctypes.data + (r * tiles + t) * width * 4, b * block * 4
                        values, floor = z.ctypes.data + n * d * 4 + at, floors.ctypes.data + c * d * 4 + at
                        entry = lists[r] + b * (block + holed[n])
                        _accumulate(False, vectors, chains, tile, entry, values, floor, free, out)
                        _accumulate(True, vectors, chains, tile, entry + free, values, floor, end - free, out)
            for r in range(rows):
                logits[r] += bias
                confidence[start + r] = _log_sum_exp(logits[r])

    try:
        return numba.njit(nogil=True, cache=True)(score)
    except RuntimeError:  # no folder to write the compiled code to
        return numba.njit(nogil=True)(score)
