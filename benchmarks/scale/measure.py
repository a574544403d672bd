"""What the model takes as inputs, measured as CPU of processes: seconds would tell of busy neighbours."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.streaming.stage import ROOT, Stage
from monitor.config import AlertConfig
from monitor.counting.counter import Counter, Owned
from monitor.counting.models import Models
from monitor.counting.scoring import Scorer
from monitor.judging.evaluator import Evaluator
from monitor.judging.rules import rules
from monitor.judging.settings import EvaluatorSettings
from monitor.messages.contract import Contract
from monitor.messages.record import Partition, Record
from monitor.store.connection import connect
from monitor.store.counts import Batch, CountKey
from monitor.store.partitions import Progress
from monitor.store.redis import RedisStore
from monitor.testing import launcher

MASSES = np.array([0.001, 0.004, 0.005, 0.01, 0.03, 0.05, 0.9])
PARTITIONS, CHUNK = 8, 500
INSIDE = ("hincrby", "zadd", "zremrangebyrank", "hset", "hsetnx", "hdel", "zrem", "pexpire", "hmget", "hexists")
"""Commands that the monitor sends inside of scripts only."""


@contextmanager
def opened() -> Iterator[Stage]:
    """A broker and a Redis on loopback; the broker is Tansu, since only processes of ours and Redis are measured."""
    with (
        tempfile.TemporaryDirectory(prefix="scale-") as folder,
        launcher.start_broker() as broker,
        launcher.start_store() as redis,
    ):
        yield Stage(broker.address, redis.address, Path(folder))


def counting(stage: Stage, workers: int, messages: int, streams: int = 300) -> dict[str, Any]:
    """So many processes of ``ood-monitor run`` on one topic that is filled already; what one record costs."""
    artifact, line = stage.head(1000, 2048)
    topic = stage.topic(PARTITIONS)
    stage.producing(topic, stage.rows(line), messages, streams=streams, partitions=PARTITIONS).result()
    group = f"g{time.monotonic_ns()}"
    path = stage.folder / f"{group}.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "model": {"artifact": artifact, "threads": 1},
                "kafka": {
                    "bootstrap_servers": stage.bootstrap, "topic": topic, "group": group, "start": "earliest",
                    "max_poll_records": 1000,
                },
                "redis": {"url": f"redis://{stage.redis}/0"},
                "buckets": {"seconds": 10.0},
                "alerts": {"silence_seconds": 0},
                "dead_letters": {"max_share": 1.0},
            }
        )
    )  # fmt: skip
    store = RedisStore(connect(f"redis://{stage.redis}/0"), group)
    command = [sys.executable, "-m", "monitor.cli", "run", "--config", str(path)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
            for _ in range(workers)
        ]

        def counted() -> int:
            return sum(store.totals().values())

        _wait(lambda: counted() > messages / 5, processes)
        first, begin, redis = counted(), [_cpu(p.pid) for p in processes], _redis(store)
        _wait(lambda: counted() >= messages * 0.95, processes)
        last, end, after = counted(), [_cpu(p.pid) for p in processes], _redis(store)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)
    records = last - first
    spent = {name: after[name] - redis[name] for name in after}
    return {
        "workers": workers,
        "streams": streams,
        "records": records,
        "worker CPU us a record": round(1e6 * (sum(end) - sum(begin)) / records, 1),
        "Redis CPU us a record": round(1e6 * spent["cpu"] / records, 2),
        "scripts sent for 1,000 records": round(1000 * spent["scripts"] / records, 2),
        "commands in scripts a record": round(spent["inside"] / records, 2),
    }


def batches(stage: Stage, streams: int, batch: int = 1000, count: int = 12) -> dict[str, Any]:
    """What a record costs a worker and Redis behind the Kafka client: read, scored, counted, written, without a broker.

    One batch is of 8 partitions, and the first two are left out.
    """
    _, line = stage.head(1000, 2048)
    rows = [row.tobytes() for row in np.load(stage.rows(line))]
    group = f"b{time.monotonic_ns()}"
    store = RedisStore(connect(f"redis://{stage.redis}/0", socket_timeout=60.0), group)
    counter = Counter(Models.single(Scorer(line), Contract(line.width)), 10_000, 5)
    parts = [Partition("t", n) for n in range(PARTITIONS)]
    owned = {p: Owned(claim.epoch, 0, -1) for p, claim in store.claim(dict.fromkeys(parts, 0)).items()}
    rng, now = np.random.default_rng(0), store.now_ms()
    python, redis = 0.0, dict.fromkeys(("cpu", "scripts", "inside"), 0.0)
    for n in range(count):
        records = {
            p: [
                Record(
                    "t",
                    p.number,
                    owned[p].next + k,
                    now,
                    b"tenant-%d" % rng.integers(streams),
                    rows[rng.integers(len(rows))],
                )
                for k in range(batch // PARTITIONS)
            ]
            for p in parts
        }
        before, own = _redis(store), time.process_time()
        read = counter.read(records, now)
        added, _ = counter.count(read, counter.score(read), owned)
        store.commit(added)
        own, after = time.process_time() - own, _redis(store)
        owned = {s.partition: Owned(s.epoch, s.next, s.bucket) for s in added.progress}
        if n >= 2:
            python += own
            redis = {name: redis[name] + after[name] - before[name] for name in redis}
    records_counted = (count - 2) * (batch // PARTITIONS) * PARTITIONS
    return {
        "streams": streams,
        "records a batch": batch // PARTITIONS * PARTITIONS,
        "worker CPU us a record": round(1e6 * python / records_counted, 1),
        "Redis CPU us a record": round(1e6 * redis["cpu"] / records_counted, 2),
        "commands in scripts a record": round(redis["inside"] / records_counted, 2),
    }


def consuming(stage: Stage, messages: int) -> dict[str, Any]:
    """What a record costs kafka-python alone, in one consumer of all partitions."""
    from kafka import KafkaConsumer, TopicPartition

    _, line = stage.head(1000, 2048)
    topic = stage.topic(PARTITIONS)
    stage.producing(topic, stage.rows(line), messages, partitions=PARTITIONS).result()
    consumer = KafkaConsumer(bootstrap_servers=stage.bootstrap, enable_auto_commit=False)
    assigned = [TopicPartition(topic, n) for n in range(PARTITIONS)]
    consumer.assign(assigned)
    consumer.seek_to_beginning(*assigned)
    got, own, until = 0, time.process_time(), time.monotonic() + 120
    while got < 0.95 * messages and time.monotonic() < until:
        got += sum(map(len, consumer.poll(timeout_ms=500, max_records=1000).values()))
    own = time.process_time() - own
    consumer.close()
    return {"records": got, "kafka-python CPU us a record": round(1e6 * own / got, 1)}


def _wait(what: Callable[[], bool], processes: list[subprocess.Popen[bytes]], seconds: float = 400) -> None:
    until = time.monotonic() + seconds
    while not what():
        ended = [p.returncode for p in processes if p.poll() is not None]
        if ended or time.monotonic() > until:
            raise RuntimeError(f"a worker ended with {ended[0]}" if ended else f"not counted within {seconds:.0f} s")
        time.sleep(0.2)


def _cpu(pid: int) -> float:
    """CPU seconds of a process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _redis(store: RedisStore) -> dict[str, float]:
    """CPU seconds of Redis so far, scripts that clients sent, and commands that ran inside of those."""
    used, calls = store.client.info("cpu"), store.client.info("commandstats")
    inside = sum(calls.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in INSIDE)
    scripts = calls.get("cmdstat_evalsha", {"calls": 0})["calls"]
    return {"cpu": used["used_cpu_user"] + used["used_cpu_sys"], "scripts": float(scripts), "inside": float(inside)}


def judging(streams: int, buckets: int = 3) -> dict[str, Any]:
    """What one bucket costs the evaluator and Redis if every stream has samples in it; the first is left out."""
    rng = np.random.default_rng(0)
    python, redis, held = [], [], []
    with launcher.start_store() as server:
        client = connect(f"redis://{server.address}/0", socket_timeout=60.0)  # one script writes all that was judged
        store, p = RedisStore(client, "many"), Partition("t", 0)
        claim = store.claim({p: 0})[p]
        settings = EvaluatorSettings("many", "artifact", idle_ms=1, lease_ms=600_000)
        evaluator = Evaluator(store, rules(AlertConfig(silence_seconds=0), 50_000), settings, "me")
        evaluator.step()
        at, first = 0, store.now_ms() // 1000 - buckets - 1
        for bucket in range(first, first + buckets + 1):
            for begin in range(0, streams, CHUNK):
                counts = _counts(range(begin, min(begin + CHUNK, streams)), rng)
                store.commit(Batch([Progress(p, claim.epoch, at, at + 1, bucket)], {bucket: counts}))
                at += 1
            held.append(int(client.info("memory")["used_memory"]))
            spent, own = _redis(store)["cpu"], time.process_time()
            evaluator.step()
            python.append(time.process_time() - own)
            redis.append(_redis(store)["cpu"] - spent)
    return {
        "streams": streams,
        "evaluator CPU s a bucket": round(float(np.median(python[1:])), 3),
        "evaluator CPU us a stream": round(1e6 * float(np.median(python[1:])) / streams, 1),
        "Redis CPU us a stream": round(1e6 * float(np.median(redis[1:])) / streams, 1),
        "Redis bytes a stream and bucket": round((held[-1] - held[1]) / (len(held) - 2) / streams),
        "Redis bytes a stream": round((held[1] - 2 * (held[-1] - held[1]) / (len(held) - 2)) / streams),
    }


def _counts(streams: range, rng: np.random.Generator) -> dict[CountKey, int]:
    """Three samples a stream, in four predicted classes."""
    return {
        (f"tenant-{k}", int(rng.integers(0, 4)), cell): int(n)
        for k in streams
        for cell, n in enumerate(rng.multinomial(3, MASSES))
        if n
    }
