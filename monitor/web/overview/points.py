"""Flag rates over time: for each stream, counts of judged buckets summed into points of a few seconds.

A judged bucket never changes, so each is read once. If there are too many counts to read all of them, some buckets are
left out. Which ones does not depend on what they hold, so the rates stay right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.messages.text import CANARY
from monitor.store.counts import CELLS, CountKey

Counts = npt.NDArray[np.int64]

POINTS = 360
"""How many points are kept for each stream."""

LEAST_STEP_MS = 10_000
"""The shortest width of a point, in milliseconds."""


@dataclass(frozen=True)
class Series:
    """Counts between two times, in pieces of equal width.

    Attributes:
        first_ms: begin of the first piece.
        step_ms: width of a piece.
        samples: (pieces,) number of inputs.
        flagged: (pieces,) how many of them are flagged, by the threshold of the first expert.
    """

    first_ms: int
    step_ms: int
    samples: Counts
    flagged: Counts


class Points:
    """The last :data:`POINTS` points of each stream, in memory.

    Args:
        bucket_ms: width of a bucket.
        flag_cells: cells of the first expert below this count as flagged.
    """

    def __init__(self, bucket_ms: int, flag_cells: int) -> None:
        self.bucket_ms, self._flag_cells = bucket_ms, flag_cells
        self.step_ms = bucket_ms * -(-LEAST_STEP_MS // bucket_ms)
        self._rows: dict[str, int] = {}
        self._table = np.zeros((64, POINTS, 2), np.int32)
        self._newest = -1  # number of the newest point
        self._read: set[int] = set()

    def wanted(self, last_bucket: int, most: int) -> list[int]:
        """Judged buckets that are still shown and were not read yet, the newest first, at most ``most``."""
        found: list[int] = []
        bucket, oldest = last_bucket, self._oldest(last_bucket)
        while bucket >= oldest and len(found) < most:
            if bucket not in self._read:
                found.append(bucket)
            bucket -= 1
        return found

    def missing(self, last_bucket: int) -> int:
        """How many judged buckets that are still shown were not read yet."""
        oldest = self._oldest(last_bucket)
        return last_bucket - oldest + 1 - sum(oldest <= b <= last_bucket for b in self._read)

    def add(self, counted: Mapping[int, Mapping[CountKey, int]]) -> None:
        """Add buckets that were read. A bucket that was added before changes nothing."""
        fresh = {bucket: cells for bucket, cells in counted.items() if bucket not in self._read}
        if not fresh:
            return
        self._advance(max(fresh) * self.bucket_ms // self.step_ms)
        for bucket, cells in fresh.items():
            point = bucket * self.bucket_ms // self.step_ms
            if self._newest - point >= POINTS:
                continue
            self._read.add(bucket)
            for (stream, _, cell), n in cells.items():
                if cell < CELLS and not stream.startswith(CANARY):
                    row = self._row(stream)  # which may make the table larger
                    place = self._table[row, point % POINTS]
                    place[0] += n
                    if cell < self._flag_cells:
                        place[1] += n

    def keep(self, streams: Iterable[str]) -> None:
        """Forget all other streams."""
        kept = {stream: self._rows[stream] for stream in streams if stream in self._rows}
        if len(kept) < len(self._rows):
            room = max(64, len(kept))
            table = np.zeros((room, POINTS, 2), np.int32)
            table[: len(kept)] = self._table[list(kept.values())]
            self._rows, self._table = {stream: i for i, stream in enumerate(kept)}, table

    def streams(self) -> list[str]:
        """The streams, in the order of the rows of :meth:`recent`."""
        return list(self._rows)

    def recent(self, until_ms: int, span_ms: int) -> Counts:
        """(streams, 2) inputs and flagged ones of the points that begin within ``span_ms`` before ``until_ms``."""
        last = until_ms // self.step_ms
        places = self._places(last - max(1, span_ms // self.step_ms) + 1, last)
        found: Counts = self._table[: len(self._rows)][:, places].sum(axis=1, dtype=np.int64)
        return found

    def series(self, stream: str, until_ms: int, pieces: int, each: int) -> Series:
        """The last ``pieces`` pieces of ``each`` points, up to the point of ``until_ms``, of a stream."""
        last = until_ms // self.step_ms
        last += each - 1 - last % each  # pieces keep their place from one call to the next
        first = last - pieces * each + 1
        found = np.zeros((pieces * each, 2), np.int64)
        row = self._rows.get(stream)
        if row is not None:
            numbers = np.arange(first, last + 1)
            held = (numbers > self._newest - POINTS) & (numbers <= self._newest)
            found[held] = self._table[row, numbers[held] % POINTS]
        summed = found.reshape(pieces, each, 2).sum(axis=1)
        return Series(first * self.step_ms, each * self.step_ms, summed[:, 0], summed[:, 1])

    def _places(self, first: int, last: int) -> list[int]:
        first, last = max(first, self._newest - POINTS + 1), min(last, self._newest)
        return [n % POINTS for n in range(first, last + 1)]

    def _oldest(self, last_bucket: int) -> int:
        """The first bucket of the oldest point that is kept."""
        oldest = (last_bucket * self.bucket_ms // self.step_ms - POINTS + 1) * self.step_ms
        return max(0, -(-oldest // self.bucket_ms))

    def _advance(self, newest: int) -> None:
        """Move on to the point ``newest`` and forget the points that are now too old."""
        if newest <= self._newest:
            return
        gone = min(POINTS, newest - self._newest)
        for number in range(newest - gone + 1, newest + 1):
            self._table[:, number % POINTS] = 0
        self._newest = newest
        oldest = (newest - POINTS + 1) * self.step_ms
        self._read = {b for b in self._read if b * self.bucket_ms >= oldest}

    def _row(self, stream: str) -> int:
        row = self._rows.get(stream)
        if row is None:
            row = self._rows[stream] = len(self._rows)
            if row >= len(self._table):
                self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        return row
