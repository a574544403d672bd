"""One function a table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.streaming.stage import Stage

CLIENTS = ("kafka-python", "confluent-kafka")


def throughput(stage: Stage, pairs: int) -> dict[str, Any]:
    """Messages a second: the worker beside the bare loop on the same topic, and beside its own head alone."""
    rows = []
    for k, d, messages in ((1000, 2048, 20_000), (10, 342, 60_000)):
        artifact, line = stage.head(k, d)
        topic = stage.topic()
        stage.producing(topic, stage.rows(line), messages).result()
        runs: dict[str, list[dict[str, Any]]] = {client: [] for client in CLIENTS}
        bares = []
        for _ in range(pairs):
            bares.append(stage.bare(topic, messages, 1000))
            for client in CLIENTS:
                child, _ = stage.working(topic, artifact, messages, client=client, head=True)
                runs[client].append(child.result())
                trips = runs[client][-1]["redis_round_trips_a_batch"]
                assert trips <= 1.0, f"{trips} Redis round trips a batch, expected one"
        for client, found in runs.items():
            to_bare = [w["per_second"] / b["per_second"] for w, b in zip(found, bares, strict=True)]
            to_head = [w["per_second"] / w["head"] for w in found]
            middle = sorted(found, key=lambda w: w["per_second"])[len(found) // 2]
            rows.append(
                {
                    "K": k, "D": d, "client": client, "batch": middle["batch"],
                    "worker/s": round(_median(found, "per_second")), "bare loop/s": round(_median(bares, "per_second")),
                    "head alone/s": round(_median(found, "head")),
                    "worker / bare": _spread(to_bare), "worker / head": _spread(to_head),
                    "bound": "head" if _median(found, "head") < _median(bares, "per_second") else "Kafka",
                    "CPU us worker": round(_median(found, "cpu_us"), 1),
                    "CPU us bare": round(_median(bares, "cpu_us"), 1),
                    "Redis round trips a batch": middle["redis_round_trips_a_batch"],
                    "profile_percent": middle["profile_percent"],
                }
            )  # fmt: skip
    return {"throughput": rows}


def latency(stage: Stage, seconds: float = 10.0) -> dict[str, Any]:
    """Produced to counted, as a reader of Redis sees it, K = 1000 and D = 2048.

    The capacity is what the worker counts while a producer sends as fast as it can on the same cores: less than it
    counts from a topic that is filled already.
    """
    out = []
    for client in CLIENTS:
        _, seen, _ = _watched(stage, client, 30_000, 0)
        capacity = _rate(seen)
        for name, rate in (("1k/s", 1000.0), ("80 % of capacity", 0.8 * capacity)):
            topic, seen, sent = _watched(stage, client, round(seconds * rate), rate)
            ms = _latencies(stage, topic, seen)
            p50, p99 = np.percentile(ms[len(ms) // 2 :], [50, 99])  # producer and broker take seconds to warm up
            out.append(
                {
                    "client": client, "rate": name, "capacity/s": round(capacity), "asked/s": round(rate),
                    "sent/s": round(sent), "p50 ms": round(p50, 1), "p99 ms": round(p99, 1),
                }
            )  # fmt: skip
    return {"latency": out}


Seen = list[tuple[float, dict[int, int]]]
"""Unix time in ms, and the next offset of each partition in Redis then."""


def _watched(stage: Stage, client: str, messages: int, rate: float) -> tuple[str, Seen, float]:
    """Send to a worker that is ready, and look at Redis about every millisecond; topic, what was seen, rate sent."""
    artifact, line = stage.head(1000, 2048)
    topic = stage.topic()
    child, store = stage.working(topic, artifact, messages, client=client)
    child.wait_ready()
    until = time.monotonic() + 60
    while len(store.partitions()) < 6 and time.monotonic() < until:  # else what the group's join delays is measured
        time.sleep(0.01)
    producer = stage.producing(topic, stage.rows(line), messages, rate=rate)
    seen: Seen = []
    until = time.monotonic() + 60
    while time.monotonic() < until and (not seen or sum(seen[-1][1].values()) < messages):
        stored = store.partitions()
        seen.append((time.time() * 1000, {p.number: s.next for p, s in stored.items()}))
        time.sleep(0.001)
    sent = producer.result()
    child.result()
    return topic, seen, messages / sent["seconds"]


def _rate(seen: Seen) -> float:
    """Messages a second over the later three quarters."""
    counted = [sum(at.values()) for _, at in seen]
    first = int(np.searchsorted(counted, counted[-1] / 4))
    return 1000 * (counted[-1] - counted[first]) / (seen[-1][0] - seen[first][0])


def _latencies(stage: Stage, topic: str, seen: Seen) -> list[float]:
    """Milliseconds of each record, in the order in which they were sent."""
    from kafka import KafkaConsumer, TopicPartition

    times = np.array([t for t, _ in seen])
    counted = {n: np.array([at.get(n, 0) for _, at in seen]) for n in range(6)}
    consumer = KafkaConsumer(bootstrap_servers=stage.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    parts = [TopicPartition(topic, n) for n in range(6)]
    consumer.assign(parts)
    consumer.seek_to_beginning(*parts)
    total = sum(seen[-1][1].values())
    found: list[tuple[int, float]] = []
    while len(found) < total:
        for tp, records in consumer.poll(timeout_ms=500).items():
            for r in records:
                at = int(np.searchsorted(counted[tp.partition], r.offset, side="right"))
                found.append((r.timestamp, times[at] - r.timestamp))
    consumer.close()
    return [ms for _, ms in sorted(found)]


def memory(stage: Stage, messages: int) -> dict[str, Any]:
    """RSS and Redis over many messages, K = 10 and D = 32."""
    artifact, line = stage.head(10, 32)
    out = []
    for client in CLIENTS:
        topic = stage.topic()
        stage.producing(topic, stage.rows(line), messages).result()
        child, _ = stage.working(topic, artifact, messages, client=client, every=messages // 50)
        taken = np.array(child.result(400)["memory"], dtype=float)
        warm = taken[taken[:, 0] >= messages / 5]
        slope = np.polyfit(warm[:, 0] / 1e6, warm[:, 1] / 2**20, 1)[0]
        out.append(
            {
                "client": client, "messages": messages,
                "RSS MB at a fifth": round(warm[0, 1] / 2**20, 1),
                "RSS MB at the end": round(warm[-1, 1] / 2**20, 1),
                "slope MB per million": round(float(slope), 2),
                "Redis MB at a fifth": round(warm[0, 2] / 2**20, 2),
                "Redis MB at the end": round(warm[-1, 2] / 2**20, 2),
            }
        )  # fmt: skip
    return {"memory": out}


def growth(stage: Stage, messages: int) -> dict[str, Any]:
    """Microseconds a message as one thing grows, D = 342; the exponent is the slope in logs."""
    out = []

    def measure(what: str, values: list[float], run: Callable[[float], dict[str, Any]]) -> None:
        found = [run(v) for v in values]
        cost = [1e6 / f["per_second"] for f in found]
        plain = [f["cpu_us"] for f in found]
        logs = all(v > 0 for v in values)
        slope = np.polyfit(np.log(values), np.log(plain), 1)[0] if logs else None
        out.append(
            {
                "grows": what, "values": values, "wall us": [round(c, 1) for c in cost],
                "CPU us": [round(c, 1) for c in plain],
                "of it judging": [f["judge_us"] for f in found],
                "exponent of CPU": None if slope is None else round(float(slope), 2),
                "last / first": round(plain[-1] / plain[0], 2),
            }
        )  # fmt: skip

    def run(k: int = 10, ood: float = 0.0, **sent: Any) -> dict[str, Any]:
        artifact, line = stage.head(k, 342)
        topic = stage.topic(sent.get("partitions", 6))
        stage.producing(topic, stage.rows(line, ood), messages, **sent).result()
        child, _ = stage.working(topic, artifact, messages)
        return child.result()

    measure("streams", [1, 10, 100, 1000, 10_000], lambda v: run(streams=int(v)))
    measure("classes K", [10, 100, 1000], lambda v: run(k=int(v)))
    measure("partitions", [1, 6, 24], lambda v: run(partitions=int(v)))
    measure("share of OOD", [0.0, 0.1, 0.5], lambda v: run(ood=v))
    measure("share of bad records", [0.0, 0.01, 0.1], lambda v: run(bad=v))
    return {"growth": out}


def _median(found: list[dict[str, Any]], key: str) -> float:
    return statistics.median(f[key] for f in found)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
