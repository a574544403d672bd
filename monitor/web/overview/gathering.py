"""Reads the store for the status page, and remembers flag rates and evidence between two readings."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from monitor.errors import StoreError
from monitor.judging.closing import SEEN_MS
from monitor.math import packing
from monitor.math.lifecycle import Alert, Kind
from monitor.messages.text import CANARY
from monitor.store.counts import OVERFLOW, CountKey
from monitor.store.overviews import Look, OverviewStore
from monitor.store.verdicts import Health
from monitor.web.overview.evidence import EvidenceBook
from monitor.web.overview.facts import Facts
from monitor.web.overview.points import Points

MOST_BUCKETS = 1000
"""How many buckets one reading takes at most."""

MOST_FIELDS = 30_000
"""About how many counts one reading takes. They cost the poll loop some tens of milliseconds."""

MOST_STREAMS = 250
"""For how many streams one reading takes the evidence."""

MOST_CHARACTERS = 2_000_000
"""About how many characters of evidence one reading takes. A stream with a thousand classes has 300,000."""


@dataclass(frozen=True)
class Known:
    """What is known after a reading.

    Attributes:
        look: the last successful reading.
        header: the packed state without the streams; empty if nothing was judged yet.
        firing: firing alerts on inputs in the evaluator's state, by stream and kind.
        away_seconds: for how long the store has not answered; 0 if it answers.
        why: why it does not answer.
    """

    look: Look = field(default_factory=lambda: Look(Health(0)))
    header: Mapping[str, Any] = field(default_factory=dict)
    firing: Mapping[tuple[str | None, Kind], Alert] = field(default_factory=dict)
    away_seconds: float = 0.0
    why: str = ""

    @property
    def now_ms(self) -> int:
        """Time by the store's clock at that reading."""
        return self.look.health.now_ms

    @property
    def last_end_ms(self) -> int:
        """End of the last judged bucket; 0 if there is none."""
        return round(1000 * (self.header.get("last_end") or 0))

    @property
    def workers(self) -> dict[str, tuple[int, dict[str, Any]]]:
        """The recent reports of workers: when, and what."""
        found = {}
        for name, (at_ms, entry) in self.look.health.workers.items():
            if self.now_ms - at_ms < SEEN_MS:
                found[name] = (at_ms, json.loads(entry))
        return found


class Gatherer:
    """Reads the store, and remembers flag rates over time and the evidence of each stream.

    Args:
        store: the store, over a connection of its own.
        facts: of this process.
        monotonic: a clock that only goes forward, in seconds.
    """

    def __init__(self, store: OverviewStore, facts: Facts, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.store, self._facts, self._monotonic = store, facts, monotonic
        self.points = Points(facts.bucket_ms, facts.rules.flag_cells)
        self.evidence = EvidenceBook(facts.rules)
        self.known = Known()
        self.unread = 0
        self._answered = monotonic()

    def look(self) -> Callable[[], None]:
        """Read the store. Call the function that is returned to take over what was read; it never waits."""
        try:
            look = self.store.look([*self._facts.receivers])
            header: dict[str, Any] = json.loads(look.header) if look.header else {}
            firing = packing.unpacked(header, {}, self._facts.rules.columns).alerts if header else {}
            wanted = [s for s, kind in firing if s is not None and kind == "ood"]
            names = self.evidence.wanted(look.streams, MOST_STREAMS, wanted)
            packed = self.store.evidence(names, MOST_CHARACTERS) if header else {}
            last = header.get("last_bucket")
            buckets = [] if last is None else self.points.wanted(last, MOST_BUCKETS)
            counts = self.store.counts(buckets, MOST_FIELDS) if buckets else {}
        except StoreError as error:
            why = self._facts.redact(str(error))
            return lambda: self._missed(why)
        known = Known(look, header, firing)
        return lambda: self._take(known, counts, packed)

    def _missed(self, why: str) -> None:
        waited = max(0.001, self._monotonic() - self._answered)
        self.known = Known(self.known.look, self.known.header, self.known.firing, waited, why)

    def _take(
        self,
        known: Known,
        counts: Mapping[int, Mapping[CountKey, int]],
        packed: Mapping[str, str],
    ) -> None:
        self._answered = self._monotonic()
        self.known = known
        self.points.add(counts)
        self.points.keep([*known.look.streams, OVERFLOW])
        there = {stream: text for stream, text in packed.items() if text}
        if there:
            self.evidence.add(known.header, there, known.now_ms)
        self.evidence.forget(packed.keys() - there.keys())
        self.evidence.keep(known.look.streams)
        last = known.header.get("last_bucket")
        self.unread = 0 if last is None else self.points.missing(last)

    def names(self) -> list[str]:
        """Streams that people know by name, and the one for those beyond the limit if there are any."""
        found = [s for s in self.known.look.streams if not s.startswith(CANARY)]
        return [*found, OVERFLOW] if self.known.look.health.sums.get("overflow") else found
