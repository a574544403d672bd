"""Whoever wants to know what a worker does, and how long it takes. Telemetry does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, Protocol

from monitor.counting.scoring import Scored

Stage = Literal["poll", "decode", "score", "commit"]
STAGES: tuple[Stage, ...] = ("poll", "decode", "score", "commit")
"""Where the time of a batch goes. Polling includes waiting for Kafka."""


class Observer(Protocol):
    """Told of what happens, once a batch. It must neither wait nor raise: the loop that counts calls it."""

    def polled(self, reachable: bool, partitions: int) -> None:
        """The loop came round: whether Kafka could be read, and how many partitions are ours."""

    def unreadable(self, topics: Collection[str]) -> None:
        """The topics that cannot be read while others can."""

    def took(self, stage: Stage, seconds: float) -> None:
        """A stage of a batch is over. ``score`` is called by the thread that scores."""

    def scored(self, batch: Scored) -> None:
        """A batch was scored. Called by the thread that scores."""

    def counted(self, samples: int, rejected: Mapping[str, int], seconds: float) -> None:
        """A batch is in the store, so many seconds after it was polled."""

    def store_away(self, away: bool) -> None:
        """The store went away or came back."""


class Unobserved:
    """Nobody is interested."""

    def polled(self, reachable: bool, partitions: int) -> None:
        """Nothing."""

    def unreadable(self, topics: Collection[str]) -> None:
        """Nothing."""

    def took(self, stage: Stage, seconds: float) -> None:
        """Nothing."""

    def scored(self, batch: Scored) -> None:
        """Nothing."""

    def counted(self, samples: int, rejected: Mapping[str, int], seconds: float) -> None:
        """Nothing."""

    def store_away(self, away: bool) -> None:
        """Nothing."""
