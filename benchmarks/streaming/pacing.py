"""The sender of the soak: ``python -m benchmarks.streaming.pacing JSON`` sends at the rate that it reads from stdin.

A line of stdin is ``RATE SHARE``: records a second from now on, and the share of OOD among those of the first stream.
The end of stdin ends it: everything is flushed and a line of JSON says what was sent. Rows are drawn afresh, block by
block, from the law that the model was calibrated on, and :func:`block` draws the same block again for whoever recounts.
Every tick is written to ``ticks``: Unix milliseconds and how many records were sent up to then, as two float64.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.monitor_support import embeddings

BLOCK = 20_000
TICK_SECONDS = 0.02
STREAMS = ("tenant-0", "tenant-1", "tenant-2")


def block(seed: int, number: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """(BLOCK, 8) float32 rows, and the (BLOCK,) streams that they go to; OOD is in the first stream only."""
    rows = embeddings(BLOCK, seed=seed + 1 + number)
    rng = np.random.default_rng((seed, number))
    streams = rng.integers(0, len(STREAMS), BLOCK)
    out = (streams == 0) & (rng.random(BLOCK) < share)
    rows[out] = embeddings(int(out.sum()), seed=seed + 1 + number, ood=1.0)
    return rows, streams


class _Orders:
    """What stdin said last."""

    def __init__(self) -> None:
        self.rate, self.share, self.over = 0.0, 0.0, False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            rate, share = map(float, line.split())
            self.rate, self.share = rate, share
        self.over = True


def _records(orders: _Orders, seed: int, used: list[list[float]]) -> Iterator[tuple[bytes, bytes]]:
    """Values and keys without end; ``used`` says which block, at which share of OOD, and how many of it."""
    number = 0
    while True:
        share = orders.share
        rows, streams = block(seed, number, share)
        values, names = [row.tobytes() for row in rows], [STREAMS[k].encode() for k in streams.tolist()]
        used.append([number, share, 0])
        for value, name in zip(values, names, strict=True):
            if orders.share != share:
                break
            used[-1][2] += 1
            yield value, name
        number += 1


def pace(bootstrap: str, topic: str, partitions: int, seed: int, ticks: str) -> dict[str, Any]:
    """Send until stdin ends. Record n goes to partition ``n % partitions``; the producer is idempotent."""
    from confluent_kafka import Producer

    from monitor.alerts.alert import moment

    failed = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, "enable.idempotence": True, "acks": "all",
         "queue.buffering.max.messages": 1_000_000, "queue.buffering.max.kbytes": 1_048_576,
         "message.timeout.ms": 600_000}
    )  # fmt: skip
    orders, used = _Orders(), []
    records = _records(orders, seed, used)
    sent, owed, ordered, before = 0, 0.0, 0.0, time.monotonic()
    with Path(ticks).open("ab") as file:
        while not orders.over:
            time.sleep(TICK_SECONDS)
            now, rate = time.monotonic(), orders.rate
            # What could not be sent at the rate of before is not made up for under a new order.
            owed = rate * (now - before) + (owed if rate == ordered else 0.0)
            ordered, before = rate, now
            at_ms = time.time_ns() // 1_000_000
            shared = [
                ("ce_specversion", b"1.0"), ("ce_type", b"embedding"), ("ce_source", b"soak"),
                ("ce_time", moment(at_ms / 1000).encode()), ("ce_dtype", b"float32"), ("ce_dim", b"8"),
            ]  # fmt: skip
            for _ in range(int(owed)):
                if orders.rate != rate:
                    break
                value, name = next(records)
                headers = [("ce_id", b"%032d" % sent), *shared]
                while True:
                    try:
                        producer.produce(
                            topic, value, name, sent % partitions, timestamp=at_ms, headers=headers,
                            on_delivery=lambda error, _: failed.append(str(error)) if error else None,
                        )  # fmt: skip
                        break
                    except BufferError:
                        producer.poll(0.05)
                sent += 1
            owed %= 1
            producer.poll(0)
            file.write(np.array([at_ms, sent], dtype=np.float64).tobytes())
            file.flush()
    left = producer.flush(120)
    return {"sent": sent, "failed": len(failed) + left, "blocks": used}


if __name__ == "__main__":
    print(json.dumps(pace(**json.loads(sys.argv[1]))), flush=True)
