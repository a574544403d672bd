"""Polls the source, and notes whether its records can be read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from monitor.counting.observing import Observer
from monitor.counting.trouble import Trouble
from monitor.errors import BrokerUnavailableError
from monitor.messages.record import Partition, Record
from monitor.sources.protocol import Source

log = logging.getLogger(__name__)

SLICE_MS = 8
"""The longest poll (ms) while a batch is being scored, since scoring may end at any moment."""

AGAIN_SECONDS = 0.5
"""The pause after Kafka could not be reached."""

WARN_SECONDS = 60.0
"""How often (in seconds) a line says that Kafka cannot be reached."""

Polled = dict[Partition, list[Record]]


class Polling:
    """Polls for one worker.

    Args:
        source: records are read from it.
        observer: called with whether Kafka could be read, and how long a poll took.
        poll_ms: the longest poll while nothing is being scored.
        max_records: how many records are polled at once at most.
        wait: pauses while Kafka cannot be reached; called with seconds.
        clock: seconds that only rise.

    Attributes:
        trouble: what keeps the worker from reading.
    """

    def __init__(
        self,
        source: Source,
        observer: Observer,
        poll_ms: int,
        max_records: int,
        wait: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._observer, self._wait, self._clock = source, observer, wait, clock
        self._poll_ms, self._max_records = poll_ms, max_records
        self._warned_at = clock() - WARN_SECONDS
        self.trouble = Trouble(clock)

    def read(self, owned: int, scored: Callable[[], bool] | None, *, away: bool = False) -> Polled:
        """Return the next records, and note whether they can be read at all.

        Args:
            owned: how many partitions the worker has.
            scored: whether the current batch is scored; ``None`` without a batch. A poll lasts no longer than scoring.
            away: the store cannot be reached, so the poll only keeps the worker in the group.
        """
        began = time.perf_counter()
        try:
            polled = self._poll(None if away else scored, 0 if away else self._poll_ms)
        except BrokerUnavailableError as error:
            self._observer.polled(False, owned)
            self.trouble.begins(self._source.trouble() or str(error))
            self.pause_after(error)
            return {}
        trouble, unreadable = self._source.trouble(), self._source.unreadable()
        if trouble:
            self.trouble.begins(trouble, unreadable)
        else:
            self.trouble.is_over()
        self._observer.took("poll", time.perf_counter() - began)
        self._observer.polled(not trouble or bool(unreadable), owned)
        self._observer.unreadable(unreadable)
        return polled

    def pause_after(self, error: Exception) -> None:
        """Wait before Kafka is tried again, and log why at most once a minute. The source logs its own trouble."""
        if not self._source.trouble() and self._clock() - self._warned_at >= WARN_SECONDS:
            self._warned_at = self._clock()
            log.warning("%s; the worker tries again twice a second, and logs this once a minute", error)
        self._wait(AGAIN_SECONDS)

    def _poll(self, scored: Callable[[], bool] | None, poll_ms: int) -> Polled:
        """Poll the next records. While a batch is being scored, poll no longer than that takes."""
        if scored is None:
            return self._source.poll(poll_ms, self._max_records)
        slice_ms, polled = 0, self._source.poll(0, self._max_records)
        while not polled and not scored():
            slice_ms = min(2 * slice_ms + 1, SLICE_MS)
            polled = self._source.poll(slice_ms, self._max_records)
        return polled
