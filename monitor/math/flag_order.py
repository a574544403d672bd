"""Measures whether flagged samples of a stream come in bursts, from the autocorrelation of its flags in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class FlagOrder:
    """The flags of one stream in order, as O(1) sums, added in pieces of any size.

    Attributes:
        pairs: how many pairs of neighbouring samples there are.
        first: how many of the earlier samples of the pairs are flagged.
        second: how many of the later samples of the pairs are flagged.
        both: how many pairs have both samples flagged.
        last: the last flag, None before the first.
        begin: the first flag, None before it.
    """

    pairs: int = 0
    first: int = 0
    second: int = 0
    both: int = 0
    last: bool | None = None
    begin: bool | None = None

    def then(self, flags: Sequence[bool] | npt.NDArray[np.bool_]) -> FlagOrder:
        """These flags followed by more, in order."""
        if not len(flags):
            return self
        run = np.asarray(flags, dtype=bool)
        if self.last is not None:
            run = np.concatenate([[self.last], run])
        a, b = run[:-1], run[1:]
        return FlagOrder(
            self.pairs + len(a),
            self.first + int(a.sum()),
            self.second + int(b.sum()),
            self.both + int((a & b).sum()),
            bool(run[-1]),
            bool(run[0]) if self.begin is None else self.begin,
        )

    def followed_by(self, later: FlagOrder) -> FlagOrder:
        """These flags followed directly by those of ``later``, as in one log."""
        if self.last is None or later.begin is None:
            return later if self.last is None else self
        return FlagOrder(
            self.pairs + 1 + later.pairs,
            self.first + self.last + later.first,
            self.second + later.begin + later.second,
            self.both + (self.last and later.begin) + later.both,
            later.last,
            self.begin,
        )

    def beside(self, other: FlagOrder) -> FlagOrder:
        """The pairs of two logs that do not follow each other."""
        return FlagOrder(
            self.pairs + other.pairs, self.first + other.first, self.second + other.second, self.both + other.both
        )

    @property
    def autocorrelation(self) -> float:
        """The lag-1 autocorrelation of the flags, in [-1, 1]; 0 if it is not defined."""
        if not self.pairs:
            return 0.0
        a, b = self.first / self.pairs, self.second / self.pairs
        spread = math.sqrt(a * (1 - a) * b * (1 - b))
        return (self.both / self.pairs - a * b) / spread if spread else 0.0

    @property
    def error(self) -> float:
        """The standard error of :attr:`autocorrelation` on independent samples."""
        return 1 / math.sqrt(self.pairs) if self.pairs else math.inf
