"""ID traffic on several streams, and surges of 20 % OOD whose beginnings and ends are written down."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from monitor.publishing.publisher import EmbeddingPublisher
from tests.monitor_support import embeddings

TICK_SECONDS = 0.05
OOD_SHARE = 0.2


@dataclass
class Surge:
    """A surge of one stream. ``first`` is the event time of its first OOD record, 0 before there is one."""

    stream: str
    begin: float
    first: float = 0.0
    end: float = 0.0

    @property
    def over(self) -> bool:
        return self.end > 0


@dataclass
class Load:
    """Publishes as a served model does, from a thread of its own, until it is stopped.

    Attributes:
        surges: those that began, in order.
    """

    bootstrap: str
    topic: str
    seed: int
    streams: int = 8
    rate: float = 320.0
    surges: list[Surge] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self._rng = rng
        self._ordinary = embeddings(4000, seed=self.seed + 1)
        self._strange = embeddings(400, seed=self.seed + 2, ood=1.0)
        self.publisher = EmbeddingPublisher(self.bootstrap, self.topic, source="chaos", max_pending=500_000)
        self._stop = threading.Event()
        self.paused = threading.Event()
        self._lock = threading.Lock()
        self._owed = 0.0
        self._thread = threading.Thread(target=self._run, name="chaos-load")

    def start(self) -> None:
        self._thread.start()

    def names(self) -> list[str]:
        return [f"stream-{n}" for n in range(self.streams)]

    def begin_surge(self) -> Surge:
        """On the next stream in turn."""
        with self._lock:
            surge = Surge(self.names()[len(self.surges) % self.streams], time.time())
            self.surges.append(surge)
            return surge

    def end_surge(self, surge: Surge) -> None:
        with self._lock:
            surge.end = surge.end or time.time()

    def _run(self) -> None:
        next_at = time.monotonic()
        while not self._stop.is_set():
            if not self.paused.is_set():
                self._tick()
            next_at += TICK_SECONDS
            self._stop.wait(max(0.0, next_at - time.monotonic()))

    def _tick(self) -> None:
        self._owed += self.rate * TICK_SECONDS
        n, self._owed = int(self._owed), self._owed % 1
        of = self._rng.integers(0, self.streams, n)
        now = time.time()
        with self._lock:
            surging = {s.stream: s for s in self.surges if not s.over}
        for k, name in enumerate(self.names()):
            count = int((of == k).sum())
            if not count:
                continue
            rows = self._ordinary[self._rng.integers(0, len(self._ordinary), count)]
            surge = surging.get(name)
            if surge is not None:
                out = self._rng.random(count) < OOD_SHARE
                rows[out] = self._strange[self._rng.integers(0, len(self._strange), int(out.sum()))]
                if out.any() and not surge.first:
                    surge.first = now
            self.publisher.publish(rows, stream=name, times_ms=[int(now * 1000)] * count)

    def stop(self) -> None:
        """End the traffic; what is on its way arrives."""
        self._stop.set()
        self._thread.join()
        for surge in self.surges:
            self.end_surge(surge)
        self.publisher.close(60)
