"""What is written to and read from a store, whatever store it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
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
        topic_ids: ids of the topic that the offsets are of, the latest first; empty if none is known.
        skip: offsets ``[from, to)`` of this log that are counted already.
        read, bad: recent records, and those of them that could not be scored, as :class:`Progress` left them.
    """

    epoch: int
    next: int
    bucket: int
    fresh: bool
    topic_ids: tuple[str, ...] = ()
    skip: tuple[int, int] = (0, 0)
    read: float = 0.0
    bad: float = 0.0


@dataclass(frozen=True)
class Move:
    """A partition set to another offset without anything being counted: its log is not the one it was.

    Attributes:
        partition: whose log it is.
        epoch: of the claim; a later owner refuses the move.
        start: where the partition must stand now.
        next: offset to read on from.
        topic_id: of the log that ``next`` is an offset of.
        skip: offsets ``[from, to)`` of that log that are counted already.
    """

    partition: Partition
    epoch: int
    start: int
    next: int
    topic_id: str
    skip: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Progress:
    """What one batch moves a partition by: the records of offsets ``[start, next)`` are in the batch.

    ``read`` and ``bad`` are recent records of the partition and how many of them could not be scored
    (:class:`monitor.counting.bad_share.Share`), kept so that a restart does not forget them.
    """

    partition: Partition
    epoch: int
    start: int
    next: int
    bucket: int
    read: float = 0.0
    bad: float = 0.0


@dataclass(frozen=True)
class Example:
    """A sample worth showing to a person."""

    confidence: float
    id: str
    predicted: int
    partition: Partition
    offset: int


OVERFLOW = "__overflow__"
"""The stream under which samples are counted whose own stream the limit has no room for."""

FORGOTTEN = "__forgotten__"
"""The name under which the totals of streams are kept that were forgotten."""


@dataclass
class Batch:
    """Everything one batch adds.

    Attributes:
        progress: of each partition that has records in it.
        counts: bucket to ``(stream, class, cell)`` to samples.
        rejected: reason to records that cannot be scored.
        examples: bucket and stream to the most OOD samples, the worst first.
        sums: further numbers that are added up in the store for good: ``late`` samples counted in a later bucket than
            their own, ``ahead`` samples whose time lies ahead of the store's clock, ``overflow`` samples counted
            under :data:`OVERFLOW`, ``skipped`` records.
    """

    progress: list[Progress] = field(default_factory=list)
    counts: dict[int, dict[CountKey, int]] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    examples: dict[tuple[int, str], list[Example]] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)

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

    def within(self, first: int, last: int) -> Batch:
        """The same batch with every bucket before ``first`` or after ``last`` counted in that one.

        Samples that are moved later are added to ``late``, samples that are moved earlier to ``ahead``.
        """
        sums = dict(self.sums)
        for bucket, cells in self.counts.items():
            name = "late" if bucket < first else "ahead" if bucket > last else ""
            if name:
                sums[name] = sums.get(name, 0) + sum(cells.values())

        def moved(bucket: int) -> int:
            return min(max(bucket, first), last)

        # A partition keeps its own bucket: it tells whether the partition brings only what is closed already.
        progress = [replace(p, bucket=min(p.bucket, last)) for p in self.progress]
        return self._renamed(moved, lambda stream: stream, progress, sums)

    def overflowed(self, streams: Collection[str]) -> Batch:
        """The same batch with the samples of ``streams`` counted under :data:`OVERFLOW`."""
        moved = sum(n for cells in self.counts.values() for key, n in cells.items() if key[0] in streams)
        sums = {**self.sums, "overflow": self.sums.get("overflow", 0) + moved}
        return self._renamed(
            lambda bucket: bucket, lambda stream: OVERFLOW if stream in streams else stream, self.progress, sums
        )

    def _renamed(
        self,
        bucket_of: Callable[[int], int],
        stream_of: Callable[[str], str],
        progress: list[Progress],
        sums: dict[str, int],
    ) -> Batch:
        counts: dict[int, dict[CountKey, int]] = {}
        for bucket, cells in self.counts.items():
            target = counts.setdefault(bucket_of(bucket), {})
            for (stream, predicted, cell), n in cells.items():
                key = (stream_of(stream), predicted, cell)
                target[key] = target.get(key, 0) + n
        examples: dict[tuple[int, str], list[Example]] = {}
        for (bucket, stream), found in self.examples.items():
            kept = examples.setdefault((bucket_of(bucket), stream_of(stream)), [])
            most = max(len(kept), len(found))
            kept[:] = sorted([*kept, *found], key=lambda e: e.confidence)[:most]
        return Batch(progress, counts, self.rejected, examples, sums)


@dataclass(frozen=True)
class Reply:
    """The store's answer to a batch. Only ``ok`` and ``repeat`` mean that it is written.

    Attributes:
        status: ``ok``: it is written now. ``repeat``: it was written before. ``closed``: buckets up to ``bucket`` take
            no more counts, move past it and send again. ``ahead``: buckets after ``bucket`` lie ahead of the store's
            clock, move to it and send again. ``streams``: there is no room for ``streams``, count them together and
            send again. ``refused``: see ``why``.
        bucket: the last closed one, or the last one allowed.
        streams: that the limit has no room for.
        partition: the one that is refused and must be claimed again.
        why: ``fenced`` by a newer owner, ``moved``, ``wiped``, or ``rebound``: the group has other settings by now.
        now_ms: the store's clock, 0 if it does not say.
    """

    status: Literal["ok", "repeat", "closed", "ahead", "streams", "refused"]
    bucket: int = -1
    streams: tuple[str, ...] = ()
    partition: Partition | None = None
    why: str = ""
    now_ms: int = 0


@dataclass(frozen=True)
class PartitionState:
    """A partition as stored; all times by the store's clock.

    Attributes:
        epoch: fencing token of its owner.
        next: offset to count next.
        bucket: highest bucket counted, -1 for none.
        at_ms: when it last moved.
        seen_ms: when its owner last reported it, 0 for never.
        lag: records behind its end, as its owner last reported.
        behind_ms: since when its owner has been behind by more than a batch or two, 0 if it is not.
        late_ms: since when it has brought only records of buckets that are closed already, 0 if it does not.
    """

    epoch: int
    next: int
    bucket: int
    at_ms: int
    seen_ms: int = 0
    lag: int = 0
    behind_ms: int = 0
    late_ms: int = 0


@dataclass(frozen=True)
class Seen:
    """What a worker reports of one of its partitions.

    Attributes:
        epoch: the fencing token of its claim.
        lag: records between where it stands and the end of the log.
        behind: whether that is more than it takes in the next batch or two.
    """

    epoch: int
    lag: int
    behind: bool


@dataclass(frozen=True)
class Health:
    """How the group is doing, for whoever watches it; times in milliseconds by the store's clock.

    Attributes:
        now_ms: the store's clock.
        pending: buckets that hold counts and are not judged yet.
        streams: how many are known.
        workers: name to when it last reported and what it said (JSON).
        sums: ``late``, ``ahead``, ``overflow``, ``skipped`` since the beginning.
        times: of what happened so far: ``pending_since`` (nothing pending has been judged since), ``folded_at``,
            ``overflow_at``, ``canary_first``, ``canary_sent``, ``canary_seen``.
    """

    now_ms: int
    pending: int = 0
    streams: int = 0
    workers: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    sums: Mapping[str, int] = field(default_factory=dict)
    times: Mapping[str, int] = field(default_factory=dict)


SUMS = ("late", "ahead", "overflow", "skipped")
TIMES = ("pending_since", "folded_at", "overflow_at", "canary_first", "canary_sent", "canary_seen")


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
    what was read, as ``(key, text)``, so that a retry is no second transition. ``remove`` are state entries to delete,
    ``marks`` fields of the group's meta hash to set, an empty text meaning the store's clock.
    """

    token: int
    bucket: int | None
    folded: int
    state: Mapping[str, str]
    alerts: Iterable[AlertWrite] = ()
    streams: Iterable[str] = ()
    guard: tuple[str, str] | None = None
    remove: Iterable[str] = ()
    marks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Promotion:
    """A new start of the evidence under other settings.

    Attributes:
        binding: name of the settings, and ``settings`` themselves as JSON text.
        bucket_ms: the new width of a bucket.
        factor: old width of a bucket over the new one.
        header: the evidence's header as it was read; if it has changed since, nothing is done.
        alerts: those that fire, as they are resolved.
    """

    binding: str
    settings: str
    bucket_ms: int
    factor: float
    header: str
    alerts: Iterable[AlertWrite] = ()


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
        """Take, keep or (``ttl_ms`` 0) give back the evaluator's lease; the token, 0 where another holds it."""

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

    def bind(self, binding: str, settings: str, bucket_ms: int, artifact: str) -> tuple[str, str]:
        """Tie the group to the settings that its evidence stands on; which ones it is tied to, as (name, JSON).

        The name is empty if the group was made by an earlier release with another artifact, which is then the text.
        """
