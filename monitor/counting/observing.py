"""The interface through which a worker reports what it does and how long it takes. The metrics use it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, Protocol

from monitor.counting.scoring import Scored

Stage = Literal["poll", "decode", "score", "commit"]
STAGES: tuple[Stage, ...] = ("poll", "decode", "score", "commit")
"""The stages of a batch. Polling includes waiting for Kafka."""


class Observer(Protocol):
    """Called once per batch by the counting loop, so it must neither wait nor raise."""

    def polled(self, reachable: bool, partitions: int) -> None:
        """One round of the loop: whether Kafka could be read, and how many partitions this worker has."""

    def unreadable(self, topics: Collection[str]) -> None:
        """The topics that cannot be read although others can."""

    def took(self, stage: Stage, seconds: float) -> None:
        """A stage of a batch is over. ``score`` is called by the thread that scores."""

    def scored(self, batch: Scored) -> None:
        """A batch was scored. Called by the thread that scores."""

    def counted(self, samples: int, rejected: Mapping[str, int], seconds: float) -> None:
        """A batch is in the store, ``seconds`` after it was polled."""

    def store_away(self, away: bool) -> None:
        """The store went away or came back."""


class Unobserved:
    """An observer that ignores everything."""

    def polled(self, reachable: bool, partitions: int) -> None:
        """Do nothing."""

    def unreadable(self, topics: Collection[str]) -> None:
        """Do nothing."""

    def took(self, stage: Stage, seconds: float) -> None:
        """Do nothing."""

    def scored(self, batch: Scored) -> None:
        """Do nothing."""

    def counted(self, samples: int, rejected: Mapping[str, int], seconds: float) -> None:
        """Do nothing."""

    def store_away(self, away: bool) -> None:
        """Do nothing."""
