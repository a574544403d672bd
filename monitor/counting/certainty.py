"""Up to which offset it is certain that records were read from the topic under the id that it was claimed with.

A client that fetches by name reads on from a topic that was deleted and made again, and nothing in the records says so.
The topic's id is asked every few seconds; what was polled before the question was sent is certain once it is answered.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass, field

from monitor.messages.record import Partition

MERGED_SECONDS = 0.1
"""Polls of a partition within this share one mark."""


@dataclass
class _Marks:
    """``marks``: when records were polled, and the offset behind them; ``certain``: the last one that is confirmed."""

    topic_id: str
    certain: int
    next: int
    marks: collections.deque[tuple[float, float, int]] = field(default_factory=collections.deque)


class Certainty:
    """Kept for partitions after they are lost too: they may come back because the topic was made again."""

    def __init__(self) -> None:
        self._of: dict[Partition, _Marks] = {}

    def begin(self, p: Partition, topic_id: str, offset: int) -> None:
        """A partition was claimed and stands at ``offset`` of this topic."""
        self._of[p] = _Marks(topic_id, offset, offset)

    def note(self, p: Partition, polled_at: float, end: int) -> None:
        """Records up to ``end`` were polled."""
        marks = self._of[p].marks
        if marks and polled_at - marks[-1][0] < MERGED_SECONDS:
            marks[-1] = (marks[-1][0], polled_at, end)
        else:
            marks.append((polled_at, polled_at, end))

    def counted(self, p: Partition, offset: int) -> None:
        """Records up to ``offset`` are in the store."""
        if p in self._of:
            self._of[p].next = offset

    def confirm(self, topic: str, topic_id: str, asked_at: float) -> None:
        """The topic had this id when it was asked for it."""
        for p, kept in self._of.items():
            if p.topic != topic or kept.topic_id != topic_id:
                continue
            while kept.marks and kept.marks[0][1] < asked_at:
                kept.certain = kept.marks.popleft()[2]

    def of(self, p: Partition) -> int:
        """The offset up to which records were certainly read."""
        return self._of[p].certain

    def doubtful(self, p: Partition, topic_id: str, stored: int) -> tuple[int, int]:
        """Offsets ``[from, to)`` that were counted, of which log is not known; empty if this process cannot tell.

        Args:
            p: the partition.
            topic_id: under which it was claimed before.
            stored: its offset in the store.
        """
        kept = self._of.get(p)
        if kept is None or kept.topic_id != topic_id or kept.next != stored:
            return 0, 0
        return min(kept.certain, stored), stored
