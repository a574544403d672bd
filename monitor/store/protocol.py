"""What is written to and read from a store, whatever store it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from monitor.messages.record import Partition

CountKey = tuple[str, int, int]
"""``(stream, predicted class, conformal cell)``."""


@dataclass(frozen=True)
class Claim:
    """A partition taken over.

    Attributes:
        epoch: fencing token; a later claim of the same partition has a higher one.
        next: offset to read on from.
        bucket: highest bucket counted so far, -1 for none.
        fresh: nothing was stored before.
    """

    epoch: int
    next: int
    bucket: int
    fresh: bool


@dataclass(frozen=True)
class Progress:
    """What one batch moves a partition by: the records of offsets ``[start, next)`` are in the batch."""

    partition: Partition
    epoch: int
    start: int
    next: int
    bucket: int


@dataclass(frozen=True)
class Example:
    """A sample worth showing to a person."""

    confidence: float
    id: str
    predicted: int
    partition: Partition
    offset: int


@dataclass
class Batch:
    """Everything one batch adds."""

    progress: list[Progress] = field(default_factory=list)
    counts: dict[int, dict[CountKey, int]] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    examples: dict[tuple[int, str], list[Example]] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """How many samples it counts."""
        return sum(sum(cells.values()) for cells in self.counts.values())

    def totals(self) -> dict[CountKey, int]:
        """Counts summed over buckets."""
        summed: dict[CountKey, int] = {}
        for cells in self.counts.values():
            for key, n in cells.items():
                summed[key] = summed.get(key, 0) + n
        return summed

    def moved_past(self, closed: int) -> Batch:
        """The same batch with every bucket up to ``closed`` counted in the next one, which is open."""
        counts: dict[int, dict[CountKey, int]] = {}
        for bucket, cells in self.counts.items():
            target = counts.setdefault(max(bucket, closed + 1), {})
            for key, n in cells.items():
                target[key] = target.get(key, 0) + n
        examples: dict[tuple[int, str], list[Example]] = {}
        for (bucket, stream), found in self.examples.items():
            examples.setdefault((max(bucket, closed + 1), stream), []).extend(found)
        progress = [
            Progress(p.partition, p.epoch, p.start, p.next, max(p.bucket, closed + 1) if counts else p.bucket)
            for p in self.progress
        ]
        return Batch(progress, counts, self.rejected, examples)


@dataclass(frozen=True)
class Reply:
    """The store's answer to a batch.

    ``ok``: written. ``repeat``: it was written before. ``closed``: a bucket up to ``closed`` is folded already; move
    past it and send again. ``refused``: nothing was written, ``partition`` must be claimed again (``why``: ``fenced``
    by a newer owner, ``moved``, or ``wiped``).
    """

    status: Literal["ok", "repeat", "closed", "refused"]
    closed: int = -1
    partition: Partition | None = None
    why: str = ""


@dataclass(frozen=True)
class PartitionState:
    """A partition as stored."""

    epoch: int
    next: int
    bucket: int
    at_ms: int


@dataclass(frozen=True)
class AlertWrite:
    """An alert's new state; ``fields`` are text, as they will be read.

    ``event`` False only refreshes the numbers: no entry in the history, no wake-up.
    """

    fingerprint: str
    fields: Mapping[str, str]
    ttl_ms: int
    now_ms: int
    event: bool = True


@dataclass(frozen=True)
class Fold:
    """What folding one bucket changed.

    ``bucket`` is ``None`` for what no bucket caused (silence); then ``guard`` is the state entry that must still hold
    what was read, as ``(key, text)``, so that a retry is no second transition.
    """

    token: int
    bucket: int | None
    folded: int
    state: Mapping[str, str]
    alerts: Iterable[AlertWrite] = ()
    streams: Iterable[str] = ()
    guard: tuple[str, str] | None = None


@dataclass(frozen=True)
class Notice:
    """An alert of the monitor about itself: that it cannot see, or has missed something.

    Attributes:
        kind: ``stalled`` (it cannot tell whether inputs surge), ``gap`` (records were lost before they were counted),
            ``bad-records`` (too many records cannot be scored), ``streams`` (the limit of streams is reached) or
            ``epoch`` (the evidence was started afresh).
        subject: what it is about, such as ``group``, ``redis`` or ``embeddings/3``. Kind and subject are its identity.
        firing: False resolves it, or does nothing if it does not fire.
        severity: ``warning`` or ``critical``.
        summary: one whole sentence for people, with what to do.
        details: names and values that are worth knowing, both text.
    """

    kind: str
    subject: str
    firing: bool
    severity: str = "warning"
    summary: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self, group: str) -> str:
        """The same for every episode of this notice in this group."""
        return hashlib.sha256(f"{group}\0notice\0{self.kind}\0{self.subject}".encode()).hexdigest()[:16]

    def fields(self) -> dict[str, str]:
        """What is kept of it, beside its status and times. Fields that only alerts on inputs have are empty."""
        empty = dict.fromkeys(("level", "stream", "evidence", "evidence_needed", "samples", "flagged", "bucket"), "")
        rates = {"rate": "", "rate_low": "", "rate_high": "", "artifact": ""}
        lists = {"classes": "[]", "streams": "[]", "examples": "[]", "offsets": "{}"}
        about = {"kind": self.kind, "subject": self.subject, "severity": self.severity, "summary": self.summary}
        return {**empty, **rates, **lists, **about, "details": json.dumps(dict(self.details), sort_keys=True)}


class Store(Protocol):
    """What the worker and the evaluator need of Redis. Every method may raise ``StoreUnavailableError``."""

    def ping(self) -> None:
        """Raise where it cannot be reached or speaks another schema."""

    def claim(self, first: Mapping[Partition, int], now_ms: int) -> dict[Partition, Claim]:
        """Take partitions over; ``first`` says where to begin where nothing is stored."""

    def commit(self, batch: Batch, now_ms: int) -> Reply:
        """Write counts and offsets together, or nothing."""

    def partitions(self) -> dict[Partition, PartitionState]:
        """Every partition ever claimed."""

    def totals(self) -> dict[CountKey, int]:
        """Samples counted since the beginning."""

    def rejected(self) -> dict[str, int]:
        """Records rejected since the beginning, by reason."""

    def streams(self) -> dict[str, int]:
        """Stream to the time (ms) of its last count."""

    def lease(self, holder: str, ttl_ms: int) -> int:
        """Take, keep or (``ttl_ms`` 0) give back the evaluator's lease; the token, 0 where another holds it."""

    def close(self, token: int, bucket: int) -> tuple[int, int] | None:
        """Close buckets up to ``bucket``; ``(closed, folded)``, ``None`` where the lease is lost."""

    def pending(self, folded: int, closed: int) -> list[int]:
        """Closed buckets that hold counts and are not folded, ascending."""

    def counts(self, bucket: int) -> dict[CountKey, int]:
        """Counts of one bucket."""

    def examples(self, bucket: int, stream: str) -> list[Example]:
        """The most OOD samples of a stream in a bucket, the worst first."""

    def state(self) -> dict[str, str]:
        """The evidence state of every key."""

    def apply(self, fold: Fold) -> str:
        """Write a folded bucket: ``ok``, ``repeat``, or ``refused`` where the lease or the order is lost."""

    def alerts(self) -> list[dict[str, str]]:
        """Current alerts, the latest transition first."""

    def history(self, count: int = 100) -> list[dict[str, str]]:
        """Transitions, the latest first; each with its ``id``."""

    def now_ms(self) -> int:
        """The store's clock, milliseconds since the epoch: the one clock that decides."""

    def notice(self, notice: Notice, ttl_ms: int = 604_800_000) -> bool:
        """Raise, refresh or resolve an alert of the monitor about itself; True if that is a change people hear of."""

    def bind(self, artifact: str) -> str:
        """Record the artifact in use; the one that was recorded before, empty for none."""
