"""The worker: it polls, decodes, scores and counts, with one round trip to the store for each batch.

Scoring has a thread of its own, so the next batch is scored while the last one is still being counted. Everything else
happens in one thread. The order of the steps makes the counts exact. A batch is scored, its dead letters are
acknowledged, and one script writes counts and next offsets. Only then is it decided which records of the next batch are
counted. If something fails before that script, the records are read again. If something fails after it, a repeat is
refused. :mod:`monitor.counting.ownership` decides who owns a partition and at which offset it continues, and
:mod:`monitor.counting.writing` handles the store's answer to a batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from monitor.counting.bad_share import BadShares
from monitor.counting.counter import Counter, Owned, Read
from monitor.counting.heartbeat import Heartbeat
from monitor.counting.models import Models
from monitor.counting.observing import Observer, Unobserved
from monitor.counting.ownership import Ownership
from monitor.counting.polling import Polling
from monitor.counting.scoring import Scored, ScoringThread
from monitor.counting.settings import WorkerSettings
from monitor.counting.trouble import Trouble
from monitor.counting.writing import BatchWriter
from monitor.errors import BrokerUnavailableError, StoreUnavailableError
from monitor.messages.record import Partition, Record
from monitor.messages.times import now_ms
from monitor.sources.deadletters import DeadLetters
from monitor.sources.protocol import Source
from monitor.store.protocol import Store
from monitor.store.verdicts import Notice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _InHand:
    """A batch that is being scored. ``began`` is when it was polled."""

    read: Read
    scored: Future[Scored]
    began: float


class Worker:
    """Counts the records of a source into a store.

    Args:
        source: records are read from it.
        store: counts and offsets are written to it.
        models: the contracts that records are checked against, and the scorers.
        dead_letters: takes records that cannot be scored.
        settings: intervals and limits.
        clock: gives milliseconds since the epoch.
        wait: pauses between attempts while something cannot be reached; called with seconds.
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
        clock: Callable[[], int] = now_ms,
        wait: Callable[[float], None] = time.sleep,
        observer: Observer | None = None,
        name: str = "worker",
    ) -> None:
        self._source, self._store, self._dead_letters = source, store, dead_letters
        s = settings or WorkerSettings()
        self._clock, self._wait = clock, wait
        self._observer: Observer = observer or Unobserved()
        self._polling = Polling(source, self._observer, s.poll_ms, s.max_records, wait)
        self._ownership = Ownership(source, store, s.start)
        self._counter = Counter(models, s.bucket_ms, s.examples, s.bad_window)
        self._scoring = ScoringThread(self._score)
        self._writer = BatchWriter(store, self._ownership)
        self._shares = BadShares(s.max_bad_share, s.bad_window, s.at_bad_share, s.dead_letters)
        self._heartbeat = Heartbeat(store, name, s.max_records, clock)
        self._in_hand: _InHand | None = None
        self._away_why = ""  # why the store cannot be reached; empty if it can
        self._trouble = Trouble()

    @property
    def owned(self) -> Mapping[Partition, Owned]:
        """The partitions that this worker has claimed, with their positions."""
        return self._ownership.owned

    @property
    def trouble(self) -> str:
        """The trouble that keeps this worker from its records now, for people; "" if there is none.

        Any thread may read it.

        If one topic cannot be read and others can, this stays empty: the worker does what it can, and a restart does
        not help.
        """
        reading = "" if self._polling.trouble.topics else self._polling.trouble.what
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
            scored = self._in_hand.scored.done if self._in_hand else None
            polled = self._polling.read(len(self.owned), scored, away=bool(self._away_why))
            if self._away_why:
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
            # Records that were polled but not counted must be read again.
            self._ownership.clear()
            self._in_hand = None
            self._trouble.begins(str(error))
            self._polling.pause_after(error)
        return 0

    def close(self) -> None:
        """Finish the current batch and leave the group. The next worker reads what is not in the store."""
        try:
            self._finish()
        except (StoreUnavailableError, BrokerUnavailableError) as error:
            log.warning("%s; the current batch is left to the next worker", error)
        finally:
            self._scoring.close()
            offsets = {p: o.next for p, o in self._ownership.owned.items()}
            if offsets:
                self._source.commit(offsets)
            self._source.close()
            self._dead_letters.close()

    def _go_away(self, error: Exception) -> None:
        """Stop fetching but keep polling, so that this worker stays in the group."""
        if not self._away_why:
            log.warning("%s; partitions are paused, nothing is lost", error)
            self._away_why = str(error) or "Redis cannot be reached"
            self._observer.store_away(True)
        # The store may come back older than this batch, and is asked where to go on: what is in hand is read again.
        self._in_hand = None
        self._source.pause(self._source.assigned())
        self._wait(0.2)

    def _try_again(self) -> int:
        """Tries the store again while it cannot be reached.

        Records polled meanwhile are read again after the next claim.
        """
        self._source.pause(self._source.assigned())
        self._store.ping()
        self._away_why = ""
        log.warning("the store answers again, and counting continues")
        self._observer.store_away(False)
        # The store may have come back with older data, or empty, so ask it for the offsets.
        self._ownership.clear()
        self._source.resume(self._source.assigned())
        self._ownership.accepted({})
        return 0

    def _report(self) -> None:
        """Report once a second to the store, and resolve alerts about partitions that fell quiet."""
        if not self._heartbeat.is_due:
            return
        reading = self._polling.trouble
        self._heartbeat.beat(self.owned, self._source.end_known(), reading if reading.what else self._trouble)
        self._tell(self._shares.quiet({p: o.epoch for p, o in self.owned.items()}))

    def _tell(self, notices: list[Notice]) -> None:
        for notice in notices:
            self._store.notice(notice)
            self._shares.note_stored(notice)

    # -- one batch -------------------------------------------------------------------------------------------------

    def _begun(self, records: dict[Partition, list[Record]]) -> _InHand | None:
        """Read records and start scoring them. Nothing is stored yet, so the result can still be dropped."""
        if not records:
            return None
        began = time.perf_counter()
        read = self._counter.read(records, self._clock() + self._heartbeat.store_leads_ms)
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
        written = self._writer.write(batch)
        self._observer.took("commit", time.perf_counter() - began)
        if written is None:
            return 0
        self._ownership.advance(written.progress)
        self._trouble.is_over()
        self._source.commit({p.partition: p.next for p in written.progress})
        self._observer.counted(batch.samples, written.rejected, time.perf_counter() - hand.began)
        self._tell(self._shares.notices(written.progress, rejected))
        return taken
