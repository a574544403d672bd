"""What a worker needs of Kafka, whatever library reads it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from monitor.messages.record import Partition, Record


@dataclass(frozen=True)
class Log:
    """What the broker says about the log of one partition.

    Attributes:
        topic_id: of the topic; a topic that was deleted and made again has another one. Empty if the broker has none.
        first: the earliest offset that is retained.
        end: the offset that the next record will have, records of open transactions included; -1 if the broker's
            answer cannot be relied on.
    """

    topic_id: str
    first: int
    end: int


@dataclass(frozen=True)
class Sight:
    """One topic as it was last seen.

    Attributes:
        topic_id: empty if the broker has none, or nothing was seen yet.
        partitions: how many there are, 0 if nothing was seen yet.
        logs: of the partitions that are ours.
        asked_at: when the question was sent, in seconds of ``time.monotonic``.
    """

    topic_id: str = ""
    partitions: int = 0
    logs: Mapping[Partition, Log] = field(default_factory=dict)
    asked_at: float = -math.inf


class Source(Protocol):
    """What the worker needs of Kafka. Every method that asks the broker may raise ``BrokerUnavailableError``."""

    def poll(self, timeout_ms: int, max_records: int) -> dict[Partition, list[Record]]:
        """Records by partition, in offset order, at least one each; keeps the group membership alive."""

    def assigned(self) -> set[Partition]:
        """Partitions that are ours now."""

    def take_fresh(self) -> set[Partition]:
        """Partitions given to us since the last call: their position is not to be trusted."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``; nothing happens if the partition is not ours any more."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Stop fetching these, keep them."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these again."""

    def look(self) -> Mapping[str, Sight]:
        """Each topic as it was last seen, by name; one that was never seen is absent. It never waits."""

    def trouble(self) -> str:
        """Why something cannot be read now, in one sentence for people; empty if all is well. It never waits."""

    def unreadable(self) -> tuple[str, ...]:
        """The topics that trouble is about if others can be read; empty if it is about everything, or there is none."""

    def logs(
        self, partitions: Iterable[Partition], read_up_to: Mapping[Partition, int] | None = None
    ) -> dict[Partition, Log]:
        """Ask the broker about these partitions, within seconds; those without a leader are left out.

        Args:
            partitions: of the topics that are read.
            read_up_to: offsets that were reached before. If the broker's end lies below, it is verified by a fetch.
        """

    def end_known(self) -> dict[Partition, int]:
        """The end of each partition as the last fetch told it, without asking; absent if nothing was fetched yet."""

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """What the group told Kafka, for partitions of which it did."""

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell Kafka, for lag tools; never waited for."""

    def close(self) -> None:
        """Leave the group."""
