"""Combines several experts into one detector: the layout of their cells, counts and bets side by side.

Each of E experts puts every sample in one of its own conformal cells, so a sample adds one count for each expert. The
counts of a key are ``(E * cells,)``, the first expert's cells first. Its evidence has ``E * contaminations`` columns in
the same order. An expert's columns bet only on that expert's cells. On any other cell they pay 1, whose log is 0, so
the table of log bets is block-diagonal. With one expert, nothing changes.
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
    """The slice of an expert's ``size`` cells, or columns, among those of all experts."""
    return slice(expert * size, (expert + 1) * size)


def samples_of(counts: Ints, cells: int) -> Ints:
    """The number of samples (...) in (..., E * cells) counts.

    Every expert has counted each of them, so the first is used.
    """
    return np.asarray(counts[..., :cells].sum(axis=-1))


def agree(counts: Ints, cells: int) -> bool:
    """Whether every expert has counted the same number of samples in each row of (r, E * cells) counts."""
    each = counts.reshape(len(counts), counts.shape[1] // cells, cells).sum(axis=2)
    return bool((each == each[:, :1]).all())
