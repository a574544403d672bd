"""Cuts pinned offsets of a topic into pieces, and proves that each offset was read once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from monitor.errors import ReplayError
from monitor.messages.record import Partition, Record

LEAST, MOST = 2_000, 250_000
"""Offsets in a piece. Fewer are not worth a consumer of their own, and more are lost if their actor dies."""


@dataclass(frozen=True)
class Piece:
    """Offsets ``[begin, end)`` of one partition."""

    partition: Partition
    begin: int
    end: int

    def __str__(self) -> str:
        return f"offsets {self.begin} to {self.end} of {self.partition}"


@dataclass(frozen=True)
class OffsetSum:
    """How many offsets there are, and their exact sum, in constant memory."""

    number: int = 0
    total: int = 0

    def __add__(self, other: OffsetSum) -> OffsetSum:
        return OffsetSum(self.number + other.number, self.total + other.total)

    @classmethod
    def over(cls, begin: int, end: int) -> OffsetSum:
        """The sum over every offset in ``[begin, end)``."""
        number = max(0, end - begin)
        return cls(number, number * (begin + end - 1) // 2)

    @classmethod
    def of(cls, records: Iterable[Record]) -> OffsetSum:
        """The sum over the offsets of these records."""
        offsets = [r.offset for r in records]
        return cls(len(offsets), sum(offsets))


class EmptyOffsets:
    """The offsets of a piece without a record, which the broker skipped (compaction, transactions).

    Args:
        piece: the piece, which is read in order.
    """

    def __init__(self, piece: Piece) -> None:
        self._next = piece.begin
        self.sum = OffsetSum()

    def pass_by(self, records: Iterable[Record], at: int) -> None:
        """Notes the offsets between these records, and up to offset ``at``, at which reading continues.

        Raises:
            ReplayError: an offset came twice, or after a later one.
        """
        for record in records:
            if record.offset < self._next:
                raise ReplayError(
                    f"{record.topic}/{record.partition}: offset {record.offset} came from the broker after offset "
                    f"{self._next - 1}, expected each offset once, in order: nothing was judged; replay again"
                )
            self.sum += OffsetSum.over(self._next, record.offset)
            self._next = record.offset + 1
        if at > self._next:
            self.sum += OffsetSum.over(self._next, at)
            self._next = at


def cut(pinned: Mapping[Partition, tuple[int, int]], actors: int) -> list[Piece]:
    """Cuts all ranges into pieces, partition after partition, in order; about four for each actor.

    Args:
        pinned: begin and end of each partition.
        actors: how many read them.
    """
    of = sum(end - begin for begin, end in pinned.values())
    size = min(MOST, max(LEAST, math.ceil(of / (4 * actors))))
    return [
        Piece(p, at, min(at + size, end))
        for p, (begin, end) in sorted(pinned.items())
        for at in range(begin, end, size)
    ]


def check_offsets(pinned: Mapping[Partition, tuple[int, int]], found: Mapping[Partition, OffsetSum]) -> None:
    """Compares the offsets that were read with those that were pinned.

    Args:
        pinned: begin and end of each partition.
        found: for each partition, the offsets that were counted, left out by their time, or hold no record.

    Raises:
        ReplayError: an offset was read twice or not at all.
    """
    for p, (begin, end) in sorted(pinned.items()):
        due, got = OffsetSum.over(begin, end), found.get(p, OffsetSum())
        if got != due:
            raise ReplayError(
                f"{p}: {got.number} offsets with a sum of {got.total} were read, expected {due.number} with a sum of "
                f"{due.total} (each from {begin} to {end - 1} once): nothing was judged; replay again, and without "
                "--ray if it happens again"
            )
