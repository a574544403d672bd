"""Scoring beside everything else: the one thing of a worker that a second thread may do, since it changes nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from monitor.counting.counter import Read
from monitor.counting.scoring import Scored

AT_ONCE_SECONDS = 0.005
"""A batch that takes less is scored without the thread: it would compete with the decoding one for Python's lock."""


class Scoring:
    """Has batches scored: in a thread of its own, or at once where handing it over would take longer than it does."""

    def __init__(self, score: Callable[[Read], Scored]) -> None:
        self._score = score
        self._thread = ThreadPoolExecutor(1, "scoring")
        self._row_seconds = 0.0

    def begin(self, read: Read) -> Future[Scored]:
        """The scores, at once or soon."""
        if self._row_seconds * len(read.rows) >= AT_ONCE_SECONDS:
            # It lets go of Python's lock around each kernel, and would wait 5 ms for a decoding thread to give it back.
            sys.setswitchinterval(0.0005)
            return self._thread.submit(self._timed, read)
        done: Future[Scored] = Future()
        done.set_result(self._timed(read))
        return done

    def _timed(self, read: Read) -> Scored:
        began = time.thread_time()
        scored = self._score(read)
        self._row_seconds = (time.thread_time() - began) / max(1, len(read.rows))
        return scored

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()
