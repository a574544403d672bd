"""Where logs end by a fetch, for brokers that name wrong ends."""

from __future__ import annotations

import time
from collections.abc import Mapping

from monitor.config import KafkaConfig
from monitor.errors import BrokerUnavailableError
from monitor.messages.record import Partition
from monitor.sources.kafka_errors import kafka_errors
from monitor.sources.settings import ANSWER_MS, reading


def ends_by_fetch(config: KafkaConfig, listed: Mapping[Partition, int]) -> dict[Partition, int]:
    """Find the ends of partitions by a fetch at the listed end. A fetch gives the right end on every broker."""
    from kafka import KafkaConsumer, TopicPartition

    native = {p: TopicPartition(p.topic, p.number) for p in listed}
    with kafka_errors(f"ends of {', '.join(str(p) for p in listed)}"):
        consumer = KafkaConsumer(**reading(config))
        try:
            consumer.assign(list(native.values()))
            for p, offset in listed.items():
                consumer.seek(native[p], offset)
            until = time.monotonic() + ANSWER_MS / 1000
            found: dict[Partition, int] = {}
            while len(found) < len(listed):
                if time.monotonic() > until:
                    names = ", ".join(repr(topic) for topic in sorted({p.topic for p in listed}))
                    raise BrokerUnavailableError(f"Kafka does not answer a fetch of {names} in time")
                consumer.poll(timeout_ms=100, max_records=1)
                found = {p: high for p, tp in native.items() if (high := consumer.highwater(tp)) is not None}
        finally:
            consumer.close()
    return found
