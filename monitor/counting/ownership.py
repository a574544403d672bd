"""Keeps track of the partitions this worker has claimed, and of the next offset of each. The store decides both.

A newly assigned partition is claimed in the store and positioned at the stored offset before any of its records are
used. If its log cannot be the one that the stored offset belongs to, a gap is reported, and counting continues at the
best possible offset. If the broker cannot answer about a partition, it is claimed later; the others continue.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from monitor.counting.bad_share import Share
from monitor.counting.certainty import Certainty
from monitor.counting.counter import Owned
from monitor.counting.gaps import Gap, find_gap, is_stale
from monitor.errors import BrokerUnavailableError
from monitor.messages.record import Partition, Record
from monitor.sources.protocol import Log, Sight, Source
from monitor.store.partitions import Claim, Move, Progress
from monitor.store.protocol import Store

log = logging.getLogger(__name__)

RETRY_FACTOR, RETRY_SECONDS = 10, 5.0
"""After a failed claim, wait this many times as long as it took, but no longer than ``RETRY_SECONDS``.

So the partitions that can be read lose at most a tenth of their time to those that cannot.
"""

UNSEEN = Sight()
"""Stands for a topic that the broker has not described yet."""

QUIET_SECONDS = 5.0
"""If a partition had no records for this many seconds, it is compared with the broker's view of its log."""


class Ownership:
    """The partitions that one worker has claimed.

    Args:
        source: says which partitions are assigned, and is positioned by this class.
        store: partitions are claimed in it.
        start: if nothing is stored, ``latest`` begins at the end of the log, anything else at its beginning.
        clock: gives seconds of the clock that the source uses for ``asked_at``.
    """

    def __init__(self, source: Source, store: Store, start: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._store, self._start, self._clock = source, store, start, clock
        self._owned: dict[Partition, Owned] = {}
        self._claimed: dict[Partition, float] = {}
        self._heard: dict[Partition, float] = {}
        self._from_below: set[Partition] = set()
        self._certainty = Certainty()
        self._sights: dict[str, Sight] = {}
        self._noted: dict[str, tuple[str, int]] = {}
        self._again_at = self._said_at = -60.0 + clock()

    @property
    def owned(self) -> Mapping[Partition, Owned]:
        """The position of each claimed partition."""
        return self._owned

    def clear(self) -> None:
        """Forget all positions, so that every partition is claimed again."""
        self._owned.clear()
        self._noted.clear()

    def advance(self, progress: Iterable[Progress]) -> None:
        """Move on by what has been written to the store."""
        for p in progress:
            self._owned[p.partition] = replace(
                self._owned[p.partition], next=p.next, bucket=p.bucket, gap_at=-1, share=Share(p.read, p.bad)
            )
            self._certainty.counted(p.partition, p.next)

    def give_up(self, progress: Iterable[Progress]) -> None:
        """Claim and read these partitions again, because the store refused them."""
        for p in progress:
            self._owned.pop(p.partition, None)

    # -- what is due -----------------------------------------------------------------------------------------------

    def accepted(self, polled: dict[Partition, list[Record]]) -> dict[Partition, list[Record]]:
        """Return the records to count, from the expected offset of each partition on. Claims new partitions first."""
        now, fresh, assigned = self._clock(), self._source.take_fresh(), self._source.assigned()
        self._look(self._source.look())
        for p in [p for p in self._owned if p in fresh or p not in assigned or self._is_suspect(p, polled, now)]:
            del self._owned[p]
        new = assigned - set(self._owned)
        if new and now >= self._again_at:
            self._claim(new)
        ours = {p: records for p, records in polled.items() if p in self._owned and p not in new}
        due = {p: found for p, records in ours.items() if (found := self._due(p, records))}
        for p, records in due.items():
            self._heard[p] = now
            self._certainty.note(p, now, records[-1].offset + 1)
        return due

    def _look(self, sights: Mapping[str, Sight]) -> None:
        for topic, sight in sights.items():
            if sight.asked_at > self._sights.get(topic, UNSEEN).asked_at:
                self._sights[topic] = sight
                self._certainty.confirm(topic, sight.topic_id, sight.asked_at)
                if sight.topic_id and sight.partitions and self._noted.get(topic) != (sight.topic_id, sight.partitions):
                    self._store.note_topic(topic, sight.topic_id, sight.partitions)
                    self._noted[topic] = (sight.topic_id, sight.partitions)

    def _is_suspect(self, p: Partition, polled: Mapping[Partition, list[Record]], now: float) -> bool:
        """Whether the last description of the topic contradicts the records that were read.

        A new claim then finds out why.
        """
        owned, sight = self._owned[p], self._sights.get(p.topic, UNSEEN)
        if sight.asked_at <= self._claimed[p]:
            return False
        if sight.topic_id and owned.topic_id and sight.topic_id != owned.topic_id:
            return True
        seen = sight.logs.get(p)
        if seen is None or p in polled or now - self._heard[p] < QUIET_SECONDS:
            return False
        return seen.first > owned.due or 0 <= seen.end < self._certainty.of(p)

    def _due(self, p: Partition, records: list[Record]) -> list[Record]:
        """Drop records that are counted already. Read a gap twice before believing it."""
        owned = self._owned[p]
        low, high = owned.skip
        expected = owned.due
        if records[0].offset == expected and not low < high:
            return records
        due = [r for r in records if r.offset >= expected and not low <= r.offset < high]
        if not due:
            if records[-1].offset < expected and not low <= records[-1].offset < high:
                self._came_from_below(p, records)
            return []
        if due[0].offset == expected:
            return due
        if owned.gap_at == due[0].offset:
            return due if self._is_only_a_hole(p) else []
        self._owned[p] = replace(owned, gap_at=due[0].offset)
        log.debug("%s: offset %d came, but %d was expected; it is read again", p, due[0].offset, expected)
        self._source.seek(p, expected)
        return []

    def _came_from_below(self, p: Partition, records: list[Record]) -> None:
        """Handle records below the expected offset: a redelivery, or a new log. A new claim finds out which."""
        log.info(
            "%s: offsets %d to %d came, but %d was expected; the partition is claimed again",
            p, records[0].offset, records[-1].offset, self._owned[p].due,
            extra={**p.fields(), "offset": records[0].offset},
        )  # fmt: skip
        self._from_below.add(p)
        del self._owned[p]

    def _is_only_a_hole(self, p: Partition) -> bool:
        """Whether the log has no record at the missing offsets: compaction, transactions and retention leave holes."""
        owned = self._owned[p]
        now = self._clock()
        try:
            reported = self._source.logs([p]).get(p)
        except BrokerUnavailableError as error:
            self._put_off([p], str(error), now)
            reported = None
        if reported is not None and reported.first <= owned.due and reported.topic_id in ("", owned.topic_id):
            return True
        del self._owned[p]  # the claim finds the gap, reports it and moves on
        return False

    # -- claiming --------------------------------------------------------------------------------------------------

    def _claim(self, partitions: Iterable[Partition]) -> None:
        """Claim partitions, and seek to their stored offsets."""
        wanted, now = sorted(partitions), self._clock()
        try:
            logs = self._source.logs(wanted)
            committed = self._source.committed(logs)
        except BrokerUnavailableError as error:
            self._put_off(wanted, str(error), now)
            return
        if len(logs) < len(wanted):
            self._put_off([p for p in wanted if p not in logs], "no leader, or not there any more", now)
        for topic in sorted({p.topic for p in logs}):
            self._claim_of(topic, {p: reported for p, reported in logs.items() if p.topic == topic}, committed)

    def _claim_of(self, topic: str, logs: Mapping[Partition, Log], committed: Mapping[Partition, int]) -> None:
        """Claim partitions of one topic. Its id and its number of partitions are stored beside them."""
        at_start = self._store.partitions_at_start(topic)
        begin = {p: self._beginning(p, reported, committed, at_start) for p, reported in logs.items()}
        topic_id = next((reported.topic_id for reported in logs.values()), "")
        count = max(self._sights.get(topic, UNSEEN).partitions, *(p.number + 1 for p in logs))
        for p, claim in self._store.claim(begin, topic_id, count).items():
            self._settle(p, claim, logs[p], committed.get(p))

    def _beginning(self, p: Partition, reported: Log, committed: Mapping[Partition, int], at_start: int) -> int:
        """Return the offset at which a partition without stored state begins."""
        added = 0 < at_start <= p.number
        if self._start == "latest" and not added and p not in committed:
            return max(reported.end, reported.first)
        return reported.first

    def _settle(self, p: Partition, claim: Claim, reported: Log, committed: int | None) -> None:
        """Compare the claim with the log, move the stored offset if necessary, and seek."""
        now = self._clock()
        try:
            gap, reported = self._compared(p, claim, reported)
        except BrokerUnavailableError as error:
            self._put_off([p], str(error), now)
            return
        self._from_below.discard(p)
        current = reported.topic_id or (claim.topic_ids[0] if claim.topic_ids else "")
        following, skip = claim.next, claim.skip
        if gap is not None:
            following, skip = gap.next, self._counted_already(gap, claim, reported)
            if skip[0] < skip[1]:  # up to there it is certain that the old log was read
                gap = replace(gap, start=skip[0], doubtful=skip[1] - skip[0])
            log.error("%s", gap.sentence(), extra={**p.fields(), "offset": gap.start})
            self._store.notice(gap.notice())  # before the move, so that a worker that dies in between reports it again
        move = Move(p, claim.epoch, claim.next, following, reported.topic_id, skip)
        needed = gap is not None or (reported.topic_id and not claim.topic_ids)
        if needed and not self._store.move(move):
            log.info("%s: another worker took the partition over while it was moved", p, extra=p.fields())
            return
        if gap is None:
            self._say(p, claim, reported, committed)
        self._owned[p] = Owned(claim.epoch, following, claim.bucket, -1, current, skip, Share(claim.read, claim.bad))
        self._heard[p] = self._claimed[p] = self._clock()
        self._certainty.begin(p, current, following)
        self._source.seek(p, self._owned[p].due)

    def _compared(self, p: Partition, claim: Claim, reported: Log) -> tuple[Gap | None, Log]:
        """Find a gap by what the broker says after the claim."""
        below = p in self._from_below
        if claim.fresh:
            return None, reported
        if find_gap(p, claim, reported, came_from_below=below) is not None or is_stale(claim, reported):
            # Others may have counted on since the broker was asked, so ask again now, when nobody can.
            again = self._source.logs([p], {p: claim.next}).get(p)
            if again is None:
                raise BrokerUnavailableError("it has no leader, or is not there any more")
            reported = again
        if is_stale(claim, reported):
            raise BrokerUnavailableError("the broker that answered still describes the old topic")
        return find_gap(p, claim, reported, came_from_below=below), reported

    def _counted_already(self, gap: Gap, claim: Claim, reported: Log) -> tuple[int, int]:
        """Returns the offsets that were read from a new log before it was known to be new."""
        if gap.why != "remade" or not claim.topic_ids:
            return 0, 0
        low, high = self._certainty.doubtful(gap.partition, claim.topic_ids[0], claim.next)
        return (low, high) if low < high <= reported.end else (0, 0)

    def _put_off(self, partitions: Iterable[Partition], why: str, asked_at: float) -> None:
        """Claim these partitions later. Those that are claimed already continue."""
        now = self._clock()
        self._again_at = now + min(RETRY_SECONDS, RETRY_FACTOR * (now - asked_at))
        if now - self._said_at >= 60:
            self._said_at = now
            names = ", ".join(map(str, partitions))
            log.warning("%s cannot be claimed now (%s); this is tried again within 5 seconds, others go on", names, why)

    @staticmethod
    def _say(p: Partition, claim: Claim, reported: Log, committed: int | None) -> None:
        if claim.fresh and committed is not None:
            log.warning(
                "%s: Redis has no offset although %d were counted before, it was wiped; counting again from offset %d, "
                "the earliest that is retained%s",
                p, committed, claim.next, f" ({reported.first} records are gone)" if reported.first else "",
                extra={**p.fields(), "offset": claim.next},
            )  # fmt: skip
        else:
            more = {**p.fields(), "offset": claim.next}
            log.info("%s: claimed with epoch %d at offset %d", p, claim.epoch, claim.next, extra=more)
