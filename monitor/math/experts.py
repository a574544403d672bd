"""Several experts as one detector: how their cells and their bets lie side by side.

Each of E experts puts every sample in a conformal cell of its own, so a sample adds one count for each expert: the
counts of a key are ``(E * cells,)``, the first expert's cells first. Its evidence has ``E * contaminations`` columns in
the same order. An expert's columns bet on that expert's cells alone: on any other cell they pay 1, whose log is 0, so
the table of log bets is block-diagonal. One expert is the plain case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def side_by_side(tables: Sequence[Floats]) -> Floats:
    """(E * contaminations, E * cells) log bets, from each expert's (contaminations, cells); 0 off the diagonal."""
    if len(tables) == 1:
        return tables[0]
    joined = np.zeros(np.sum([table.shape for table in tables], axis=0))
    row = column = 0
    for table in tables:
        height, width = table.shape
        joined[row : row + height, column : column + width] = table
        row, column = row + height, column + width
    return joined


def part(expert: int, size: int) -> slice:
    """Where the ``size`` cells, or columns, of an expert lie among those of all."""
    return slice(expert * size, (expert + 1) * size)


def samples_of(counts: Ints, cells: int) -> Ints:
    """(...) samples in (..., E * cells) counts: every expert has counted each of them, so the first one tells."""
    return np.asarray(counts[..., :cells].sum(axis=-1))


def agree(counts: Ints, cells: int) -> bool:
    """Whether every expert has counted the same number of samples in each row of (r, E * cells) counts."""
    each = counts.reshape(len(counts), counts.shape[1] // cells, cells).sum(axis=2)
    return bool((each == each[:, :1]).all())
