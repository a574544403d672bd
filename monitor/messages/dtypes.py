"""The element types that a vector may have in a record, all little-endian."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monitor.errors import RecordError

SIZES: dict[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes per element, by dtype."""

LARGEST = float(np.finfo(np.float32).max)


def to_float32(vector: bytes, dtype: str) -> bytes:
    """Convert to little-endian float32. This is exact: both half precisions widen without rounding."""
    if dtype == "float32":
        return vector
    if dtype == "float16":
        return np.frombuffer(vector, "<f2").astype("<f4").tobytes()
    return (np.frombuffer(vector, "<u2").astype("<u4") << 16).astype("<u4").tobytes()


def narrow(row: npt.NDArray[np.float64], name: str) -> bytes:
    """Round doubles to the nearest little-endian float32.

    Raises:
        RecordError: ``out-of-range`` if a finite number does not fit float32.
    """
    if ((np.abs(row) > LARGEST) & np.isfinite(row)).any():
        raise RecordError("out-of-range", f"{name} holds a number beyond what float32 holds")
    with np.errstate(invalid="ignore"):  # a signalling NaN stays one and is refused when it is scored
        return row.astype("<f4").tobytes()
