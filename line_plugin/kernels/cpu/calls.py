"""Calls of the panel's compiled experts: the arrays of a call as a block of addresses (:mod:`.blocked.experts`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.kernels.cpu import compiling, team

Span = tuple[int, int]
Array = NDArray[Any]


def angle(width: int) -> Callable[[Array, np.float32, Array, Array, Array, Array, Span], None]:
    """The angle expert for tiles of ``width`` classes: ``(x, delta, mean, tiles, bias, out, span)``."""
    native = _native("angle", width)

    def run(x: Array, delta: np.float32, mean: Array, tiles: Array, bias: Array, out: Array, span: Span) -> None:
        bits = int(np.float32(delta).view(np.int32))
        _call(native, (*span, *x.shape, *tiles.shape[::2], bits), (x, mean, tiles, bias, out))

    return run


def residual(width: int) -> Callable[[Array, Array, Array, bool, Array, Span], None]:
    """The residual for tiles of ``width`` directions: ``(x, mean, tiles, is_residual, out, span)``."""
    native = _native("residual", width)

    def run(x: Array, mean: Array, tiles: Array, inside: bool, out: Array, span: Span) -> None:
        _call(native, (*span, *x.shape, *tiles.shape[::2], int(inside)), (x, mean, tiles, out))

    return run


def of_class() -> Callable[[Array, Array, Array, Array, Array, Array, Span], None]:
    """The function that needs the predicted class alone: ``(x, classes, weight, bias, prototypes, out, span)``."""
    native = _native("of_class", 0)

    def run(x: Array, classes: Array, weight: Array, bias: Array, prototypes: Array, out: Array, span: Span) -> None:
        sizes = (*span, *x.shape, len(weight), *prototypes.shape[:2], len(bias))
        _call(native, sizes, (x, classes, weight, bias, prototypes, out))

    return run


def _native(kind: compiling.Kind, width: int) -> Any:
    return team.Native(compiling.function(kind, width))


def _call(native: Any, numbers: Sequence[int], arrays: Sequence[Array]) -> None:
    """Calls compiled code with a block of numbers and the addresses of arrays.

    Raises:
        ValueError: an array has gaps, and the compiled code would read past its end.
    """
    if not all(array.flags.c_contiguous for array in arrays):
        raise ValueError("an array with gaps was given, expected arrays whose numbers lie one behind the other")
    block = np.array([*numbers, *(array.ctypes.data for array in arrays)], np.int64)
    native(block.ctypes.data)
