"""The protocol of a source: what a worker needs from Kafka, whatever library reads it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from monitor.messages.record import Partition, Record


@dataclass(frozen=True)
class Log:
    """The broker's description of the log of one partition.

    Attributes:
        topic_id: id of the topic. A topic that was deleted and created again has another one. Empty if the broker has
            no ids.
        first: the earliest retained offset.
        end: the offset that the next record will have, records of open transactions included; -1 if the broker's
            answer cannot be relied on.
    """

    topic_id: str
    first: int
    end: int


@dataclass(frozen=True)
class Sight:
    """The broker's last description of a topic.

    Attributes:
        topic_id: id of the topic; "" if the broker has no ids, or has not described the topic yet.
        partitions: how many partitions it has; 0 if the broker has not described the topic yet.
        logs: the logs of the partitions assigned to this worker.
        asked_at: when the broker was asked, in seconds of ``time.monotonic``.
    """

    topic_id: str = ""
    partitions: int = 0
    logs: Mapping[Partition, Log] = field(default_factory=dict)
    asked_at: float = -math.inf


class Source(Protocol):
    """The interface of Kafka that the worker uses.

    Every method that asks the broker may raise ``BrokerUnavailableError``.
    """

    def poll(self, timeout_ms: int, max_records: int) -> dict[Partition, list[Record]]:
        """Return new records by partition, in offset order, and keep the group membership alive."""

    def assigned(self) -> set[Partition]:
        """The partitions that are assigned to this worker now."""

    def take_fresh(self) -> set[Partition]:
        """Return the partitions that were assigned since the last call. Their positions must not be relied on."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue at ``offset``. Does nothing if the partition is no longer assigned to this worker."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Stop fetching these partitions, but keep them."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these partitions again."""

    def look(self) -> Mapping[str, Sight]:
        """Returns the last description of each topic, by name.

        Topics that were never described are missing. Never waits.
        """

    def trouble(self) -> str:
        """Why something cannot be read now, in one sentence for people; empty if everything can. Never waits."""

    def unreadable(self) -> tuple[str, ...]:
        """The topics that cannot be read, if others can; empty if none can be read, or all can."""

    def logs(
        self, partitions: Iterable[Partition], read_up_to: Mapping[Partition, int] | None = None
    ) -> dict[Partition, Log]:
        """Ask the broker about the logs of these partitions, within seconds. Those without a leader are left out.

        Args:
            partitions: partitions of the topics that are read.
            read_up_to: offsets that were reached before. If the broker names a lower end, it is verified by a fetch.
        """

    def end_known(self) -> dict[Partition, int]:
        """Return the end of each partition as of the last fetch, without asking; absent if there was none yet."""

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the offsets that the group has committed to Kafka; absent if it has not."""

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets to Kafka, for lag tools only. Never waits."""

    def close(self) -> None:
        """Leave the consumer group."""
