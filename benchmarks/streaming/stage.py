"""What the measurements stand on: a broker, a Redis, heads, filled topics, and child processes."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scoring import features, fitted
from line_plugin import LINe
from monitor.store.connection import connect
from monitor.store.redis import RedisStore
from monitor.testing import launcher
from tests.kafka.apache import start_apache_kafka

ROOT = Path(__file__).parents[2]
ROWS = 4000
PRESETS = {1000: "imagenet-resnet50", 100: "cifar100-densenet", 10: "cifar10-densenet"}


class Stage:
    """A genuine Apache Kafka and a Redis, on loopback, with a scratch folder."""

    def __init__(self, bootstrap: str, redis: str, folder: Path) -> None:
        self.bootstrap, self.redis, self.folder = bootstrap, redis, folder
        self._names = itertools.count()
        self._heads: dict[tuple[int, int], LINe] = {}

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[Stage]:
        with (
            tempfile.TemporaryDirectory(prefix="streaming-") as folder,
            start_apache_kafka() as kafka,
            launcher.start_store() as redis,
        ):
            yield cls(kafka.address, redis.address, Path(folder))

    def head(self, k: int, d: int) -> tuple[str, LINe]:
        """A random head of K classes, calibrated on rows drawn like those that are sent; half of a row is 0."""
        path = self.folder / f"line-{k}-{d}.safetensors"
        if (k, d) not in self._heads:
            line = fitted(k, d, PRESETS[k])
            line.calibrate(features(line, ROWS, zeros=True) * 0.999)
            line.save(path)
            self._heads[k, d] = line
        return str(path), self._heads[k, d]

    def rows(self, line: LINe, ood: float = 0.0) -> str:
        """A file of rows predicted as random classes, a share ``ood`` of them near zero activation."""
        path = self.folder / f"rows-{line.num_classes}-{line.width}-{ood}.npy"
        if not path.exists():
            x = features(line, ROWS, zeros=True).numpy()
            out = np.random.default_rng(1).random(len(x)) < ood
            x[out] *= 0.05
            np.save(path, x.astype("<f4"))
        return str(path)

    def topic(self, partitions: int = 6) -> str:
        name = f"t{next(self._names)}"
        launcher.create_topic(self.bootstrap, name, partitions)
        launcher.create_topic(self.bootstrap, f"{name}.dead-letter", 1)
        return name

    def producing(
        self,
        topic: str,
        rows: str,
        messages: int,
        *,
        rate: float = 0,
        streams: int = 3,
        partitions: int = 6,
        bad: float = 0,
    ) -> Child:
        return Child(
            "produce",
            bootstrap=self.bootstrap, topic=topic, rows=rows, messages=messages, rate=rate, streams=streams,
            partitions=partitions, bad=bad,
        )  # fmt: skip

    def bare(self, topic: str, messages: int, max_records: int) -> dict[str, Any]:
        group = f"bare-{time.monotonic_ns()}"
        child = Child(
            "bare", bootstrap=self.bootstrap, topic=topic, group=group, messages=messages, max_records=max_records
        )
        return child.result()

    def working(
        self,
        topic: str,
        artifact: str,
        messages: int,
        *,
        client: str = "kafka-python",
        threads: int = 1,
        max_records: int = 1000,
        bucket_seconds: float = 1.0,
        **more: Any,
    ) -> tuple[Child, RedisStore]:
        group = f"g{time.monotonic_ns()}"
        config = {
            "model": {"artifact": artifact, "threads": threads},
            "kafka": {
                "bootstrap_servers": self.bootstrap, "topic": topic, "group": group, "start": "earliest",
                "client": client, "max_poll_records": max_records,
            },
            "redis": {"url": f"redis://{self.redis}/0"},
            "buckets": {"seconds": bucket_seconds},
            "alerts": {"silence_seconds": 0},
            "dead_letters": {"max_share": 1.0},
        }  # fmt: skip
        store = RedisStore(connect(f"redis://{self.redis}/0"), group)
        return Child("worker", config=config, messages=messages, **more), store


class Child:
    """A measured process."""

    def __init__(self, role: str, **options: Any) -> None:
        command = [sys.executable, "-m", "benchmarks.streaming.children", role, json.dumps(options)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)

    def wait_ready(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def running(self) -> bool:
        return self._process.poll() is None

    def result(self, seconds: float = 200) -> dict[str, Any]:
        try:
            out, said = self._process.communicate(timeout=seconds)
        finally:
            if self.running():
                self._process.kill()
                self._process.wait()
        if self._process.returncode:
            raise RuntimeError(f"a measured process ended with {self._process.returncode}: {said[-1500:]}")
        return dict(json.loads(out.splitlines()[-1]))
