"""The scoring rule on a CPU, compiled as plainly as possible: the fast kernel's reference and fallback.

It computes the rule of :mod:`line_plugin.math.scoring` row by row and class by class. Sums are in float64, over the
neurons in their own order, so a row has the same bits in every batch here too. It depends on no particular CPU or LLVM.
The last bits differ from the fast kernel's, which adds in float32.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.kernels.cpu import team


@dataclass(frozen=True)
class PlainHead:
    """A head as the plain kernel reads it. It never changes, so threads may share it.

    Attributes:
        columns: (D, K) float32, the head transposed; bias: (K,), floors: (K, D), shared with the fit.
    """

    columns: NDArray[np.float32]
    bias: NDArray[np.float32]
    floors: NDArray[np.float32]

    @classmethod
    def of(cls, weight: NDArray[np.float32], bias: NDArray[np.float32], floors: NDArray[np.float32]) -> PlainHead:
        """Lays a head out: weight (K, D), bias (K,), floors (K, D)."""
        return cls(np.ascontiguousarray(weight.T), bias, floors)

    @property
    def own_bytes(self) -> int:
        """How many bytes it holds that are not shared with the fit."""
        return self.columns.nbytes

    def predict(
        self, features: NDArray[np.float32], delta: float | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Class (N,) int64 and confidence (N,) float32 of each row, like the fast kernel's ``predict``."""
        n, clip = len(features), np.float32(np.inf if delta is None else delta)
        x = np.ascontiguousarray(features)
        classes, confidence = np.empty(n, np.int64), np.empty(n, np.float32)
        score = _compiled()

        def span(first: int, last: int) -> None:
            score(x, clip, self.columns, self.bias, self.floors, classes, confidence, first, last)

        if n:
            team.each_span(n, span)
        return classes, confidence


@functools.cache
def _compiled() -> Any:
    import numba

    try:
        return numba.njit(nogil=True, cache=True)(_score)
    except RuntimeError:  # no folder to write the compiled code to
        return numba.njit(nogil=True)(_score)


def _score(
    x: Any, clip: Any, columns: Any, bias: Any, floors: Any, classes: Any, confidence: Any, first: int, last: int
) -> None:
    d, k_n = columns.shape
    for n in range(first, last):
        logits, masked = bias.astype(np.float64), bias.astype(np.float64)
        for j in range(d):
            z = np.float64(min(x[n, j], clip))
            for k in range(k_n):
                logits[k] += z * columns[j, k]
        c = np.argmax(logits)  # the lower class wins an exact tie
        for j in range(d):
            z, floor = np.float64(min(x[n, j], clip)), floors[c, j]
            for k in range(k_n):
                if columns[j, k] > floor:
                    masked[k] += z * columns[j, k]
        best, total = masked.max(), 0.0
        for k in range(k_n):
            total += math.exp(masked[k] - best)
        classes[n], confidence[n] = c, best + math.log(total)
