"""The publisher on genuine Apache Kafka: what only a broker with a disk and limits of its own can show."""

from __future__ import annotations

import itertools
import logging
import time

import numpy as np
import pytest

from monitor.publishing.publisher import EmbeddingPublisher
from monitor.testing import launcher
from tests.cluster import read_topic
from tests.kafka.apache import start_apache_kafka, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
ROWS = np.random.default_rng(0).random((8, 64)).astype("f4")
_names = itertools.count()


@pytest.fixture(scope="module")
def kafka():
    with start_apache_kafka() as server:
        yield server


@pytest.fixture(params=["kafka-python", "confluent-kafka"])
def client(request):
    if request.param == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    return request.param


def ids_in(address, topic):
    return sorted(int(dict(r.headers)["ce_id"]) for r in read_topic(address, topic))


def test_a_broker_killed_in_the_middle_and_started_again_has_every_embedding(tmp_path, client):
    kafka, published, slowest = start_apache_kafka(folder=tmp_path), 0, 0.0
    publisher = EmbeddingPublisher(kafka.address, "t", client=client)
    try:
        launcher.create_topic(kafka.address, "t", 3)

        def publish(calls):
            nonlocal published, slowest
            for _ in range(calls):
                began = time.perf_counter()
                publisher.publish(ROWS, stream="s", ids=[str(published + n) for n in range(8)])
                slowest = max(slowest, time.perf_counter() - began)
                published += 8

        publish(50)
        assert publisher.flush(60)
        publish(100)
        kafka.kill()
        publish(400)
        assert publisher.pending
        kafka = start_apache_kafka(folder=tmp_path, port=kafka.port)
        publish(50)
        assert publisher.flush(90)
        assert (publisher.sent, publisher.dropped) == (4800, 0)
        assert sorted(set(ids_in(kafka.address, "t"))) == list(range(4800))
        assert slowest < 0.25
    finally:
        publisher.close(1)
        kafka.stop()


def test_a_topic_that_is_missing_is_not_created_and_gets_everything_once_somebody_creates_it(kafka, client, caplog):
    from kafka import KafkaAdminClient

    topic = f"late-{next(_names)}"
    publisher = EmbeddingPublisher(kafka.address, topic, client=client)
    publisher.publish(ROWS, stream="s", ids=list("01234567"))
    until = time.monotonic() + 60
    while f"topic {topic!r} does not exist" not in caplog.text:
        assert time.monotonic() < until, caplog.text
        time.sleep(0.05)
    admin = KafkaAdminClient(bootstrap_servers=kafka.address)
    assert topic not in admin.list_topics()
    admin.close()
    launcher.create_topic(kafka.address, topic, 2)
    assert publisher.flush(60)
    assert ids_in(kafka.address, topic) == list(range(8))
    publisher.close(5)


def test_an_embedding_that_the_topic_finds_too_large_is_dropped_and_the_others_arrive(kafka, client, caplog):
    from kafka import KafkaAdminClient
    from kafka.admin import ConfigResource

    topic = f"narrow-{next(_names)}"
    launcher.create_topic(kafka.address, topic, 2)
    admin = KafkaAdminClient(bootstrap_servers=kafka.address)
    admin.alter_configs([ConfigResource("TOPIC", topic, {"max.message.bytes": "2000"})])
    admin.close()
    publisher = EmbeddingPublisher(kafka.address, topic, client=client)
    with caplog.at_level(logging.WARNING):
        for n in range(20):
            publisher.publish(ROWS[:1], stream="s", ids=[str(2 * n)])
            if n % 5 == 0:
                publisher.publish(np.zeros((1, 1000), "f4"), stream="s", ids=[str(2 * n + 1)])
        assert publisher.flush(90), (publisher.sent, publisher.pending, publisher.dropped)
    assert (publisher.sent, publisher.dropped) == (20, 4)
    assert "was dropped" in caplog.text
    assert sorted(set(ids_in(kafka.address, topic))) == list(range(0, 40, 2))
    publisher.close(5)
