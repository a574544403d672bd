"""Redis that is away, empty, full, hanging or takes no writes."""

from __future__ import annotations

import os
import signal

from tests.chaos.faults import Fault
from tests.chaos.stage import Stage


class Stopped(Fault):
    name, about = "redis-stopped", "Redis stopped, and started again on its data"
    lasts, allowance, blind = 8.0, 15.0, True

    def inject(self, stage: Stage) -> None:
        stage.servers.redis.stop()

    def heal(self, stage: Stage) -> None:
        stage.servers.restart_redis()


class Hanging(Fault):
    name, about = "redis-hangs", "Redis takes connections and answers nothing (SIGSTOP)"
    lasts, allowance, blind = 8.0, 15.0, True

    def inject(self, stage: Stage) -> None:
        os.kill(stage.servers.redis.process.pid, signal.SIGSTOP)

    def heal(self, stage: Stage) -> None:
        os.kill(stage.servers.redis.process.pid, signal.SIGCONT)

    clean = heal


class Wiped(Fault):
    name, about = "redis-wiped", "everything in Redis deleted (FLUSHALL)"
    lasts, allowance, blind = 1.0, 20.0, True

    def inject(self, stage: Stage) -> None:
        stage.cluster.store._client.flushall()


class ReadOnly(Fault):
    name, about = "redis-read-only", "Redis becomes a replica and refuses writes"
    lasts, allowance, blind = 8.0, 15.0, True

    def inject(self, stage: Stage) -> None:
        # A replica of a server that is not there keeps its data and refuses writes.
        stage.cluster.store._client.execute_command("REPLICAOF", "127.0.0.1", "1")

    def heal(self, stage: Stage) -> None:
        stage.cluster.store._client.execute_command("REPLICAOF", "NO", "ONE")

    clean = heal


class Full(Fault):
    name, about = "redis-full", "Redis refuses writes for lack of memory (noeviction)"
    lasts, allowance, blind = 8.0, 15.0, True

    def inject(self, stage: Stage) -> None:
        stage.cluster.store._client.config_set("maxmemory", 1)

    def heal(self, stage: Stage) -> None:
        stage.cluster.store._client.config_set("maxmemory", 0)

    clean = heal
