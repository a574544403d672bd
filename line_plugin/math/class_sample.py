"""A bounded, class-balanced sample of training features, drawn in the same pass over the data that sums them.

Each row gets a random rank from the seed, its class and its place among the rows of that class. The rows of the lowest
ranks of each class are kept, so the sample is a simple random one within each class. It depends on nothing but the seed
and the order of the rows of each class. The batches, the mix of the classes and other random generators do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from line_plugin.errors import FitError, SettingsError

ROWS = 5000
"""The most rows that are kept, unless there are more classes: 41 MB for the 2048 features of a ResNet-50."""
_FREE = np.uint64(2**64 - 1)


def mix(seed: int, stream: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A pseudorandom 64-bit number for each pair of ``stream`` and ``index``, the same on every machine.

    Applies SplitMix64's finaliser (Steele, Lea, Flood 2014) once for each of the three numbers.
    """
    state = np.full(np.broadcast(stream, index).shape, np.uint64(seed & (2**64 - 1)))
    for word in (stream, index):
        state = _finalise(state ^ word.astype(np.uint64))
    return state


def _finalise(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):  # overflow is intended: arithmetic modulo 2**64
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


@dataclass
class ClassSample:
    """Up to ``rows // K`` random rows of each class, and at least one.

    Attributes:
        num_classes: K.
        rows: the most rows to keep; with more classes than that, one row of each class is kept.
        seed: seed of the draw.

    Example:
        >>> import torch
        >>> sample = ClassSample(num_classes=3, rows=6)
        >>> sample.add_(torch.rand(90, 8), torch.arange(90) % 3)
        >>> sample.labels.tolist()
        [0, 0, 1, 1, 2, 2]
    """

    num_classes: int
    rows: int = ROWS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_classes < 1 or self.rows < 1:
            raise SettingsError(
                f"a sample of {self.rows} rows of {self.num_classes} classes was asked for, expected at least 1 of each"
            )
        # Each class has one row of the table. A free place has the highest rank, so that the next row takes it.
        self._ranks = np.full((self.num_classes, self.per_class), _FREE, dtype=np.uint64)
        self._limit = np.full(self.num_classes, _FREE, dtype=np.uint64)  # the highest rank of each class
        self._seen = np.zeros(self.num_classes, dtype=np.int64)
        self._rows = torch.empty(0, 0)

    @property
    def per_class(self) -> int:
        """The most rows of each class that are kept."""
        return max(1, self.rows // self.num_classes)

    def first(self, rows: int) -> ClassSample:
        """The sample that a limit of ``rows`` rows would have given."""
        other = ClassSample(self.num_classes, min(rows, self.rows), self.seed)
        order = np.argsort(self._ranks, axis=1, kind="stable")[:, : other.per_class]
        other._ranks, other._seen = np.take_along_axis(self._ranks, order, axis=1), self._seen.copy()
        other._limit = other._ranks.max(axis=1)
        if self._rows.numel():
            places = order + np.arange(self.num_classes)[:, None] * self.per_class
            other._rows = self._rows[torch.from_numpy(places.ravel())]
        return other

    def add_(self, features: Tensor, labels: Tensor) -> None:
        """Offers a batch to the sample.

        Args:
            features: (N, D) floating, on any device; only the rows that are kept are copied.
            labels: (N,) integer classes; a negative label means unknown and is ignored.

        Raises:
            FitError: a label is not below K, or the two lengths differ.
        """
        if features.ndim != 2 or labels.shape != features.shape[:1]:
            raise FitError(
                f"features of shape {tuple(features.shape)} and labels of shape {tuple(labels.shape)} given: "
                "expected (N, D) and one label a row"
            )
        classes = labels.to("cpu", torch.int64).numpy()
        if classes.size and classes.max() >= self.num_classes:
            raise FitError(f"label {classes.max()} given, expected a class from 0 to {self.num_classes - 1}")
        known = np.nonzero(classes >= 0)[0]
        ranks = mix(self.seed, classes[known], self._places(classes[known]))
        entering = ranks < self._limit[classes[known]]
        if entering.any():
            self._enter(features.detach(), classes, known[entering], ranks[entering])

    def _enter(
        self, features: Tensor, classes: NDArray[np.int64], rows: NDArray[np.intp], ranks: NDArray[np.uint64]
    ) -> None:
        """Puts rows into the places with the highest ranks of their classes, if their own ranks are lower."""
        if not self._rows.numel():
            self._rows = torch.empty(self._ranks.size, features.shape[1])
        source: dict[int, int] = {}  # the row that each place takes; the last one if a batch fills a place twice
        for row, rank in zip(rows.tolist(), ranks, strict=True):
            mine = self._ranks[c := classes[row]]
            place = int(mine.argmax())
            if rank < mine[place]:
                mine[place] = rank
                source[int(c) * self.per_class + place] = row
            self._limit[c] = mine.max()
        if source:
            taken = features[torch.tensor(list(source.values()), device=features.device)]
            self._rows[torch.tensor(list(source))] = taken.to("cpu", torch.float32)

    @property
    def features(self) -> Tensor:
        """The sampled rows, (n, D) float32 on the CPU, ordered by class and then by rank; a copy."""
        return self._rows[torch.from_numpy(self._order())] if self._rows.numel() else torch.empty(0, 0)

    @property
    def labels(self) -> Tensor:
        """Their classes, (n,) int64."""
        return torch.from_numpy(self._order() // self.per_class)

    def _order(self) -> NDArray[np.int64]:
        """The indices of the filled places, ordered by class and rank."""
        order = np.argsort(self._ranks, axis=1, kind="stable")
        order += np.arange(self.num_classes)[:, None] * self.per_class
        places = order.ravel()
        taken: NDArray[np.int64] = places[self._ranks.ravel()[places] != _FREE]
        return taken

    def _places(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many rows of its class came before each row."""
        order = np.argsort(classes, kind="stable")
        starts = np.searchsorted(classes[order], classes[order], side="left")
        places = np.empty_like(classes)
        places[order] = np.arange(len(classes)) - starts + self._seen[classes[order]]
        self._seen += np.bincount(classes, minlength=self.num_classes)
        return places
