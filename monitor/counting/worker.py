"""The worker: it polls, decodes, scores and counts, with one round trip to the store for each batch.

Scoring has a thread of its own, so the next batch is scored while the last one is still being counted. Everything else
happens in one thread. The order of the steps makes the counts exact: a batch is scored, its dead letters are
acknowledged, counts and next offsets are written by one script, and only then is it decided which records of the next
batch are to be counted. If something fails before that script, the records are read again. If something fails after it,
a repeat is refused. :mod:`monitor.counting.ownership` decides who owns a partition and at which offset it continues.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from monitor.counting.bad_share import BadShares
from monitor.counting.counter import Counter, Owned, Read
from monitor.counting.models import Models
from monitor.counting.observing import Observer, Unobserved
from monitor.counting.ownership import Ownership
from monitor.counting.scoring import Scored, ScoringThread
from monitor.errors import BrokerUnavailableError, ReboundError, StoreUnavailableError
from monitor.messages.record import Partition, Record
from monitor.sources.deadletters import DeadLetters
from monitor.sources.protocol import Source
from monitor.store.counts import Batch, Seen
from monitor.store.protocol import Store
from monitor.store.verdicts import Notice

log = logging.getLogger(__name__)

SLICE_MS = 8
"""The longest poll (ms) while a batch is being scored, since scoring may end at any moment."""

LAST_BUCKET = 2**62

REPORT_SECONDS = 1.0
"""How often (in seconds) a worker reports how far its partitions are."""

REBOUND = (
    "this group was given other settings or another artifact while this process ran, and nothing more is written: "
    "restart it with the settings that the group has now"
)

MOVED = {
    "late": "were older than what has been judged and count in the bucket that is open now",
    "ahead": "were stamped later than the clock of Redis and count in the bucket of the present",
    "overflow": "are of streams beyond streams.limit and count together as one stream",
}
"""What happened to samples that were not counted in their own bucket or stream."""


@dataclass(frozen=True)
class WorkerSettings:
    """Intervals and limits of a worker. Times are in milliseconds."""

    bucket_ms: int = 1000
    max_records: int = 500
    poll_ms: int = 200
    start: str = "latest"
    examples: int = 5
    max_bad_share: float = 0.1
    bad_window: int = 2000
    at_bad_share: Literal["continue", "stop"] = "continue"
    dead_letters: str = ""


@dataclass(frozen=True)
class _InHand:
    """A batch that is being scored. ``began`` is when it was polled."""

    read: Read
    scored: Future[Scored]
    began: float


class Trouble:
    """What keeps a worker from its records, and since when. It is reported if it lasts.

    Attributes:
        what: a text for people; empty if nothing is wrong.
        topics: the topics it is about, if others can be read; empty if it is about everything.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self.what, self._since = monotonic, "", 0.0
        self.topics: Sequence[str] = ()

    def begins(self, what: str, topics: Sequence[str] = ()) -> None:
        """Note that something is wrong. Its duration counts from the first time.

        Args:
            what: one sentence on what is wrong.
            topics: the topics it is about, if others can be read; empty if it is about everything.
        """
        self._since = self._since if self.what else self._monotonic()
        self.what, self.topics = what, topics

    def is_over(self) -> None:
        """Note that a batch was counted, so nothing is wrong any more."""
        self.what = ""

    def report(self) -> dict[str, Any]:
        """Return ``trouble`` and ``trouble_for_ms``, and ``topics`` if it is only about some of them."""
        lasts = round(1000 * (self._monotonic() - self._since)) if self.what else 0
        about = {"topics": list(self.topics)} if self.what and self.topics else {}
        return {"trouble": self.what, "trouble_for_ms": lasts, **about}


class Worker:
    """Counts the records of a source into a store.

    Args:
        source: records are read from it.
        store: counts and offsets are written to it.
        models: the contracts that records are checked against, and the scorers.
        dead_letters: takes records that cannot be scored.
        settings: intervals and limits.
        clock: gives milliseconds since the epoch.
        wait: pauses between attempts while something is away; called with seconds.
        observer: called for each batch.
        name: the name of this worker in reports. Each process needs its own.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        models: Models,
        dead_letters: DeadLetters,
        settings: WorkerSettings | None = None,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        wait: Callable[[float], None] = time.sleep,
        observer: Observer | None = None,
        name: str = "worker",
    ) -> None:
        self._source, self._store, self._dead_letters = source, store, dead_letters
        self._settings = settings or WorkerSettings()
        s = self._settings
        self._counter = Counter(models, s.bucket_ms, s.examples, s.bad_window)
        self._clock, self._wait, self._name = clock, wait, name
        self._observer: Observer = observer or Unobserved()
        self._ownership = Ownership(source, store, self._settings.start)
        self._scoring = ScoringThread(self._score)
        self._in_hand: _InHand | None = None
        self._away, self._away_why = False, ""
        self._moved: dict[str, int] = {}
        self._moved_at = self._warned_at = -60.0
        self._reported = -REPORT_SECONDS
        self._trouble, self._reading = Trouble(), Trouble()
        self._shares = BadShares(s.max_bad_share, s.bad_window, s.at_bad_share, s.dead_letters)
        self._store_leads = 0  # milliseconds by which the store's clock is ahead of this one

    @property
    def owned(self) -> Mapping[Partition, Owned]:
        """The partitions that this worker has claimed, with their positions."""
        return self._ownership.owned

    @property
    def trouble(self) -> str:
        """What keeps this worker from its records now, for people; empty if nothing does. Any thread may read it.

        If one topic cannot be read and others can, this stays empty: the worker does what it can, and a restart does
        not help.
        """
        reading = "" if self._reading.topics else self._reading.what
        return self._away_why or reading or self._trouble.what

    # -- the loop --------------------------------------------------------------------------------------------------

    def step(self) -> int:
        """Do one round: poll, finish the current batch, begin the next. Returns how many records were handled.

        Raises:
            BadShareError: too many records cannot be scored.
            BrokerError, StoreError: an error that trying again does not help.
        """
        try:
            self._report()
            polled = self._read()
            if self._away:
                return self._try_again()
            ahead = self._begun(polled)  # scored while the batch in hand is counted
            done = self._finish()
            due = self._ownership.accepted(polled)
            self._in_hand = ahead if due == polled else self._begun(due)
            self._come_back()
            return done
        except StoreUnavailableError as error:
            self._go_away(error)
        except BrokerUnavailableError as error:
            # What was polled and not counted must be read again.
            self._ownership.clear()
            self._in_hand = None
            self._warn(error)
            self._trouble.begins(str(error))
            self._wait(0.5)
        return 0

    def close(self) -> None:
        """Finish the current batch and leave the group. The next worker reads what is not in the store."""
        try:
            self._finish()
        except (StoreUnavailableError, BrokerUnavailableError) as error:
            log.warning("%s; the batch in hand is left to the next worker", error)
        finally:
            self._scoring.close()
            offsets = {p: o.next for p, o in self._ownership.owned.items()}
            if offsets:
                self._source.commit(offsets)
            self._source.close()
            self._dead_letters.close()

    def _read(self) -> dict[Partition, list[Record]]:
        """Return the next records, and note for the report whether they can be read at all."""
        began = time.perf_counter()
        try:
            polled = self._poll()
        except BrokerUnavailableError as error:
            self._observer.polled(False, len(self._ownership.owned))
            self._reading.begins(self._source.trouble() or str(error))
            self._warn(error)
            self._wait(0.5)
            return {}
        if trouble := self._source.trouble():
            self._reading.begins(trouble, self._source.unreadable())
        else:
            self._reading.is_over()
        self._observer.took("poll", time.perf_counter() - began)
        unreadable = self._source.unreadable()
        self._observer.polled(not trouble or bool(unreadable), len(self._ownership.owned))
        self._observer.unreadable(unreadable)
        return polled

    def _warn(self, error: Exception) -> None:
        """Log a warning at most once a minute. The source logs its own trouble."""
        if not self._source.trouble() and time.monotonic() - self._warned_at > 60:
            self._warned_at = time.monotonic()
            log.warning("%s; this is tried again twice a second, and said once a minute", error)

    def _poll(self) -> dict[Partition, list[Record]]:
        """Poll the next records. While a batch is being scored, poll no longer than that takes."""
        s = self._settings
        if self._in_hand is None or self._away:
            return self._source.poll(0 if self._away else s.poll_ms, s.max_records)
        slice_ms, polled = 0, self._source.poll(0, s.max_records)
        while not polled and not self._in_hand.scored.done():
            slice_ms = min(2 * slice_ms + 1, SLICE_MS)
            polled = self._source.poll(slice_ms, s.max_records)
        return polled

    def _go_away(self, error: Exception) -> None:
        """Stop fetching but keep polling, so that this worker stays in the group."""
        if not self._away:
            log.warning("%s; partitions are paused, nothing is lost", error)
            self._away, self._away_why = True, str(error) or "Redis cannot be reached"
            self._observer.store_away(True)
        self._source.pause(self._source.assigned())
        self._wait(0.2)

    def _try_again(self) -> int:
        """While the store is away, try it again. What was polled meanwhile is read again after the next claim."""
        self._source.pause(self._source.assigned())
        self._store.ping()
        self._away, self._away_why = False, ""
        log.warning("the store answers again; carrying on")
        self._observer.store_away(False)
        # The store may have come back older, or empty: ask it where to go on.
        self._ownership.clear()
        self._source.resume(self._source.assigned())
        self._ownership.accepted({})
        return 0

    def _report(self) -> None:
        """Report once a second that this worker is alive, and how far behind its partitions are."""
        if time.monotonic() - self._reported < REPORT_SECONDS:
            return
        self._reported = time.monotonic()
        ends, most = self._source.end_known(), 2 * self._settings.max_records
        seen = {
            p: Seen(o.epoch, lag := max(0, ends[p] - o.next) if p in ends else -1, lag > most)
            for p, o in self._ownership.owned.items()
        }
        trouble = self._reading.report() if self._reading.report()["trouble"] else self._trouble.report()
        now = self._store.report(self._name, json.dumps({"partitions": len(seen), **trouble}), seen)
        if not now:
            raise ReboundError(REBOUND)
        self._store_leads = now - self._clock()
        self._tell(self._shares.quiet({p: o.epoch for p, o in self._ownership.owned.items()}))

    def _tell(self, notices: list[Notice]) -> None:
        for notice in notices:
            self._store.notice(notice)
            self._shares.told(notice)

    # -- one batch -------------------------------------------------------------------------------------------------

    def _begun(self, records: dict[Partition, list[Record]]) -> _InHand | None:
        """Read records and start scoring them. Nothing is stored yet, so the result can still be dropped."""
        if not records:
            return None
        began = time.perf_counter()
        read = self._counter.read(records, self._clock() + self._store_leads)
        self._observer.took("decode", time.perf_counter() - began)
        return _InHand(read, self._scoring.begin(read), began)

    def _score(self, read: Read) -> Scored:
        """Score a batch, in the scoring thread."""
        began = time.perf_counter()
        scored = self._counter.score(read)
        self._observer.took("score", time.perf_counter() - began)
        self._observer.scored(scored)
        return scored

    def _come_back(self) -> None:
        """Seek back to what the current batch had no room for."""
        for p, offset in self._in_hand.read.left.items() if self._in_hand else ():
            self._source.seek(p, offset)

    def _finish(self) -> int:
        """Count the current batch, and return how many records it had."""
        hand, self._in_hand = self._in_hand, None
        if hand is None:
            return 0
        records = hand.read.records
        batch, rejected = self._counter.count(hand.read, hand.scored.result(), self._ownership.owned)
        taken = sum(map(len, records.values()))
        self._shares.check(batch.progress)
        if rejected:
            self._dead_letters.send(rejected)
        began = time.perf_counter()
        written = self._commit(batch)
        self._observer.took("commit", time.perf_counter() - began)
        if written is None:
            return 0
        self._ownership.advance(written.progress)
        self._trouble.is_over()
        self._source.commit({p.partition: p.next for p in written.progress})
        self._observer.counted(batch.samples, written.rejected, time.perf_counter() - hand.began)
        self._tell(self._shares.notices(written.progress, rejected))
        return taken

    def _commit(self, batch: Batch) -> Batch | None:
        """Write the batch. Returns ``None`` if the store refused a partition, which is then claimed again."""
        while True:
            reply = self._store.commit(batch)
            if reply.status == "closed":
                batch = batch.within(reply.bucket + 1, LAST_BUCKET)
            elif reply.status == "ahead":
                batch = batch.within(-1, reply.bucket)
            elif reply.status == "streams":
                batch = batch.overflowed(frozenset(reply.streams))
            elif reply.why == "rebound":
                raise ReboundError(REBOUND)
            elif reply.status == "refused":
                log.warning(
                    "%s: Redis refused a batch (%s); the partition is claimed again", reply.partition, reply.why
                )
                self._ownership.give_up(batch.progress)
                return None
            else:
                self._say_what_was_moved(batch)
                return batch

    def _say_what_was_moved(self, batch: Batch) -> None:
        """Log, at most once a minute, how many samples were not counted in their own bucket or stream."""
        for name, n in batch.sums.items():
            if name in MOVED:
                self._moved[name] = self._moved.get(name, 0) + n
        if self._moved and time.monotonic() - self._moved_at > 60:
            partitions = ", ".join(sorted(str(p.partition) for p in batch.progress))
            for name, n in self._moved.items():
                log.warning("%d samples %s (now in %s)", n, MOVED[name], partitions)
            self._moved, self._moved_at = {}, time.monotonic()


def now_ms() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
