"""What a worker needs of Kafka, whatever library reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from monitor.messages.record import Partition, Record


class Source(Protocol):
    """What the worker needs of Kafka. Every method may raise ``BrokerUnavailableError``."""

    def poll(self, timeout_ms: int, max_records: int) -> dict[Partition, list[Record]]:
        """Records by partition, in offset order, at least one each; keeps the group membership alive."""

    def assigned(self) -> set[Partition]:
        """Partitions that are ours now."""

    def take_fresh(self) -> set[Partition]:
        """Partitions given to us since the last call: their position is not to be trusted."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``; nothing where the partition is not ours any more."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Stop fetching these, keep them."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these again."""

    def first_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The earliest offset that is still there."""

    def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset that the next record will have."""

    def end_known(self) -> dict[Partition, int]:
        """The end of each partition as the last fetch told it, without asking; absent if nothing was fetched yet."""

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """What the group told Kafka, for partitions where it did."""

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell Kafka, for lag tools; never waited for."""

    def close(self) -> None:
        """Leave the group."""
