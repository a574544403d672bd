"""The protocol of a store, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from monitor.messages.record import Partition
from monitor.store.counts import Batch, CountKey, Example, Reply
from monitor.store.handling import Acknowledgement, Handling, Mute
from monitor.store.partitions import Claim, Move, PartitionState, Seen
from monitor.store.verdicts import Fold, Health, Notice, Promotion


class Store(Protocol):
    """The interface of the store that the worker and the evaluator use.

    Every method may raise ``StoreUnavailableError``.
    """

    def ping(self) -> None:
        """Raise if it cannot be reached or speaks another schema."""

    def claim(self, first: Mapping[Partition, int], topic_id: str = "", partitions: int = 0) -> dict[Partition, Claim]:
        """Claim partitions.

        Args:
            first: the offset to begin at if nothing is stored.
            topic_id: noted for partitions without stored state.
            partitions: how many partitions the topic has; noted if the group has none of this topic yet.
        """

    def move(self, move: Move) -> bool:
        """Set a partition to another offset.

        Returns False if another worker has it, or if its stored offset differs.
        """

    def note_topic(self, topic: str, topic_id: str, partitions: int) -> None:
        """Note how many partitions the topic with this id has.

        Those that only an earlier topic of the same name had are gone until somebody claims them again.
        """

    def partitions_at_start(self, topic: str) -> int:
        """Return how many partitions the topic had when this group first claimed one; 0 if it never did."""

    def commit(self, batch: Batch) -> Reply:
        """Write counts and offsets together, or nothing."""

    def report(self, worker: str, entry: str, partitions: Mapping[Partition, Seen]) -> int:
        """Report that a worker is alive, and how far its partitions are.

        Returns the store's clock, or 0 if the group has other settings by now.
        """

    def partitions(self) -> dict[Partition, PartitionState]:
        """Return the state of every partition that was ever claimed and is still there."""

    def totals(self) -> dict[CountKey, int]:
        """Return the samples counted since the beginning."""

    def rejected(self) -> dict[str, int]:
        """Return the number of records rejected since the beginning, by reason."""

    def streams(self) -> dict[str, int]:
        """Return the time (ms) of the last count of each stream."""

    def lease(self, holder: str, ttl_ms: int) -> int:
        """Take, renew or (``ttl_ms`` 0) release the evaluator's lease. Returns the token; 0 if another holds it."""

    def leads(self, before_ms: int) -> tuple[int, int]:
        """Return the highest open bucket reached by ``before_ms``, and the highest reached at all; -1 for none."""

    def health(self) -> Health:
        """Return the health of the group."""

    def retire(self, token: int, streams: Iterable[str], before_ms: int, asked: Iterable[str]) -> list[str] | None:
        """Forget streams that sent nothing after ``before_ms`` or that are ``asked`` for, and return their names.

        None if the lease is lost.
        """

    def ask_to_retire(self, stream: str) -> None:
        """Ask the evaluator to forget a stream."""

    def asked_to_retire(self) -> set[str]:
        """Return the streams that somebody asked to forget."""

    def promote(self, promotion: Promotion) -> tuple[int, int] | None:
        """Start the evidence afresh. Returns (new epoch, buckets dropped); None if the evidence changed meanwhile."""

    def canary_stream(self, *, create: bool) -> str:
        """Return the name of the canary's stream, which nobody can guess; empty if there is none and none is made."""

    def mark(self, name: str) -> None:
        """Note the store's time under a name in the group's meta hash."""

    def close(self, token: int, bucket: int) -> tuple[int, int] | None:
        """Close the buckets up to ``bucket``. Returns ``(closed, folded)``; ``None`` if the lease is lost."""

    def pending(self, folded: int, closed: int) -> list[int]:
        """Return the closed buckets that hold counts and are not judged yet, in ascending order."""

    def counts(self, bucket: int) -> dict[CountKey, int]:
        """Return the counts of one bucket."""

    def examples(self, bucket: int, stream: str) -> list[Example]:
        """Return the most OOD samples of a stream in a bucket, the most OOD first."""

    def state(self) -> dict[str, str]:
        """Return the evidence state of every key."""

    def apply(self, fold: Fold) -> str:
        """Write a judged bucket. Returns ``ok``, ``repeat``, or ``refused`` if the lease or the order was lost."""

    def windows(self) -> dict[str, str]:
        """Return the begin of each stream's drift window, as :meth:`keep_windows` stored it."""

    def keep_windows(self, begun: Mapping[str, str], gone: Iterable[str] = ()) -> None:
        """Store the begins of drift windows by stream, and forget those of streams that are gone."""

    def alerts(self) -> list[dict[str, str]]:
        """Return the current alerts, the latest transition first."""

    def alert(self, fingerprint: str) -> dict[str, str]:
        """Return the current alert with this fingerprint; empty if there is none."""

    def history(self, count: int = 100) -> list[dict[str, str]]:
        """Return the transitions, the latest first, each with its ``id``."""

    def since(self, after: str, count: int = 100) -> list[dict[str, str]]:
        """Return the transitions after the history id ``after``, the earliest first, each with its ``id``.

        Never waits.
        """

    def handling(self) -> Handling:
        """Return which alerts are muted and which are acknowledged."""

    def mute(self, wanted: Mute) -> Mute:
        """Set a mute, and return it as it is stored. Setting the same mute again changes nothing.

        Args:
            wanted: ``begun_ms`` and ``ends_ms`` by the store's clock.

        Raises:
            HandlingError: the mute is not allowed, or there are too many.
        """

    def unmute(self, name: str) -> bool:
        """End the mute with this id now. Returns False if no such mute is in force."""

    def acknowledge(self, fingerprint: str, author: str, reason: str) -> Acknowledgement:
        """Note that somebody takes care of a firing alert. This holds until the alert is resolved.

        Raises:
            HandlingError: there is no such alert, or it is not firing.
        """

    def unacknowledge(self, fingerprint: str) -> bool:
        """Withdraw the acknowledgement of an alert. Returns False if there was none."""

    def now_ms(self) -> int:
        """Return the time by the store's clock in milliseconds since the epoch. All processes go by this clock."""

    def notice(self, notice: Notice, ttl_ms: int = 604_800_000) -> bool:
        """Raise, refresh or resolve an alert of the monitor about itself. Returns True if it was raised or resolved."""

    def bind(self, binding: str, settings: str, bucket_ms: int, artifact: str) -> tuple[str, str]:
        """Bind the group to the settings its evidence is collected under.

        Returns those it is bound to, as (name, JSON).

        The name is empty if the group was made by an earlier release with another artifact, which is then the text.
        """
