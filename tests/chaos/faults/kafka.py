"""A broker that dies, hangs, or whose topic changes under the workers."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from monitor.testing import launcher
from tests.chaos.faults import Fault
from tests.chaos.stage import Stage


class BrokerKilled(Fault):
    name, about = "broker-killed", "Kafka killed (SIGKILL) and started again on its data"
    allowance, blind = 30.0, True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lasts = 35.0 if self.long else 10.0

    def inject(self, stage: Stage) -> None:
        stage.servers.kafka.kill()

    def heal(self, stage: Stage) -> None:
        stage.servers.restart_kafka()


class BrokerHangs(BrokerKilled):
    name, about = "broker-hangs", "Kafka keeps its connections and answers nothing (SIGSTOP)"

    def inject(self, stage: Stage) -> None:
        os.kill(stage.servers.kafka.process.pid, signal.SIGSTOP)

    def heal(self, stage: Stage) -> None:
        os.kill(stage.servers.kafka.process.pid, signal.SIGCONT)

    clean = heal


class PartitionsAdded(Fault):
    name, about = "partitions-added", "the topic grows from 6 to 9 partitions"
    lasts, allowance = 2.0, 30.0

    def inject(self, stage: Stage) -> None:
        with _admin(stage) as admin:
            admin.create_partitions({stage.topic: 9})


class TopicRecreated(Fault):
    name, about = "topic-recreated", "the topic is deleted and made again, its offsets begin at 0"
    lasts, allowance, blind = 2.0, 45.0, True
    must_tell = ("gap",)

    def inject(self, stage: Stage) -> None:
        stage.load.paused.set()
        stage.load.publisher.flush(10)
        ends = stage.end_offsets()
        stage.until(lambda: stage.caught_up(ends), 60, "the workers did not catch up before the topic was deleted")
        stage.archive(ends)
        with _admin(stage) as admin:
            admin.delete_topics([stage.topic])
            stage.until(lambda: stage.topic not in admin.list_topics(), 20, "the topic was not deleted")
        time.sleep(1)
        launcher.create_topic(stage.servers.kafka.address, stage.topic, stage.cluster.partitions)
        stage.load.paused.clear()


class RetentionOvertakes(Fault):
    name, about = "retention", "records are deleted before the workers, all standing still, have read them"
    lasts, allowance, blind = 6.0, 45.0, True
    must_tell = ("gap",)

    def inject(self, stage: Stage) -> None:
        self.stopped = stage.workers
        for worker in self.stopped:
            os.kill(worker.pid, signal.SIGSTOP)
        self.deleted = 0

    def heal(self, stage: Stage) -> None:
        from kafka import TopicPartition

        ends = stage.end_offsets()
        stored = {p.number: s.next for p, s in stage.partitions().items()}
        stage.archive(ends)
        with _admin(stage) as admin:
            admin.delete_records({TopicPartition(stage.topic, n): end for n, end in ends.items()})
        self.deleted = sum(max(0, end - stored.get(n, 0)) for n, end in ends.items())
        self.clean(stage)

    def clean(self, stage: Stage) -> None:
        for worker in self.stopped:
            if worker.poll() is None:
                os.kill(worker.pid, signal.SIGCONT)

    def lost_on_purpose(self, stage: Stage) -> int:
        return self.deleted


def _admin(stage: Stage) -> Any:
    from contextlib import closing

    from kafka import KafkaAdminClient

    return closing(KafkaAdminClient(bootstrap_servers=stage.servers.kafka.address))
