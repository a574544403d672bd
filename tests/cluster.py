"""A monitor under test as its users run it: processes of ``ood-monitor run`` on a broker and a store."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from monitor.store.connection import connect
from monitor.store.redis import RedisStore
from monitor.testing import launcher
from tests.monitor_support import artifact, embeddings, small_line
from tests.oracle.recount import recount

REPOSITORY = Path(__file__).parent.parent


def read_topic(bootstrap: str, topic: str) -> list:
    """Everything in a topic, read anew by a consumer of its own."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        numbers = consumer.partitions_for_topic(topic) or set()
        assigned = [TopicPartition(topic, n) for n in numbers]
        consumer.assign(assigned)
        consumer.seek_to_beginning(*assigned)
        found, empty = [], 0
        while empty < 4:
            polled = [r for records in consumer.poll(timeout_ms=500).values() for r in records]
            found += polled
            empty = 0 if polled else empty + 1
        return found
    finally:
        consumer.close()


class Cluster:
    """One topic, one group, any number of workers."""

    def __init__(
        self, bootstrap: str, redis_url: str, folder: Path, name: str, partitions: int = 6, **settings
    ) -> None:
        self.bootstrap, self.folder, self.topic = bootstrap, folder, name
        self.line = small_line()
        self.config = {
            "model": {"artifact": str(artifact(folder)), "threads": 1},
            "kafka": {
                "bootstrap_servers": bootstrap, "topic": name, "group": name, "start": "earliest",
                "session_timeout_ms": 6000, "heartbeat_interval_ms": 500, "max_poll_records": 200,
            },
            "redis": {"url": redis_url},
            "buckets": {"seconds": 1.0, "idle_seconds": 5.0},
            "alerts": {"silence_seconds": 0},
        }  # fmt: skip
        for section, values in settings.items():
            self.config.setdefault(section, {}).update(values)
        self.path = folder / "monitor.yml"
        self.path.write_text(yaml.safe_dump(self.config))
        launcher.create_topic(bootstrap, name, partitions)
        launcher.create_topic(bootstrap, f"{name}.dead-letter", 1)
        self.partitions = partitions
        self.store = RedisStore(connect(redis_url), name)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.sent = 0
        self._rows = embeddings(4000, seed=11, ood=0.1)
        self._producer = None

    def producer(self):
        if self._producer is None:
            from kafka import KafkaProducer

            self._producer = KafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=5, acks="all")
        return self._producer

    def publish(self, n: int, start_ms: int | None = None, step_ms: int = 5) -> None:
        at = start_ms or (time.time_ns() // 1_000_000)
        for k in range(n):
            i = self.sent
            self.producer().send(
                self.topic,
                key=f"model-{i % 3}".encode(),
                value=self._rows[i % len(self._rows)].tobytes(),
                headers=[("ce_id", f"r{i}".encode())],
                partition=i % self.partitions,
                timestamp_ms=at + k * step_ms,
            )
            self.sent += 1
        self.producer().flush()

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **(more or {})}

    def start_worker(self, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "monitor.cli", "run", "--config", str(self.path)]
        env = self.environment(environment)
        with (self.folder / f"worker-{len(self.workers)}-{time.monotonic_ns()}.log").open("wb") as log:
            process = subprocess.Popen(command, stderr=log, stdout=log, cwd=self.folder, env=env)
        self.workers.append(process)
        return process

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.workers.remove(worker)

    def leave(self, worker: subprocess.Popen[bytes]) -> None:
        """In order, as a deployment does it."""
        self.workers.remove(worker)
        worker.terminate()
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()

    def counted(self) -> int:
        return sum(self.store.totals().values()) + sum(self.store.rejected().values())

    def wait(self, what: Callable[[], bool], seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < until, f"not in {seconds:g} s; {self.counted()} of {self.sent}\n{self.logs()}"
            for w in self.workers:
                assert w.poll() is None, f"a worker ended with {w.returncode}\n{self.logs()}"
            time.sleep(0.05)

    def wait_until_counted(self, seconds: float = 120) -> None:
        self.wait(lambda: self.counted() >= self.sent, seconds)

    def logs(self) -> str:
        return "\n".join(p.read_text(errors="replace")[-20_000:] for p in sorted(self.folder.glob("worker-*.log"))[-4:])

    def records(self, topic: str | None = None) -> list:
        """Everything in a topic, read anew by a consumer of its own."""
        return read_topic(self.bootstrap, topic or self.topic)

    def recounted(self) -> dict:
        return recount(self.line, [(r.key, r.value) for r in self.records()])

    def stop(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(15)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        if self._producer is not None:
            self._producer.close()


def kill_at_random(cluster: Cluster, kills: int, workers: int, seed: int, each: int = 400) -> None:
    """Keep ``workers`` running under load and SIGKILL one at a random moment, ``kills`` times; some leave in order."""
    rng = random.Random(seed)
    begin = time.time_ns() // 1_000_000
    for _ in range(workers):
        cluster.start_worker()
    cluster.publish(each, begin)
    cluster.wait(lambda: cluster.counted() > 0)
    for k in range(kills):
        before = cluster.counted()
        cluster.publish(each, begin + 5 * each * (k + 1))
        cluster.wait(lambda before=before: cluster.counted() > before)
        time.sleep(rng.uniform(0, 0.5))
        cluster.kill(rng.choice(cluster.workers))
        if rng.random() < 0.3 and len(cluster.workers) > 1:
            cluster.leave(rng.choice(cluster.workers))
        while len(cluster.workers) < workers:
            cluster.start_worker()
    cluster.wait_until_counted(180)


def differences(counted: dict, recounted: dict) -> tuple[int, int]:
    """``(lost, counted twice)`` in samples."""
    keys = set(counted) | set(recounted)
    gaps = np.array([counted.get(k, 0) - recounted.get(k, 0) for k in keys] or [0])
    return int(-gaps[gaps < 0].sum()), int(gaps[gaps > 0].sum())
