"""Lag under a burst: a seeded simulation in steps, and the same burst sent to one real worker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.scale.measure import opened
from benchmarks.streaming.stage import Stage


@dataclass(frozen=True)
class Lag:
    """How a group fell behind.

    Attributes:
        most: records behind, at most.
        seconds: the age of the oldest record that waited, at most.
        caught_up_s: seconds from the begin of the burst until nothing waited any more.
    """

    most: float
    seconds: float
    caught_up_s: float


def simulate(
    rate: float,
    capacity: float,
    *,
    times: float = 10,
    burst_s: float = 60,
    partitions: int = 1,
    seed: int = 0,
    step_s: float = 0.01,
) -> Lag:
    """Poisson arrivals at ``rate``, ``times`` as many for ``burst_s``, dealt to partitions that drain alike, in order.

    Args:
        rate: records a second before and after the burst; below ``capacity``.
        capacity: records a second that all workers together count.
        times: the height of the burst.
        burst_s: its length.
        partitions: each has its share of the capacity and its own queue.
        seed: of the arrivals.
        step_s: of the simulation.

    Raises:
        ValueError: the group could never catch up.
    """
    if rate >= capacity:
        raise ValueError(f"a rate of {rate:g} was given, expected one below the capacity of {capacity:g}")
    rng = np.random.default_rng(seed)
    waiting, most, oldest, at = np.zeros(partitions), 0.0, 0.0, 0.0
    served = capacity * step_s / partitions
    while at < burst_s or waiting.sum() >= 1:
        now = rate * (times if at < burst_s else 1)
        came = rng.multinomial(rng.poisson(now * step_s), np.full(partitions, 1 / partitions))
        waiting = np.maximum(0.0, waiting + came - served)
        at += step_s
        most = max(most, float(waiting.sum()))
        # What waits behind so many is as old as they took to come: the burst is the newest of them.
        oldest = max(oldest, float(waiting.max()) * partitions / capacity)
    return Lag(most, oldest, at)


def send(
    stage: Stage, base_s: float = 3.0, burst_s: float = 3.0, share: float = 0.2, times: float = 10
) -> dict[str, Any]:
    """One real worker, first on a full topic for its capacity, then under a burst; beside it what the simulation says.

    The capacity that the simulation gets is the one at which the worker drained this burst's backlog.
    """
    artifact, line = stage.head(1000, 2048)
    rows = stage.rows(line)
    full = stage.topic(1)
    stage.producing(full, rows, 6000, partitions=1).result()
    child, _ = stage.working(full, artifact, 6000)
    alone = child.result()["per_second"]
    rate = share * alone
    topic = stage.topic(1)
    sent = round(rate * (base_s + times * burst_s + base_s))
    child, store = stage.working(topic, artifact, sent)
    child.wait_ready()
    _until(lambda: bool(store.partitions()))
    seen: list[tuple[float, int]] = []
    parts = [(base_s, rate), (burst_s, rate * times), (base_s, rate)]
    marks = []
    for seconds, now in parts:
        marks.append(time.monotonic())
        producer = stage.producing(topic, rows, round(seconds * now), rate=now, partitions=1)
        while producer.running():
            seen.append((time.monotonic(), sum(p.next for p in store.partitions().values())))
            time.sleep(0.01)
        producer.result()
    total = sum(round(seconds * now) for seconds, now in parts)
    while seen[-1][1] < total - 1 and time.monotonic() < marks[-1] + 120:
        seen.append((time.monotonic(), sum(p.next for p in store.partitions().values())))
        time.sleep(0.01)
    child.result()
    return compare(seen, marks, [round(s * r) for s, r in parts], rate, times)


def compare(
    seen: Sequence[tuple[float, int]], marks: Sequence[float], sent: Sequence[int], rate: float, times: float
) -> dict[str, Any]:
    """What was seen beside what :func:`simulate` says for the rate that was really sent and drained."""
    begin, after = marks[1], marks[2]
    burst_s, real = after - begin, sent[1] / (after - begin)
    behind = [(t, max(0.0, min(sent[1], (t - begin) * real) + sent[0] - n)) for t, n in seen if begin <= t <= after]
    most = max(b for _, b in behind)
    counted = [(t, n) for t, n in seen if begin <= t]
    until = next((t for t, n in counted if n >= sent[0] + sent[1]), counted[-1][0])
    first = next(n for t, n in counted)
    capacity = (sent[0] + sent[1] - first) / (until - begin)
    told = simulate(min(rate, 0.99 * capacity), capacity, times=real / rate, burst_s=burst_s)
    return {
        "rate/s": round(rate), "burst/s": round(real), "burst s": round(burst_s, 1), "capacity/s": round(capacity),
        "most behind": round(most), "simulated most": round(told.most),
        "simulated / measured, most": round(told.most / max(1.0, most), 2),
        "drained s": round(until - begin, 1), "simulated drained s": round(sent[1] / capacity, 1),
    }  # fmt: skip


def _until(what: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise RuntimeError(f"the worker has claimed nothing within {seconds:.0f} s")
        time.sleep(0.01)


def measure_burst() -> dict[str, Any]:
    """One run on a broker and a Redis of its own."""
    with opened() as stage:
        return send(stage)
