"""Tracks up to which offset records were certainly read from the topic that was claimed.

If a topic is deleted and created again, a client that fetches by name continues with the new one, and nothing in the
records shows it. So the broker is asked for the topic's id every few seconds. Once it answers, the records that were
polled before the question are certain.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass, field

from monitor.messages.record import Partition

MERGED_SECONDS = 0.1
"""Polls of a partition within this many seconds share one mark."""


@dataclass
class _Marks:
    """``marks``: when records were polled, and the offset after them. ``certain``: the last confirmed one."""

    topic_id: str
    certain: int
    next: int
    marks: collections.deque[tuple[float, float, int]] = field(default_factory=collections.deque)


class Certainty:
    """Marks of each partition. They are kept when a partition is lost, since it may come back with a new topic."""

    def __init__(self) -> None:
        self._of: dict[Partition, _Marks] = {}

    def begin(self, p: Partition, topic_id: str, offset: int) -> None:
        """Note that a partition of this topic was claimed at ``offset``."""
        self._of[p] = _Marks(topic_id, offset, offset)

    def note(self, p: Partition, polled_at: float, end: int) -> None:
        """Note that records up to ``end`` were polled."""
        marks = self._of[p].marks
        if marks and polled_at - marks[-1][0] < MERGED_SECONDS:
            marks[-1] = (marks[-1][0], polled_at, end)
        else:
            marks.append((polled_at, polled_at, end))

    def counted(self, p: Partition, offset: int) -> None:
        """Note that records up to ``offset`` are in the store."""
        if p in self._of:
            self._of[p].next = offset

    def confirm(self, topic: str, topic_id: str, asked_at: float) -> None:
        """Note that the topic had this id when the broker was asked."""
        for p, kept in self._of.items():
            if p.topic != topic or kept.topic_id != topic_id:
                continue
            while kept.marks and kept.marks[0][1] < asked_at:
                kept.certain = kept.marks.popleft()[2]

    def of(self, p: Partition) -> int:
        """Return the offset up to which records were certainly read from this topic."""
        return self._of[p].certain

    def doubtful(self, p: Partition, topic_id: str, stored: int) -> tuple[int, int]:
        """Return offsets ``[from, to)`` that were counted from an unknown log; empty if this process cannot tell.

        Args:
            p: the partition.
            topic_id: the id under which it was claimed before.
            stored: its offset in the store.
        """
        kept = self._of.get(p)
        if kept is None or kept.topic_id != topic_id or kept.next != stored:
            return 0, 0
        return min(kept.certain, stored), stored
