"""Keeps the most OOD and the most ID rows of a stream of any length."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from line_plugin.image_scoring.rows import ImageScore


class Extremes:
    """The ``n`` rows of least and the ``n`` of most confidence; the first ones win ties.

    Args:
        n: rows to keep at each end.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._low: list[tuple[float, int, ImageScore]] = []
        self._high: list[tuple[float, int, ImageScore]] = []
        self._count = 0

    def add(self, row: ImageScore) -> None:
        """Adds a row; a row without a confidence is ignored."""
        if row.confidence is None or not self._n:
            return
        self._count += 1
        _push(self._low, (-row.confidence, -self._count, row), self._n)
        _push(self._high, (row.confidence, -self._count, row), self._n)

    def most_ood(self) -> Iterator[ImageScore]:
        """The rows of least confidence, the least one first."""
        return (row for _, _, row in sorted(self._low, key=lambda e: e[:2], reverse=True))

    def most_id(self) -> Iterator[ImageScore]:
        """The rows of most confidence, the highest one first."""
        return (row for _, _, row in sorted(self._high, key=lambda e: e[:2], reverse=True))


def _push(heap: list[tuple[float, int, ImageScore]], entry: tuple[float, int, ImageScore], n: int) -> None:
    if len(heap) < n:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)
