"""The servers and the workers of one scenario: each can be stopped, started again and looked at by a fault."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from monitor.messages.record import Partition
from monitor.store.partitions import PartitionState
from monitor.testing import launcher
from tests.chaos.load import Load
from tests.chaos.receiver import Receiver
from tests.cluster import Cluster
from tests.kafka.apache import start_apache_kafka

POISON_HEADER = "chaos-poison"
"""On records that no monitor can score; the recount leaves them out."""


@dataclass
class Servers:
    """Kafka, Redis, Alertmanager and the receiver behind it. Kafka and Redis keep their data over a restart."""

    kafka: launcher.Server
    redis: launcher.Server
    alertmanager: launcher.Server
    receiver: Receiver
    folder: Path

    @classmethod
    @contextlib.contextmanager
    def started(cls, folder: Path) -> Iterator[Servers]:
        for name in ("kafka", "redis", "alertmanager"):
            (folder / name).mkdir()
        with contextlib.ExitStack() as stack:
            receiver = Receiver()
            stack.callback(receiver.close)
            write_routing(folder, receiver.url)
            made = cls(
                start_apache_kafka(folder / "kafka"),
                launcher.start_store(folder=folder / "redis"),
                start_alertmanager(folder),
                receiver,
                folder,
            )
            stack.callback(lambda: [s.stop() for s in (made.kafka, made.redis, made.alertmanager)])
            yield made

    def restart_kafka(self) -> None:
        self.kafka = start_apache_kafka(self.folder / "kafka", self.kafka.port)

    def restart_redis(self) -> None:
        self.redis = launcher.start_store(port=self.redis.port, folder=self.folder / "redis")

    def restart_alertmanager(self) -> None:
        self.alertmanager = start_alertmanager(self.folder, self.alertmanager.port)


def write_routing(folder: Path, url: str) -> None:
    """Alertmanager's settings: every alert by itself and at once, so that the delay measured is the monitor's."""
    hook = {"url": url, "send_resolved": True}
    route = {
        "receiver": "chaos",
        "group_by": ["..."],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "1h",
    }
    written = {"route": route, "receivers": [{"name": "chaos", "webhook_configs": [hook]}]}
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(written))


def start_alertmanager(folder: Path, port: int | None = None) -> launcher.Server:
    chosen = port or launcher.free_port()
    command = [
        "prometheus-alertmanager", f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address=127.0.0.1:{chosen}",
        "--cluster.listen-address=", "--log.level=warn",
    ]  # fmt: skip
    return launcher.start(
        "alertmanager", command, chosen, lambda: launcher.listens(chosen), folder=folder / "alertmanager"
    )


@dataclass(frozen=True)
class Ended:
    """A worker that ended by itself."""

    at: float
    code: int
    line: str


class Stage:
    """One scenario's topic, group, workers and load.

    Workers are looked after as a deployment does it: one that ends by itself is written down and started again.
    """

    def __init__(self, servers: Servers, name: str, settings: dict[str, Any], workers: int, seed: int) -> None:
        self.servers, self.seed, self.wanted = servers, seed, workers
        self.random = random.Random(seed)
        self.folder = servers.folder / name
        self.folder.mkdir()
        base: dict[str, Any] = {
            "kafka": {"session_timeout_ms": 3000, "heartbeat_interval_ms": 300, "client": "confluent-kafka"},
            "redis": {"socket_timeout_seconds": 1.0},
            "buckets": {"seconds": 1.0, "idle_seconds": 3.0},
            "alerts": {"silence_seconds": 60, "requests_per_false_alert": 1_000_000, "resolve_after": 500},
            # Alertmanager's group_interval is a second here: what is over sooner than that has to be kept for it.
            "delivery": {"alertmanager_url": f"http://{servers.alertmanager.address}", "keep_firing_seconds": 5.0},
        }
        for section, values in settings.items():
            base.setdefault(section, {}).update(values)
        self.cluster = Cluster(servers.kafka.address, f"redis://{servers.redis.address}/0", self.folder, name, **base)
        self.load = Load(servers.kafka.address, name, seed)
        self.environments: list[dict[str, str]] = []
        self.ended: list[Ended] = []
        self.archived: list[Any] = []
        self._expected: set[int] = set()
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._nurse = threading.Thread(target=self._look_after, name="chaos-nurse")

    @property
    def topic(self) -> str:
        return self.cluster.topic

    @property
    def workers(self) -> list[subprocess.Popen[bytes]]:
        with self._lock:
            return list(self.cluster.workers)

    # -- workers ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The traffic begins, the workers start, and the first records are counted."""
        for n in range(self.wanted):
            self.cluster.start_worker(self.environments[n] if n < len(self.environments) else None)
        self._nurse.start()
        self.load.start()
        self.until(lambda: self.counted() > 0 and self._shared_out(), 90, "the workers never began to count")

    def _shared_out(self) -> bool:
        """Whether every partition has an owner, so that a fault does not meet the group's first assignment."""
        return len(self.partitions()) == self.cluster.partitions

    def _look_after(self) -> None:
        while not self._stop.wait(0.2):
            with self._lock:
                for worker in list(self.cluster.workers):
                    code = worker.poll()
                    if code is None:
                        continue
                    self.cluster.workers.remove(worker)
                    if worker.pid not in self._expected:
                        self.ended.append(Ended(time.time(), code, self.last_line()))
                while len(self.cluster.workers) < self.wanted:
                    self.cluster.start_worker()

    def last_line(self) -> str:
        lines = [line for line in self.cluster.logs().splitlines() if line.startswith("ood-monitor")]
        return lines[-1][:300] if lines else ""

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """SIGKILL; another one is started in its place."""
        with self._lock:
            self._expected.add(worker.pid)
            worker.send_signal(signal.SIGKILL)
            worker.wait()

    def replace_workers(self) -> None:
        """One after the other, in order, as a deployment does it."""
        for worker in self.workers:
            with self._lock:
                self._expected.add(worker.pid)
                worker.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(20)
            if worker.poll() is None:
                self.kill(worker)
            self.until(lambda: len(self.workers) == self.wanted, 20, "a worker was not started again")

    def leaseholder(self) -> subprocess.Popen[bytes] | None:
        """The worker that judges."""
        holder = self.cluster.store._client.hget(self.cluster.store.keys.lease, "holder") or ""
        pid = int(holder.split(":")[1]) if ":" in holder else 0
        return next((w for w in self.workers if w.pid == pid), None)

    # -- what is known of it ---------------------------------------------------------------------------------------

    def partitions(self) -> dict[Partition, PartitionState]:
        return self.cluster.store.partitions()

    def counted(self) -> int:
        return self.cluster.counted()

    def end_offsets(self) -> dict[int, int]:
        with _reader(self.servers.kafka.address) as consumer:
            return {tp.partition: n for tp, n in consumer.end_offsets(_partitions(consumer, self.topic)).items()}

    def caught_up(self, ends: dict[int, int]) -> bool:
        """Whether everything below these offsets is in the store."""
        try:
            stored = {p.number: s.next for p, s in self.partitions().items() if p.topic == self.topic}
        except Exception:  # Redis is not back yet
            return False
        return all(stored.get(n, 0) >= end for n, end in ends.items() if end)

    def records(self) -> list[Any]:
        """Everything that was ever in the topic and is not poison."""
        with _reader(self.servers.kafka.address) as consumer:
            found = [*self.archived, *_everything(consumer, self.topic)]
        return [r for r in found if POISON_HEADER not in dict(r.headers)]

    def archive(self, ends: dict[int, int]) -> None:
        """Remember what is in the topic below these offsets, since a fault is about to delete it."""
        with _reader(self.servers.kafka.address) as consumer:
            self.archived += [r for r in _everything(consumer, self.topic) if r.offset < ends[r.partition]]

    def until(self, what: Any, seconds: float, why: str) -> None:
        until = time.monotonic() + seconds
        while not what():
            if time.monotonic() > until:
                raise TimeoutError(f"{why} within {seconds:g} s\n{self.cluster.logs()}")
            time.sleep(0.05)

    def close(self) -> None:
        self._stop.set()
        self._nurse.join()
        self.load.stop()
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGCONT)
        self.cluster.stop()


@contextlib.contextmanager
def _reader(bootstrap: str) -> Iterator[Any]:
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        yield consumer
    finally:
        consumer.close()


def _partitions(consumer: Any, topic: str) -> list[Any]:
    from kafka import TopicPartition

    return [TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic) or ())]


def _everything(consumer: Any, topic: str) -> Iterator[Any]:
    assigned = _partitions(consumer, topic)
    consumer.assign(assigned)
    consumer.seek_to_beginning(*assigned)
    ends = consumer.end_offsets(assigned)
    while any(consumer.position(tp) < end for tp, end in ends.items()):
        for records in consumer.poll(timeout_ms=500).values():
            yield from records
