"""A producer in memory, as the publisher needs one; ``tests/contract/test_producer.py`` holds it to the real ones."""

from __future__ import annotations

import threading

from monitor.messages import Record
from monitor.publishing.producers import SendError


class MemoryProducer:
    """Keeps what is sent. ``answering`` False: it takes messages and never answers, as a broker that hangs."""

    def __init__(self, partitions: int = 3, max_bytes: int = 1_000_000) -> None:
        self.numbers, self.max_bytes = list(range(partitions)), max_bytes
        self.records: list[Record] = []
        self.answering = True
        self.refusals: list[SendError] = []
        self._held = []
        self._lock = threading.Lock()

    def partitions(self, _topic):
        return self.numbers

    def send(self, topic, partition, message, answer):
        size = len(message.value)
        if size > self.max_bytes:
            raise SendError(f"{size} bytes, expected at most {self.max_bytes}", own_fault=True)
        with self._lock:
            self._held.append((topic, partition, message, answer))

    def serve(self, seconds):
        with self._lock:
            held, self._held = (self._held, []) if self.answering else ([], self._held)
        for topic, partition, message, answer in held:
            if self.refusals:
                answer(message, self.refusals.pop(0))
                continue
            offset = sum(r.partition == partition for r in self.records)
            at = message.timestamp_ms
            self.records.append(
                Record(topic, partition, offset, at, message.key, message.value, tuple(message.headers))
            )
            answer(message, None)
        return ""

    def close(self, seconds):
        with self._lock:
            self._held = []
