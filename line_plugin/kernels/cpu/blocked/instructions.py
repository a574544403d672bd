"""LLVM instructions that numba does not offer: vectors as wide as this CPU's registers, loads, loops, literals."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from line_plugin.kernels.cpu.blocked.host import LANES

F32, F64, I8, I32, I64 = ir.FloatType(), ir.DoubleType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)
FLOATS, INTS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)


def inline(function: Any) -> Any:
    """Instructions that numba puts in place of each call of the function."""
    return intrinsic(function)


def constant(value: int) -> Any:
    """An address or a count."""
    return ir.Constant(I64, value)


def function(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """The LLVM intrinsic of this name."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def load(builder: Any, kind: Any, address: Any) -> Any:
    """A scalar or a vector at a byte address of any alignment of 4 (of 1 for bytes)."""
    align = 1 if kind is I8 else 4
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=align)


def store(builder: Any, value: Any, address: Any) -> None:
    """Writes a value to an address that :func:`load` can read."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=4)


def spread(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    """A vector that holds the scalar in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(I32, lanes), None))


def loop(builder: Any, begin: Any, end: Any, step: int, sums: list[Any], body: Any) -> tuple[Any, list[Any]]:
    """Runs ``sums = body(i, sums)`` for ``i = begin, begin + step, ...`` while a whole step fits before ``end``.

    Returns:
        The first index that was not used, and the sums.
    """
    before, head = builder.block, builder.append_basic_block("loop")
    inside, after = builder.append_basic_block("body"), builder.append_basic_block("done")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(I64)
    i.add_incoming(begin, before)
    phis = [builder.phi(value.type) for value in sums]
    for phi, value in zip(phis, sums, strict=True):
        phi.add_incoming(value, before)
    beyond = builder.add(i, constant(step))
    builder.cbranch(builder.icmp_signed("<=", beyond, end), inside, after)
    builder.position_at_end(inside)
    for phi, value in zip(phis, body(i, phis), strict=True):
        phi.add_incoming(value, builder.block)
    i.add_incoming(beyond, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return i, phis


def literals(*arguments: Any) -> bool:
    """Whether all values are known when the code is compiled."""
    return all(isinstance(x, types.Literal) for x in arguments)
