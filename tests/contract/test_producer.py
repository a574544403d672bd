"""What the publisher needs of a producer, held against both libraries on a broker and against the double."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from monitor.messages import Contract, Record
from monitor.publishing.messages import Block, Encoder
from monitor.publishing.producers import SendError, open_producer, wrap_producer
from monitor.testing import launcher
from tests.cluster import read_topic
from tests.producers import MemoryProducer

ROWS = np.arange(80, dtype="<f4").reshape(10, 8)
_names = itertools.count()


@pytest.fixture(scope="module")
def broker():
    with launcher.start_broker() as server:
        yield server


class Stand:
    """A producer, its topic, and the answers that it gave."""

    def __init__(self, kind, broker):
        self.topic, self.broker, self.kind = f"p{next(_names)}", broker, kind
        self.answers = []
        self._lock = threading.Lock()
        if kind == "memory":
            self.producer = MemoryProducer()
        else:
            launcher.create_topic(broker.address, self.topic, 3)
            settings = (
                {"message.max.bytes": 1_000_000} if kind == "confluent-kafka" else {"max_request_size": 1_000_000}
            )
            self.producer = open_producer(kind, broker.address, settings)

    def answer(self, message, error):
        with self._lock:
            self.answers.append((message, error))

    def wait_for_answers(self, n, seconds=30):
        until = time.monotonic() + seconds
        while len(self.answers) < n:
            assert time.monotonic() < until, f"{len(self.answers)} of {n} answers"
            self.producer.serve(0.02)
            time.sleep(0.005)

    def records(self):
        if self.kind == "memory":
            return self.producer.records
        return [
            Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
            for r in read_topic(self.broker.address, self.topic)
        ]


@pytest.fixture(params=["memory", "kafka-python", "confluent-kafka"])
def stand(request, broker):
    if request.param == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    made = Stand(request.param, broker)
    yield made
    made.producer.close(5)


def messages(rows=ROWS, stream="tenant"):
    at = time.time_ns() // 1_000_000
    return list(
        Encoder("here", "small").messages(Block(rows, stream, [str(n) for n in range(len(rows))], [at] * len(rows)))
    )


def test_each_message_is_answered_once_and_is_in_the_partition_that_was_asked_for(stand):
    assert stand.producer.partitions(stand.topic) == [0, 1, 2]
    sent = messages()
    for n, message in enumerate(sent):
        stand.producer.send(stand.topic, n % 3, message, stand.answer)
    stand.wait_for_answers(len(sent))
    assert sorted(id(m) for m, _ in stand.answers) == sorted(map(id, sent))
    assert {error for _, error in stand.answers} == {None}
    found = {e.id: (r.partition, e) for r in stand.records() for e in Contract(8, model="small").read(r)}
    assert {name: partition for name, (partition, _) in found.items()} == {str(n): n % 3 for n in range(10)}
    assert all(found[str(n)][1].vector == ROWS[n].tobytes() for n in range(10))


def test_a_message_that_is_too_large_is_its_own_fault_and_the_next_one_is_sent(stand):
    (huge,), (good,) = messages(np.zeros((1, 500_000), "<f4")), messages(ROWS[:1])
    with pytest.raises(SendError) as refused:
        stand.producer.send(stand.topic, 0, huge, stand.answer)
    assert refused.value.own_fault
    stand.producer.send(stand.topic, 0, good, stand.answer)
    stand.wait_for_answers(1)
    assert stand.answers[0][1] is None


def test_a_producer_of_either_library_is_told_apart_and_stays_open(broker):
    from kafka import KafkaProducer

    launcher.create_topic(broker.address, "mine", 1)
    mine = KafkaProducer(bootstrap_servers=broker.address)
    wrapped = wrap_producer(mine)
    assert wrapped.partitions("mine") == [0]
    wrapped.close(5)
    assert mine.send("mine", b"still open").get(30).offset == 0
    mine.close(timeout=5)
