"""Compiled operations on one row: clipping, its largest value, its float64 total."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from line_plugin.kernels.cpu.blocked.host import LANES
from line_plugin.kernels.cpu.blocked.instructions import (
    F64,
    FLOATS,
    I32,
    I64,
    constant,
    function,
    inline,
    literals,
    load,
    loop,
    spread,
    store,
)


@inline
def clip(typing: Any, measured: Any, source: Any, limit: Any, out: Any, count: Any, stats: Any) -> Any:
    """Writes ``out[j] = min(source[j], limit)`` for ``count`` float32, in whole vectors: it may write past ``count``.

    If ``measured`` (a literal) is true, ``stats`` (3, LANES) float32 gathers the largest magnitude, the sum of squares
    and the number of zeros, lane by lane. ``source``, ``out`` and ``stats`` are addresses.
    """
    if not literals(measured):
        return None

    def emit(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        source, limit, out, count, stats = args[1:]
        masked = function(
            builder,
            f"llvm.masked.load.v{LANES}f32.p0",
            FLOATS,
            FLOATS.as_pointer(),
            I32,
            ir.VectorType(ir.IntType(1), LANES),
            FLOATS,
        )
        size = function(builder, f"llvm.fabs.v{LANES}f32", FLOATS, FLOATS)
        zero, one = ir.Constant(FLOATS, None), ir.Constant(FLOATS, [1.0] * LANES)
        limits, lanes = spread(builder, limit), ir.Constant(ir.VectorType(I64, LANES), list(range(LANES)))

        def take(value: Any, at: Any, sums: list[Any]) -> list[Any]:
            value = builder.select(builder.fcmp_ordered("<", value, limits), value, limits)
            store(builder, value, builder.add(out, at))
            if not sums:
                return []
            most, squares, zeros = sums
            magnitude = builder.call(size, [value])
            return [
                builder.select(builder.fcmp_ordered(">", magnitude, most), magnitude, most),
                builder.fadd(squares, builder.fmul(value, value)),
                builder.fadd(zeros, builder.select(builder.fcmp_ordered("==", value, zero), one, zero)),
            ]

        def whole(i: Any, sums: list[Any]) -> list[Any]:
            at = builder.shl(i, constant(2))
            return take(load(builder, FLOATS, builder.add(source, at)), at, sums)

        def part(i: Any, sums: list[Any]) -> list[Any]:
            at = builder.shl(i, constant(2))
            place = builder.inttoptr(builder.add(source, at), FLOATS.as_pointer())
            inside = builder.icmp_signed("<", builder.add(spread(builder, i), lanes), spread(builder, count))
            new = take(builder.call(masked, [place, ir.Constant(I32, 4), inside, zero]), at, sums)
            return [builder.select(inside, x, y) for x, y in zip(new, sums, strict=True)]

        places = [builder.add(stats, constant(4 * LANES * n)) for n in range(3)] if measured.literal_value else []
        sums = [load(builder, FLOATS, place) for place in places]
        i, sums = loop(builder, constant(0), count, LANES, sums, whole)
        _, sums = loop(builder, i, builder.add(count, constant(LANES - 1)), LANES, sums, part)
        for value, place in zip(sums, places, strict=True):
            store(builder, value, place)
        return context.get_dummy_value()

    rest = (types.intp, types.float32, types.intp, types.intp, types.intp)
    return types.void(measured, *rest), emit


@inline
def largest(typing: Any, values: Any, count: Any) -> Any:
    """The largest of ``count`` float32 at an address, NaN left out; ``count`` is a multiple of the lanes."""

    def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        def more(i: Any, best: list[Any]) -> list[Any]:
            value = load(builder, FLOATS, builder.add(args[0], builder.shl(i, constant(2))))
            return [builder.select(builder.fcmp_ordered(">", value, best[0]), value, best[0])]

        low = ir.Constant(FLOATS, [float("-inf")] * LANES)
        _, (best,) = loop(builder, constant(0), args[1], LANES, [low], more)
        lanes = [builder.extract_element(best, ir.Constant(I32, lane)) for lane in range(LANES)]
        while len(lanes) > 1:
            pairs = zip(lanes[::2], lanes[1::2], strict=True)
            lanes = [builder.select(builder.fcmp_ordered(">", x, y), x, y) for x, y in pairs]
        return lanes[0]

    return types.float32(types.intp, types.intp), emit


@inline
def total(typing: Any, values: Any, count: Any) -> Any:
    """The float64 sum of ``count`` float32 at an address, in one order; ``count`` is a multiple of the lanes."""
    wide = ir.VectorType(F64, LANES)

    def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        def more(i: Any, sums: list[Any]) -> list[Any]:
            value = load(builder, FLOATS, builder.add(args[0], builder.shl(i, constant(2))))
            return [builder.fadd(sums[0], builder.fpext(value, wide))]

        _, (sums,) = loop(builder, constant(0), args[1], LANES, [ir.Constant(wide, None)], more)
        lanes = [builder.extract_element(sums, ir.Constant(I32, lane)) for lane in range(LANES)]
        while len(lanes) > 1:
            lanes = [builder.fadd(x, y) for x, y in zip(lanes[::2], lanes[1::2], strict=True)]
        return lanes[0]

    return types.float64(types.intp, types.intp), emit
