"""Element types of a vector on the wire, all little-endian."""

from __future__ import annotations

import numpy as np

SIZES: dict[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes an element."""


def to_float32(vector: bytes, dtype: str) -> bytes:
    """The same numbers as little-endian float32; exact, both half precisions widen without rounding."""
    if dtype == "float32":
        return vector
    if dtype == "float16":
        return np.frombuffer(vector, "<f2").astype("<f4").tobytes()
    return (np.frombuffer(vector, "<u2").astype("<u4") << 16).astype("<u4").tobytes()
