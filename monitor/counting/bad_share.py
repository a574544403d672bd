"""Watches the share of each partition's recent records that cannot be scored, and acts if it is too large.

Each partition has a share of its own, so that a bad sender is not hidden by good ones elsewhere and does not stop the
counting of others. The numbers are stored with each batch and come back with the claim, so a restart forgets
nothing.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from monitor.errors import BadShareError
from monitor.messages.reasons import ADVICE
from monitor.messages.record import Partition
from monitor.messages.rows import Rejected
from monitor.store.partitions import Progress
from monitor.store.verdicts import Notice

LEAST = 10
"""At least this many bad records are needed for an alert: one or two say nothing about a share."""

AGAIN_SECONDS = 60.0
"""How often, in seconds, a firing alert is updated."""

QUIET_SECONDS = 600.0
"""If a partition has had no records for this many seconds, its alert is resolved."""


@dataclass(frozen=True)
class Share:
    """The recent records of a partition and the bad ones among them. Older records weigh less.

    Attributes:
        read: weight of all records: about their number at first, never more than the window.
        bad: weight of those that could not be scored.
    """

    read: float = 0.0
    bad: float = 0.0

    def after(self, read: int, bad: int, window: int) -> Share:
        """Add ``read`` records, ``bad`` of them bad. After about 0.7 windows a record weighs half."""
        if not read:
            return self
        kept = (1 - 1 / window) ** read
        new = (1 - kept) * window
        return Share(self.read * kept + new, self.bad * kept + new * bad / read)

    def __str__(self) -> str:
        part = self.bad / self.read if self.read else 0.0
        return f"{part:.0%} of the last {self.read:.0f} records"


@dataclass
class _Telling:
    """The last report about a partition under one claim, and the time of its last records.

    ``severity`` is empty if its alert does not fire, and None if that is not known.
    """

    epoch: int
    heard: float
    severity: str | None = None
    at: float = -AGAIN_SECONDS


class BadShares:
    """Judges the share of bad records of each partition.

    Args:
        limit: a larger share raises an alert.
        window: about how many recent records the share covers.
        at_limit: ``continue`` raises an alert and resolves it below half of the limit. ``stop`` ends the worker.
        topic: the dead-letter topic, which holds the bad records.
        clock: seconds that only rise.
    """

    def __init__(
        self,
        limit: float,
        window: int,
        at_limit: Literal["continue", "stop"] = "continue",
        topic: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._window, self._at_limit, self._topic = limit, window, at_limit, topic
        self._clock, self._least = clock, min(LEAST, window / 2)  # a small window never holds ten
        self._tellings: dict[Partition, _Telling] = {}

    def check(self, progress: Iterable[Progress]) -> None:
        """Check a batch before it is written.

        Raises:
            BadShareError: with ``stop``, so that the topic is not drained into the dead letters.
        """
        if self._at_limit != "stop":
            return
        for p in progress:
            if p.bad > self._limit * max(p.read, self._window):
                raise BadShareError(
                    f"{p.partition}: {p.bad:.0f} of the last {p.read:.0f} records cannot be scored, over the limit of "
                    f"{self._limit:.0%} of {self._window}: this batch was not taken. Check the publisher and the "
                    "artifact, raise dead_letters.max_share, or set dead_letters.at_limit to continue"
                )

    def notices(self, progress: Iterable[Progress], rejected: Rejected) -> list[Notice]:
        """Return alerts to raise, refresh or resolve after a batch was written. Then call :meth:`note_stored`."""
        found: list[Notice] = []
        for p in progress:
            held = self._telling(p.partition, p.epoch)
            held.heard = self._clock()
            over = p.bad >= self._least and p.bad > self._limit * p.read
            if self._at_limit == "stop":
                continue
            if over or (held.severity and p.bad > self._limit / 2 * p.read):
                severity = "critical" if held.severity == "critical" or p.bad > p.read / 2 else "warning"
                if severity != held.severity or self._clock() - held.at >= AGAIN_SECONDS:
                    found.append(self._notice(p, severity, rejected))
            elif held.severity != "" and p.bad <= self._limit / 2 * p.read:
                found.append(Notice("bad-records", str(p.partition), firing=False))
        return found

    def quiet(self, owned: Mapping[Partition, int]) -> list[Notice]:
        """Return alerts to resolve because no record has come for long. Call :meth:`note_stored` when that is done.

        Args:
            owned: the partitions of this worker, and the epoch of each claim.
        """
        if self._at_limit == "stop":
            return []
        old = self._clock() - QUIET_SECONDS
        tellings = {p: self._telling(p, epoch) for p, epoch in owned.items()}
        over = [p for p, held in tellings.items() if held.severity != "" and held.heard <= old]
        return [Notice("bad-records", str(p), firing=False) for p in over]

    def note_stored(self, notice: Notice) -> None:
        """Note that the store has this alert."""
        held = self._tellings[Partition.parse(notice.subject)]
        held.severity, held.at = notice.severity if notice.firing else "", self._clock()

    def _telling(self, partition: Partition, epoch: int) -> _Telling:
        """Return what was reported under this claim. Earlier reports of another worker are not known."""
        held = self._tellings.get(partition)
        if held is None or held.epoch != epoch:
            held = self._tellings[partition] = _Telling(epoch, self._clock())
        return held

    def _notice(self, p: Progress, severity: str, rejected: Rejected) -> Notice:
        mine = (p.partition.topic, p.partition.number)
        reasons = collections.Counter(why for r, why, _ in rejected if (r.topic, r.partition) == mine)
        most = reasons.most_common(1)[0][0] if reasons else ""
        why = f" The most frequent reason is {most}: {ADVICE.get(most, '')}." if most else ""
        where = f" They are in topic {self._topic}, each with its reason." if self._topic else ""
        summary = (
            f"{Share(p.read, p.bad)} of partition {p.partition} cannot be scored, over the limit of "
            f"{self._limit:.0%}: a surge in them would not be noticed.{why}{where}"
        )
        details = {"read": f"{p.read:.0f}", "bad": f"{p.bad:.0f}", "reason": most, "offset": str(p.next)}
        return Notice("bad-records", str(p.partition), True, severity, summary, details)
