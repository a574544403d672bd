"""What is written to and read from a store, whatever store it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from monitor.messages.record import Partition
from monitor.store.counts import (
    Batch,
    Claim,
    CountKey,
    Example,
    Move,
    PartitionState,
    Reply,
    Seen,
)
from monitor.store.handling import Acknowledgement, Handling, Mute
from monitor.store.verdicts import Fold, Health, Notice, Promotion


class Store(Protocol):
    """What the worker and the evaluator need of Redis. Every method may raise ``StoreUnavailableError``."""

    def ping(self) -> None:
        """Raise if it cannot be reached or speaks another schema."""

    def claim(self, first: Mapping[Partition, int], topic_id: str = "", partitions: int = 0) -> dict[Partition, Claim]:
        """Take partitions over.

        Args:
            first: where to begin if nothing is stored.
            topic_id: noted for the partitions of which nothing is stored.
            partitions: how many the topic has; noted if the group has no partition of this topic yet.
        """

    def move(self, move: Move) -> bool:
        """Set a partition to another offset; False if it is not ours any more or does not stand where it should."""

    def partitions_at_start(self, topic: str) -> int:
        """How many partitions the topic had when this group first claimed one, 0 if it never did."""

    def commit(self, batch: Batch) -> Reply:
        """Write counts and offsets together, or nothing."""

    def report(self, worker: str, entry: str, partitions: Mapping[Partition, Seen]) -> int:
        """A worker is there, and this is how far its partitions are.

        Returns the store's clock, or 0 if the group has other settings by now.
        """

    def partitions(self) -> dict[Partition, PartitionState]:
        """Every partition ever claimed."""

    def totals(self) -> dict[CountKey, int]:
        """Samples counted since the beginning."""

    def rejected(self) -> dict[str, int]:
        """Records rejected since the beginning, by reason."""

    def streams(self) -> dict[str, int]:
        """Stream to the time (ms) of its last count."""

    def lease(self, holder: str, ttl_ms: int) -> int:
        """Take, keep or (``ttl_ms`` 0) give back the evaluator's lease; the token, 0 if another holds it."""

    def leads(self, before_ms: int) -> tuple[int, int]:
        """The highest open bucket that was reached by ``before_ms``, and the highest reached at all; -1 for none."""

    def health(self) -> Health:
        """How the group is doing."""

    def retire(self, token: int, streams: Iterable[str], before_ms: int, asked: Iterable[str]) -> list[str] | None:
        """Forget streams that were last heard at or before ``before_ms`` or that are ``asked`` for; which they were.

        None if the lease is lost.
        """

    def ask_to_retire(self, stream: str) -> None:
        """Have the evaluator forget a stream."""

    def asked_to_retire(self) -> set[str]:
        """The streams that somebody wants forgotten."""

    def promote(self, promotion: Promotion) -> tuple[int, int] | None:
        """Start afresh; number of the new epoch and of buckets dropped, None if the evidence changed meanwhile."""

    def canary_stream(self, *, create: bool) -> str:
        """The stream of the group's canary, which nobody can guess; empty if there is none and none is created."""

    def mark(self, name: str) -> None:
        """Note the store's time under a name in the group's meta hash."""

    def close(self, token: int, bucket: int) -> tuple[int, int] | None:
        """Close buckets up to ``bucket``; ``(closed, folded)``, ``None`` if the lease is lost."""

    def pending(self, folded: int, closed: int) -> list[int]:
        """Closed buckets that hold counts and are not folded, ascending."""

    def counts(self, bucket: int) -> dict[CountKey, int]:
        """Counts of one bucket."""

    def examples(self, bucket: int, stream: str) -> list[Example]:
        """The most OOD samples of a stream in a bucket, the worst first."""

    def state(self) -> dict[str, str]:
        """The evidence state of every key."""

    def apply(self, fold: Fold) -> str:
        """Write a folded bucket: ``ok``, ``repeat``, or ``refused`` if the lease or the order is lost."""

    def windows(self) -> dict[str, str]:
        """Where the window of each stream began, as :meth:`keep_windows` kept it."""

    def keep_windows(self, begun: Mapping[str, str], gone: Iterable[str] = ()) -> None:
        """Keep where windows began, by stream, and forget those of streams that are gone."""

    def alerts(self) -> list[dict[str, str]]:
        """Current alerts, the latest transition first."""

    def history(self, count: int = 100) -> list[dict[str, str]]:
        """Transitions, the latest first; each with its ``id``."""

    def since(self, after: str, count: int = 100) -> list[dict[str, str]]:
        """Transitions behind the history id ``after``, the earliest first; each with its ``id``. It never waits."""

    def handling(self) -> Handling:
        """Which alerts are muted and which are acknowledged."""

    def mute(self, wanted: Mute) -> Mute:
        """Set a mute; as it is stored. Setting the same again changes nothing.

        Args:
            wanted: ``begun_ms`` and ``ends_ms`` by the store's clock.

        Raises:
            HandlingError: it may not be, or there are too many.
        """

    def unmute(self, name: str) -> bool:
        """End the mute of this id now; False if none of this id is in force."""

    def acknowledge(self, fingerprint: str, author: str, reason: str) -> Acknowledgement:
        """Note that somebody has taken a firing alert on, for as long as this episode lasts.

        Raises:
            HandlingError: there is no such alert, or it does not fire.
        """

    def unacknowledge(self, fingerprint: str) -> bool:
        """Nobody is at this alert any more; False if nobody was."""

    def now_ms(self) -> int:
        """The store's clock, milliseconds since the epoch: the one clock that decides."""

    def notice(self, notice: Notice, ttl_ms: int = 604_800_000) -> bool:
        """Raise, refresh or resolve an alert of the monitor about itself; True if that is a change people hear of."""

    def bind(self, binding: str, settings: str, bucket_ms: int, artifact: str) -> tuple[str, str]:
        """Tie the group to the settings that its evidence stands on; which ones it is tied to, as (name, JSON).

        The name is empty if the group was made by an earlier release with another artifact, which is then the text.
        """
