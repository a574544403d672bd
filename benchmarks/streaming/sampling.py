"""What a soak looks at while it runs: offsets in Redis all the time, and once a minute the size of everything."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from monitor.store.redis import RedisStore

LOOK_SECONDS = 0.02


@dataclass
class Sampler:
    """Watches one worker from a thread of its own.

    Attributes:
        store: of the worker's group, over a connection that nobody else uses.
        pid: of the worker.
        ticks: the file that the sender writes.
        partitions: how many the topic has.
    """

    store: RedisStore
    pid: int
    ticks: Path
    partitions: int
    seen: list[tuple[float, ...]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="soak-sampler")
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            stored = {p.number: s.next for p, s in self.store.partitions().items()}
            self.seen.append((time.time() * 1000, *(stored.get(n, 0) for n in range(self.partitions))))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def counted(self) -> int:
        """Records behind the worker, by the last look."""
        return int(sum(self.seen[-1][1:])) if self.seen else 0

    def sent(self) -> int:
        """Records that the sender has handed over."""
        ticks = self._ticks()
        return int(ticks[-1, 1]) if len(ticks) else 0

    def _ticks(self) -> np.ndarray:
        raw = np.fromfile(self.ticks, dtype=np.float64) if self.ticks.exists() else np.empty(0)
        return raw[: len(raw) // 2 * 2].reshape(-1, 2)

    def latencies(self, begin_ms: float, end_ms: float) -> np.ndarray:
        """Milliseconds from sent to counted, of the last record of each partition and tick sent in ``[begin, end)``.

        What is not counted yet is left out. Ticks are of one length, so each stands for the same number of records.
        """
        ticks, seen = self._ticks(), np.array(self.seen)
        previous = np.concatenate([[0.0], ticks[:-1, 1]])
        wanted = (ticks[:, 0] >= begin_ms) & (ticks[:, 0] < end_ms) & (ticks[:, 1] > previous)
        found = []
        for n in range(self.partitions):
            # Record k goes to partition k mod P, so of the first m records this partition has ceil((m - n) / P).
            of = np.ceil((ticks[wanted, 1] - n) / self.partitions)
            at = np.searchsorted(seen[:, 1 + n], of, side="left")
            known = at < len(seen)
            found.append(seen[at[known], 0] - ticks[wanted, 0][known])
        return np.concatenate(found)

    def behind_ms(self) -> float:
        """How long ago the oldest record was sent that is not counted yet; 0 if everything is."""
        ticks, counted = self._ticks(), self.counted()
        later = ticks[ticks[:, 1] > counted]
        return max(0.0, time.time() * 1000 - later[0, 0]) if len(later) else 0.0

    def sizes(self) -> dict[str, Any]:
        """The worker's memory, descriptors, threads and CPU seconds; Redis's memory and keys; the machine's load."""
        process = Path("/proc") / str(self.pid)
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        clock = (process / "stat").read_text().rsplit(")", 1)[1].split()
        redis = self.store._client
        return {
            "RSS MB": round(int(status["VmRSS"].split()[0]) / 1024, 1),
            "descriptors": len(list((process / "fd").iterdir())),
            "threads": int(status["Threads"]),
            "CPU s": round((int(clock[11]) + int(clock[12])) / os.sysconf("SC_CLK_TCK"), 1),
            "Redis MB": round(int(redis.info("memory")["used_memory"]) / 2**20, 2),
            "Redis keys": int(redis.dbsize()),
            "load": round(os.getloadavg()[0], 1),
        }
