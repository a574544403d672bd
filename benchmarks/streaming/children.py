"""The processes that are measured: ``python -m benchmarks.streaming.children ROLE JSON`` ends with a line of JSON.

``bare`` polls and counts with kafka-python and does nothing else. ``worker`` is the loop of ``ood-monitor run``, with
timers around its parts. ``produce`` sends at a given rate.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

PARTS = {
    "poll": "poll (fetched records to Python)",
    "read": "read by the contract",
    "score": "score",
    "count": "count",
    "redis": "Redis commit",
    "offsets": "offsets to Kafka",
    "judge": "judge closed buckets",
}


def bare(bootstrap: str, topic: str, group: str, messages: int, max_records: int) -> dict[str, Any]:
    """Poll and count; the clock starts with the first records."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False,
        auto_offset_reset="earliest", max_poll_records=max_records,
    )  # fmt: skip
    first = got = 0
    began = cpu = 0.0
    while got < messages:
        n = sum(map(len, consumer.poll(timeout_ms=200, max_records=max_records).values()))
        if n and not got:
            first, began, cpu = n, time.perf_counter(), time.process_time()
        got += n
    result = _rates(got - first, began, cpu)
    consumer.close()
    return result


def worker(config: dict[str, Any], messages: int, head: bool = False, every: int = 0) -> dict[str, Any]:
    """The worker, until it has counted so many; the clock starts when the first batch is counted."""
    import redis

    from monitor.config import validate
    from monitor.service.process import Process

    process = Process(validate(config))
    line = process._models.first.scorer.line
    clock = _Clock()
    trips = Counter[str]()
    _count_trips(redis, trips)
    w = process._worker
    for part, owner, name in (
        ("poll", w._source, "poll"),
        ("offsets", w._source, "commit"),
        ("read", w._counter, "read"),
        ("score", process._models.first.scorer, "score"),
        ("count", w._counter, "count"),
        ("redis", process.store, "commit"),
        ("judge", process, "_evaluate"),
        ("report", w, "_report"),  # once a second, whatever the batches are
        ("notice", process.store, "notice"),  # once for each partition that was claimed
    ):
        setattr(owner, name, clock.timed(part, getattr(owner, name), trips))
    print("ready", flush=True)
    batches: list[int] = []
    memory: list[tuple[int, int, int]] = []
    got, began, cpu, own = 0, 0.0, 0.0, 0.0
    while got < messages:
        n = process.step()
        if n and not got:
            clock.cpu.clear(), clock.own.clear(), trips.clear()
            began, cpu, own, first = time.perf_counter(), time.process_time(), time.thread_time(), n
        elif n:
            batches.append(n)
        if n and every and got // every != (got + n) // every:
            memory.append((got + n, _rss(), int(process.store._client.info("memory")["used_memory"])))
        got += n
    result = _rates(got - first, began, cpu)
    own = time.thread_time() - own
    round_trips = (trips["all"] - trips["judge"]) / max(1, len(batches))
    process.close()
    total = result["cpu_us"] * (got - first) / 1e6
    spent = {PARTS[p]: clock.cpu[p] for p in PARTS}
    spent["the loop itself"] = own - sum(clock.own.values())
    spent["threads of the Kafka client"] = max(0.0, total - spent["the loop itself"] - sum(clock.cpu.values()))
    return result | {
        "batch": round(statistics.mean(batches or [0])),
        "redis_round_trips_a_batch": None if every else round(round_trips, 3),
        "judge_us": round(clock.cpu["judge"] / (got - first) * 1e6, 2),
        "profile_percent": {k: round(100 * v / total, 1) for k, v in spent.items()},
        "memory": memory,
        **({"head": _head(line, config["model"]["artifact"], round(statistics.median(batches)))} if head else {}),
    }


def produce(
    bootstrap: str, topic: str, rows: str, messages: int, rate: float, streams: int, partitions: int, bad: float
) -> dict[str, Any]:
    """Send embeddings as ``EmbeddingPublisher`` does; ``rate`` 0 as fast as it goes, ``bad`` a share cut short."""
    import numpy as np
    from confluent_kafka import Producer

    from monitor.alerts.alert import moment

    values = [row.tobytes() for row in np.load(rows)]
    rng = np.random.default_rng(0)
    cut = rng.random(messages) < bad
    names = [f"tenant-{k}".encode() for k in rng.integers(0, streams, messages).tolist()]
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.kbytes": 262_144})
    dim = str(len(values[0]) // 4).encode()
    begin = time.perf_counter()
    for n in range(messages):
        if rate:
            while time.perf_counter() < begin + n / rate:
                time.sleep(0.0005)
        at_ms = time.time_ns() // 1_000_000
        headers = [
            ("content-type", b"application/octet-stream"), ("ce_specversion", b"1.0"), ("ce_type", b"embedding"),
            ("ce_id", b"%032d" % n), ("ce_source", b"benchmark"), ("ce_time", moment(at_ms / 1000).encode()),
            ("ce_dtype", b"float32"), ("ce_dim", dim),
        ]  # fmt: skip
        value = values[n % len(values)]
        while True:
            try:
                producer.produce(
                    topic, value[:-4] if cut[n] else value, names[n], n % partitions, timestamp=at_ms, headers=headers
                )
                break
            except BufferError:
                producer.poll(0.05)
        if n % 100 == 0:
            producer.poll(0)
    producer.flush()
    return {"seconds": time.perf_counter() - begin}


class _Clock:
    """CPU seconds by part: ``own`` those of the main thread, ``cpu`` of any."""

    def __init__(self) -> None:
        self.cpu: Counter[str] = Counter()
        self.own: Counter[str] = Counter()

    def timed(self, part: str, function: Callable[..., Any], trips: Counter[str]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            begin, before = time.thread_time(), trips["all"]
            try:
                return function(*args, **more)
            finally:
                spent = time.thread_time() - begin
                self.cpu[part] += spent
                if threading.current_thread() is threading.main_thread():
                    self.own[part] += spent
                if part in ("judge", "report", "notice"):
                    trips["judge"] += trips["all"] - before

        return call


def _count_trips(redis: Any, trips: Counter[str]) -> None:
    """Count every write to Redis's socket."""
    kind = redis.connection.AbstractConnection
    send = kind.send_packed_command

    def counted(self: Any, *args: Any, **more: Any) -> Any:
        if (
            threading.current_thread() is threading.main_thread()
        ):  # delivery and the watch have connections of their own
            trips["all"] += 1
        return send(self, *args, **more)

    kind.send_packed_command = counted


def _rates(messages: int, began: float, cpu: float) -> dict[str, Any]:
    seconds = time.perf_counter() - began
    return {"per_second": messages / seconds, "cpu_us": (time.process_time() - cpu) / messages * 1e6}


def _head(line: Any, artifact: str, batch: int) -> float:
    """Rows a second of the scorer alone, in batches of that size, nothing else running in this process."""
    from benchmarks.scoring import features
    from line_plugin import LINe

    x = features(LINe.load(artifact), batch, zeros=True).numpy()
    line.predict(x)
    seconds = []
    for _ in range(15):
        begin = time.perf_counter()
        line.predict(x)
        seconds.append(time.perf_counter() - begin)
    return batch / statistics.median(seconds)


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    role = {"bare": bare, "worker": worker, "produce": produce}[sys.argv[1]]
    print(json.dumps(role(**json.loads(sys.argv[2]))), flush=True)
