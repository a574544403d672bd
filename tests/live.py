"""Traffic in real time: a thread that sends embeddings as a served model does, with a share of OOD that can change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.cluster import Cluster
from tests.monitor_support import embeddings

EVERY = 0.05


class Live:
    """Sends ``rate`` embeddings a second, spread over partitions and streams, while the context lasts.

    Attributes:
        ood: share of OOD among them, now.
        shift_ms: added to every timestamp: what a sender with a wrong clock does.
    """

    def __init__(self, cluster: Cluster, rate: int = 200, streams: tuple[str, ...] = ("a", "b"), seed: int = 3) -> None:
        self.cluster, self.rate, self.streams = cluster, rate, streams
        self.ood, self.shift_ms = 0.0, 0
        self.partitions: list[int] = list(range(cluster.partitions))
        self._inside = embeddings(4000, seed=seed)
        self._outside = embeddings(4000, seed=seed + 1, ood=1.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._n = 0

    def _run(self) -> None:
        begin, sent = time.monotonic(), 0
        while not self._stop.wait(EVERY):
            due = int((time.monotonic() - begin) * self.rate) - sent
            now = time.time_ns() // 1_000_000 + self.shift_ms
            for _ in range(due):
                self._send(now)
            sent += due
            self.cluster.producer().flush()

    def _send(self, now: int) -> None:
        n = self._n = self._n + 1
        out = self.ood > 0 and (n * 7919 % 1000) < self.ood * 1000
        rows = self._outside if out else self._inside
        self.cluster.producer().send(
            self.cluster.topic,
            key=self.streams[n % len(self.streams)].encode(),
            value=rows[n % len(rows)].tobytes(),
            headers=[("ce_id", f"{'ood' if out else 'id'}-{n}".encode())],
            partition=self.partitions[n % len(self.partitions)],
            timestamp_ms=now,
        )
        self.cluster.sent += 1

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def transitions(cluster: Cluster, kind: str = "ood") -> list[str]:
    """What happened to alerts of a kind, in order."""
    return [
        h["change"] for h in reversed(cluster.store.history(1000)) if h["kind"] == kind and h["change"] != "updated"
    ]


def wait_for_surge(cluster: Cluster, live: Live, ood: float = 0.5, seconds: float = 30) -> float:
    """Begin a surge and wait until it is raised; how long that took."""
    before, begin = transitions(cluster).count("raised"), time.monotonic()
    live.ood = ood
    cluster.wait(lambda: transitions(cluster).count("raised") > before, seconds)
    return time.monotonic() - begin


def holds(cluster: Cluster, what: Callable[[], bool], seconds: float) -> bool:
    """Whether something stays true for so long while the workers run."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not what():
            return False
        time.sleep(0.1)
    return True
