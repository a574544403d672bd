"""Sums over neurons for tiles of classes. Vector lanes are classes, never neurons.

Every product is written out as a fused multiply-add, so the compiler has no choice about rounding. The bits of a sum
over neurons follow from its list, whichever rows share the loop.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from line_plugin.kernels.cpu.blocked.host import BYTES, LANES, REGISTERS
from line_plugin.kernels.cpu.blocked.instructions import (
    F32,
    F64,
    FLOATS,
    I8,
    I32,
    I64,
    INTS,
    constant,
    function,
    inline,
    literals,
    load,
    loop,
    spread,
    store,
)

ALL = 0
"""Given as a number of rows, this means as many as the registers allow (:func:`shared_rows`)."""


def chains(vectors: int) -> int:
    """How many partial sums a row has if its tile is ``vectors`` wide: with fewer than 4 sums, additions wait."""
    return 1 << (max(1, 4 // vectors).bit_length() - 1)


def shared_rows(vectors: int) -> int:
    """How many rows can share the loads and the comparisons of a tile."""
    return max(2, min(4, REGISTERS // (vectors * chains(vectors))))


def _rows(builder: Any, address: Any, to_next: Any, rows: int) -> list[Any]:
    return [builder.add(address, builder.mul(to_next, constant(r))) for r in range(rows)]


def _places(builder: Any, out: Any, to_next: Any, rows: int, vectors: int) -> list[Any]:
    """The addresses of the vectors of each row."""
    lines = _rows(builder, out, to_next, rows)
    return [builder.add(line, constant(4 * v * LANES)) for line in lines for v in range(vectors)]


def _multiply(builder: Any, line: Any, z: list[Any], floor: Any, sums: list[Any]) -> list[Any]:
    """Adds ``z[r] w[v]`` to ``sums[r, v]``, ``w`` at ``line``, in lanes with ``w > floor`` (all without a floor)."""
    fma = function(builder, f"llvm.fma.v{LANES}f32", FLOATS, FLOATS, FLOATS, FLOATS)
    added, vectors = list(sums), len(sums) // len(z)
    for v in range(vectors):  # one vector at a time, since the sums leave few registers
        w = load(builder, FLOATS, builder.add(line, constant(4 * v * LANES)))
        counts = builder.fcmp_ordered(">", w, floor) if floor is not None else None
        for r, value in enumerate(z):
            old = sums[r * vectors + v]
            new = builder.call(fma, [w, value, old])
            added[r * vectors + v] = builder.select(counts, new, old) if counts else new
    return added


@inline
def accumulate(
    typing: Any,
    masked: Any,
    rows: Any,
    vectors: Any,
    tile: Any,
    entries: Any,
    count: Any,
    values: Any,
    next_values: Any,
    floors: Any,
    out: Any,
    next_out: Any,
) -> Any:
    """``out[r, k] += sum_i values[r, j_i] W[j_i, k] [not masked or W[j_i, k] > floors[j_i]]``, ``j_i = entries[i]``.

    The first three arguments are literals. ``tile`` (neurons, vectors * LANES) float32, ``entries`` (count,) uint8,
    ``values`` float32 by neuron, ``floors`` float32 by neuron and ``out`` (vectors * LANES,) float32 are addresses;
    ``next_values`` and ``next_out`` are the bytes from one row to the next. Rows share the loads and the comparisons.
    Each row distributes the list over :func:`chains` partial sums.
    """
    if not literals(masked, rows, vectors):
        return None
    compare, v_n = masked.literal_value, vectors.literal_value
    r_n, s_n = rows.literal_value or shared_rows(v_n), chains(v_n)

    def fold(builder: Any, sums: list[Any]) -> list[Any]:
        while len(sums) > r_n * v_n:
            half = len(sums) // 2
            sums = [builder.fadd(x, y) for x, y in zip(sums[:half], sums[half:], strict=True)]
        return sums

    def emit(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        tile, entries, count, values, next_values, floors, out, next_out = args[3:]
        of_row = _rows(builder, values, next_values, r_n)

        def add(i: Any, sums: list[Any]) -> list[Any]:
            j = builder.zext(load(builder, I8, builder.add(entries, i)), I64)
            at = builder.shl(j, constant(2))
            z = [spread(builder, load(builder, F32, builder.add(row, at))) for row in of_row]
            floor = spread(builder, load(builder, F32, builder.add(floors, at))) if compare else None
            line = builder.add(tile, builder.mul(j, constant(4 * v_n * LANES)))
            return _multiply(builder, line, z, floor, sums)

        def deal(i: Any, sums: list[Any]) -> list[Any]:
            each = len(sums) // s_n
            dealt: list[Any] = []
            for s in range(s_n):
                dealt += add(builder.add(i, constant(s)), sums[s * each : (s + 1) * each])
            return dealt

        places = _places(builder, out, next_out, r_n, v_n)
        sums = [load(builder, FLOATS, place) for place in places]
        sums += [ir.Constant(FLOATS, None)] * (len(places) * (s_n - 1))
        i, sums = loop(builder, constant(0), count, s_n, sums, deal)
        sums = fold(builder, sums)
        if s_n > 1:
            _, sums = loop(builder, i, count, 1, sums, add)
        for value, place in zip(sums, places, strict=True):
            store(builder, value, place)
        return context.get_dummy_value()

    return types.void(masked, rows, vectors, *[types.intp] * 8), emit


@inline
def accumulate_bytes(
    typing: Any,
    rows: Any,
    vectors: Any,
    tile: Any,
    count: Any,
    values: Any,
    next_values: Any,
    out: Any,
    next_out: Any,
) -> Any:
    """``out[r, k] += sum_j values[r, j] W[j, k]`` over ``4 * count`` neurons, exactly, in int32.

    ``rows`` and ``vectors`` are literals. ``tile`` (count, vectors * LANES, 4) int8, ``values`` (4 * count,) uint8 and
    ``out`` (vectors * LANES,) int32 are addresses. Nothing is done on a CPU without :data:`BYTES`.
    """
    if not literals(rows, vectors):
        return None
    r_n, v_n = rows.literal_value, vectors.literal_value

    def emit(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if not BYTES:
            return context.get_dummy_value()
        tile, count, values, next_values, out, next_out = args[2:]
        dot = function(builder, f"llvm.x86.avx512.vpdpbusd.{32 * LANES}", INTS, INTS, INTS, INTS)
        of_row = _rows(builder, values, next_values, r_n)

        def add(i: Any, sums: list[Any]) -> list[Any]:
            at = builder.shl(i, constant(2))
            z = [spread(builder, load(builder, I32, builder.add(row, at))) for row in of_row]
            line = builder.add(tile, builder.mul(i, constant(4 * v_n * LANES)))
            w = [load(builder, INTS, builder.add(line, constant(4 * v * LANES))) for v in range(v_n)]
            return [builder.call(dot, [sums[r * v_n + v], z[r], w[v]]) for r in range(r_n) for v in range(v_n)]

        places = _places(builder, out, next_out, r_n, v_n)
        _, sums = loop(builder, constant(0), count, 1, [load(builder, INTS, place) for place in places], add)
        for value, place in zip(sums, places, strict=True):
            store(builder, value, place)
        return context.get_dummy_value()

    return types.void(rows, vectors, *[types.intp] * 6), emit


@inline
def dot(typing: Any, a: Any, b: Any, count: Any) -> Any:
    """``sum_j a[j] b[j]`` of ``count`` float32 at two addresses: exact products, float64 sums, one order."""
    wide, many = ir.VectorType(F64, 8), 4

    def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        a, b, count = args
        narrow = ir.VectorType(F32, 8)

        def product(i: Any, kind: Any, result: Any) -> Any:
            at = builder.shl(i, constant(2))
            x, y = (builder.fpext(load(builder, kind, builder.add(base, at)), result) for base in (a, b))
            return builder.fmul(x, y)

        def add(i: Any, sums: list[Any]) -> list[Any]:
            steps = [product(builder.add(i, constant(8 * s)), narrow, wide) for s in range(many)]
            return [builder.fadd(x, y) for x, y in zip(sums, steps, strict=True)]

        i, sums = loop(builder, constant(0), count, 8 * many, [ir.Constant(wide, None)] * many, add)
        total = builder.fadd(builder.fadd(sums[0], sums[1]), builder.fadd(sums[2], sums[3]))
        lanes = [builder.extract_element(total, ir.Constant(I32, lane)) for lane in range(8)]
        while len(lanes) > 1:
            lanes = [builder.fadd(x, y) for x, y in zip(lanes[::2], lanes[1::2], strict=True)]
        _, rest = loop(builder, i, count, 1, lanes, lambda i, sums: [builder.fadd(sums[0], product(i, F32, F64))])
        return rest[0]

    return types.float64(types.intp, types.intp, types.intp), emit
