"""Finds out whether a partition's log is still the one its stored offset belongs to, and where to continue if not."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.messages.record import Partition
from monitor.sources.protocol import Log
from monitor.store.partitions import Claim
from monitor.store.verdicts import Notice


@dataclass(frozen=True)
class Gap:
    """Records that were lost, or may have been lost, before they were counted.

    Attributes:
        partition: the partition.
        why: ``expired`` (retention overtook the worker), ``remade`` (the topic was deleted and created again, or
            restored) or ``cut-off`` (the end of the log is gone).
        start: the offset that was expected.
        next: the offset to continue at.
        least: how many records are certainly lost.
        known: whether no others are lost.
        doubtful: how many records were counted from either the old log or the new one; nobody can tell which.
    """

    partition: Partition
    why: str
    start: int
    next: int
    least: int
    known: bool
    doubtful: int = 0

    @property
    def lost(self) -> str:
        """How many records were lost, as text."""
        if self.known:
            return str(self.least)
        return f"unknown, at least {self.least}" if self.least else "unknown"

    def sentence(self) -> str:
        """Describe what happened, what follows and what to do, for people."""
        p, doubt = self.partition, ""
        if self.doubtful:
            doubt = f" Up to {self.doubtful} records around the change may be missing from the counts."
        if self.why == "expired":
            return (
                f"{self.least} records of {p} are lost: offsets {self.start} to {self.next - 1} expired before they "
                f"were counted (retention); counting goes on from offset {self.next}, the earliest that is retained. A "
                "surge in them went unnoticed. Start more workers, or raise retention.ms of the topic."
            )
        if self.why == "remade":
            return (
                f"Topic {p.topic!r} was deleted and made again, or restored: partition {p} stood at offset "
                f"{self.start} of the old log, and counting goes on from offset {self.next} of the new one, its "
                f"earliest record. Records lost with the old topic: {self.lost}.{doubt} If nobody meant "
                "to do this, find out who did."
            )
        return (
            f"The log of {p} was cut off: it ends at offset {self.next}, although offsets up to {self.start} were "
            f"counted. Counting goes on from offset {self.next}; records lost: {self.lost}. Look for a broker that "
            "lost its disk, or an unclean leader election (unclean.leader.election.enable)."
        )

    def notice(self) -> Notice:
        """Return the gap as an alert."""
        details = {"lost": self.lost, "from": str(self.start), "to": str(self.next), "why": self.why}
        severity = "warning" if self.why == "remade" and not self.least else "critical"
        return Notice("gap", str(self.partition), True, severity, self.sentence(), details)


def is_stale(claim: Claim, log: Log) -> bool:
    """Whether the broker's metadata are old: they still describe a topic that this partition no longer belongs to."""
    return bool(log.topic_id) and log.topic_id in claim.topic_ids[1:]


def find_gap(p: Partition, claim: Claim, log: Log, *, came_from_below: bool) -> Gap | None:
    """Compare the stored offset with the broker's log. Returns ``None`` if the offset belongs to this log.

    Args:
        p: the partition.
        claim: the store's answer to its claim.
        log: must have been asked for after the claim, since others may count until then.
        came_from_below: whether records below the stored offset arrived without a seek. If a broker has no ids, this is
            needed before it is believed that the log ends below the stored offset.
    """
    stored = claim.topic_ids[0] if claim.topic_ids else ""
    if stored and log.topic_id and stored != log.topic_id:
        return Gap(p, "remade", claim.next, log.first, log.first, known=False)
    if claim.next > log.end >= 0 and (log.topic_id or came_from_below):
        if stored and stored == log.topic_id:
            return Gap(p, "cut-off", claim.next, log.end, 0, known=False)
        return Gap(p, "remade", claim.next, log.first, log.first, known=False)
    low, high = claim.skip
    due = high if low <= claim.next < high else claim.next
    if due < log.first:
        known_skip = max(0, min(high, log.first) - max(low, due))
        return Gap(p, "expired", due, log.first, log.first - due - known_skip, known=True)
    return None
