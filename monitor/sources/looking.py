"""Keeps what a source knows about the broker besides its records. It is the same for each client library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from monitor.messages.record import Partition
from monitor.sources.lookout import Lookout
from monitor.sources.protocol import Log, Sight
from monitor.sources.topic import TopicQuestions


class Looking:
    """The part of a :class:`monitor.sources.protocol.Source` that asks the broker and keeps an eye on its topics.

    Args:
        questions: asks the broker.
        lookout: looks at the topics again and again, in a thread of its own.
    """

    def __init__(self, questions: TopicQuestions, lookout: Lookout) -> None:
        self._questions, self._lookout = questions, lookout

    def look(self) -> Mapping[str, Sight]:
        """Returns the last description of each topic."""
        return self._lookout.sights

    def trouble(self) -> str:
        """Why something cannot be read now; empty if everything can."""
        return self._lookout.trouble

    def unreadable(self) -> tuple[str, ...]:
        """The topics that cannot be read, if others can."""
        return self._lookout.unreadable

    def logs(
        self, partitions: Iterable[Partition], read_up_to: Mapping[Partition, int] | None = None
    ) -> dict[Partition, Log]:
        """Ask the broker about the logs of these partitions. Those without a leader are left out."""
        return self._questions.logs(list(partitions), read_up_to or {})
