"""Which partitions are ours, and from which offset each is due: what the store says, whatever the broker thinks.

Of a partition that is new to the worker nothing is used before it has been claimed and sought to the store's offset.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from monitor.counting.bad_share import Share
from monitor.counting.counter import Owned
from monitor.messages.record import Partition, Record
from monitor.sources.protocol import Source
from monitor.store.protocol import Claim, Progress, Store

log = logging.getLogger(__name__)


class Ownership:
    """The claimed partitions of one worker.

    Args:
        source: tells what the group gave us; sought here.
        store: claims are made there.
        start: ``latest`` begins a group that never ran at the end of the log, anything else at its beginning.
        clock: milliseconds since the epoch.
    """

    def __init__(self, source: Source, store: Store, start: str, clock: Callable[[], int]) -> None:
        self._source, self._store, self._start, self._clock = source, store, start, clock
        self._owned: dict[Partition, Owned] = {}

    @property
    def owned(self) -> Mapping[Partition, Owned]:
        """Where each claimed partition stands."""
        return self._owned

    def clear(self) -> None:
        """Trust no position: every partition is claimed again."""
        self._owned.clear()

    def advance(self, progress: Iterable[Progress]) -> None:
        """What has been written to the store."""
        for p in progress:
            self._owned[p.partition] = replace(
                self._owned[p.partition], next=p.next, bucket=p.bucket, gap_at=-1, share=Share(p.read, p.bad)
            )

    def give_up(self, progress: Iterable[Progress]) -> None:
        """What the store refused: these are claimed and read again."""
        for p in progress:
            self._owned.pop(p.partition, None)

    # -- ownership -------------------------------------------------------------------------------------------------

    def accepted(self, polled: dict[Partition, list[Record]]) -> dict[Partition, list[Record]]:
        """Records of claimed partitions, from the offset that is due; claims what is new."""
        fresh = self._source.take_fresh()
        assigned = self._source.assigned()
        for p in [p for p in self._owned if p in fresh or p not in assigned]:
            del self._owned[p]
        new = assigned - set(self._owned)
        if new:
            self._claim(new)
        ours = {p: records for p, records in polled.items() if p in self._owned and p not in new}
        return {p: due for p, records in ours.items() if (due := self._due(p, records))}

    def _due(self, p: Partition, records: list[Record]) -> list[Record]:
        """Drop what is counted already; read a gap twice before believing it."""
        owned = self._owned[p]
        if records[0].offset == owned.next:
            return records
        due = [r for r in records if r.offset >= owned.next]
        if not due or due[0].offset == owned.next or owned.gap_at == due[0].offset:
            return due
        self._owned[p] = replace(owned, gap_at=due[0].offset)
        log.info("%s: offset %d came where %d was due; reading again", p, due[0].offset, owned.next)
        self._source.seek(p, owned.next)
        return []

    def _claim(self, partitions: Iterable[Partition]) -> None:
        """Take partitions over and seek to where the store says."""
        wanted = sorted(partitions)
        earliest = self._source.first_offsets(wanted)
        told = self._source.committed(wanted)
        begin = dict(earliest)
        if self._start == "latest":
            begin |= {p: o for p, o in self._source.end_offsets(wanted).items() if p not in told}
        for p, claim in self._store.claim(begin, self._clock()).items():
            self._say(p, claim, earliest[p], told.get(p))
            self._owned[p] = Owned(claim.epoch, claim.next, claim.bucket, share=Share(claim.read, claim.bad))
            self._source.seek(p, max(claim.next, earliest[p]))

    @staticmethod
    def _say(p: Partition, claim: Claim, earliest: int, told: int | None) -> None:
        if claim.fresh and told is not None:
            log.warning(
                "%s: the store has no offset though %d were counted before: it was wiped; "
                "counting again from offset %d, the earliest retained%s",
                p, told, claim.next, f" ({earliest} records are gone)" if earliest else "",
            )  # fmt: skip
        elif claim.next < earliest:
            log.error("%s: offsets %d to %d expired before they were counted", p, claim.next, earliest - 1)
        else:
            log.info("%s: claimed with epoch %d at offset %d", p, claim.epoch, claim.next)
