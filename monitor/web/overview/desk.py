"""Keeps the status document fresh: it is built at most once in a few seconds, however many people look at it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

from monitor.errors import StoreError
from monitor.web.overview.document import document, find_stream, stream_document
from monitor.web.overview.evidence import classes_of
from monitor.web.overview.facts import Facts, Present
from monitor.web.overview.gathering import Gatherer
from monitor.web.overview.streams import Query

EVERY_SECONDS = 3.0
"""The store is read at most this often (in seconds), and only while somebody looks at the page."""

OLD_SECONDS = 10.0
"""While the store is being read, other requests get the previous document, unless it is older than this."""

PATIENCE_SECONDS = 5.0
"""How long (in seconds) a request waits for a reading that another request has begun."""

KEPT = 32
"""How many documents are kept for further requests of the same query."""

LATEST_BUCKETS = 20
"""The most unusual requests of a stream are taken from this many buckets."""


class Desk:
    """Answers from the last reading of the store, and reads it again if that is old. Any thread may call it.

    Args:
        gatherer: reads the store and remembers.
        facts: of this process.
        present: what this process is doing now.
        every: seconds, see :data:`EVERY_SECONDS`.
        monotonic: a clock that only goes forward, in seconds.
    """

    def __init__(
        self,
        gatherer: Gatherer,
        facts: Facts,
        present: Callable[[], Present] = Present,
        every: float = EVERY_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gatherer, self._facts, self._present = gatherer, facts, present
        self._every, self._monotonic = every, monotonic
        self._looking, self._lock = threading.Lock(), threading.Lock()
        self._looked = float("-inf")
        self._made: dict[Hashable, bytes] = {}

    def ready(self, query: Query) -> bytes | None:
        """Return the document if there is a fresh one. Never waits for the store."""
        if self._monotonic() - self._looked >= self._every:
            return None
        return self._made.get(query)

    def overview(self, query: Query) -> bytes:
        """Return the document as JSON in UTF-8."""
        self._refresh()
        return self._kept(query, lambda: document(self._gatherer, self._facts, self._present(), query))

    def stream(self, wanted: str) -> bytes | None:
        """Return a stream by its id, as JSON in UTF-8; None if there is no such stream.

        Raises:
            StoreError: the store does not answer.
        """
        self._refresh()
        with self._lock:
            name, known = find_stream(self._gatherer, wanted), self._gatherer.known
            made = self._made.get(wanted)
        if name is None or made is not None:
            return made
        if known.why:
            raise StoreError(known.why)
        store = self._gatherer.store
        packed = store.evidence([name], 1) if known.header else {}
        last = known.header.get("last_bucket") or 0
        worst = store.examples(name, range(last, max(-1, last - LATEST_BUCKETS), -1))
        classes = classes_of(known.header, name, packed[name], self._facts.rules) if packed.get(name) else []
        return self._kept(wanted, lambda: stream_document(self._gatherer, self._facts, name, classes, worst))

    def _kept(self, name: Hashable, make: Callable[[], Any]) -> bytes:
        with self._lock:
            made = self._made.get(name)
            if made is None:
                text = json.dumps(make(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
                made = text.encode("utf-8", "backslashreplace")  # half a surrogate pair stays an escape, as in JSON
                if len(self._made) >= KEPT:
                    self._made.pop(next(iter(self._made)))
                self._made[name] = made
            return made

    def _refresh(self) -> None:
        """Read the store if the last reading is old. Only one thread reads at a time."""
        age = self._monotonic() - self._looked
        if age < self._every:
            return
        if not self._looking.acquire(timeout=PATIENCE_SECONDS if age > OLD_SECONDS else -1, blocking=age > OLD_SECONDS):
            return
        try:
            if self._monotonic() - self._looked < self._every:
                return
            take = self._gatherer.look()
            with self._lock:
                take()
                self._made.clear()
                self._looked = self._monotonic()
        finally:
            self._looking.release()
