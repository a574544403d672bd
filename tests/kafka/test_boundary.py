"""Whatever is sent to the topic, against genuine Apache Kafka: workers go on, and each bad record is told."""

from __future__ import annotations

import time

import pytest

from monitor.errors import BrokerError, BrokerUnavailableError
from monitor.messages import Record
from monitor.messages.text import printable
from monitor.sources.deadletters import KafkaDeadLetters
from monitor.testing import launcher
from tests.cluster import Cluster
from tests.fuzz import corpus
from tests.kafka.apache import start_apache_kafka, why_not
from tests.monitor_support import embeddings

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture(scope="module")
def kafka():
    with start_apache_kafka(overrides={"auto.create.topics.enable": "false"}) as server:
        yield server.address


@pytest.fixture(scope="module")
def redis():
    with launcher.start_store() as server:
        yield f"redis://{server.address}/0"


def create(address, topic, **settings):
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=address)
    configs = {name.replace("_", "."): value for name, value in settings.items()}
    admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1, "configs": configs}})
    admin.close()


def read_all(address, topic):
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest")
    tp = TopicPartition(topic, 0)
    consumer.assign([tp])
    end, found = consumer.end_offsets([tp])[tp], []
    while consumer.position(tp) < end:
        found += [r for records in consumer.poll(timeout_ms=500).values() for r in records]
    consumer.close()
    return found


def rejections(*sizes):
    return [(Record("t", 0, n, 5, b"k", b"v" * size), "wrong-size", "x") for n, size in enumerate(sizes)]


def letters(address, topic, **more):
    return KafkaDeadLetters({"bootstrap_servers": address}, topic, **more)


def test_a_letter_that_the_topic_finds_too_large_goes_as_its_place_and_the_others_as_they_are(kafka):
    create(kafka, "small", max_message_bytes="30000")
    to = letters(kafka, "small")
    to.send(rejections(5, 200_000, 7))
    to.close()
    found = {dict(r.headers)["dead-letter-offset"]: r for r in read_all(kafka, "small")}
    assert {offset: len(r.value) for offset, r in found.items()} == {b"0": 5, b"1": 0, b"2": 7}
    assert "dead-letter-stub" in dict(found[b"1"].headers)
    assert (to.sent.letters, to.sent.stubs, to.sent.unsent) == (3, 1, 0)


def test_a_letter_without_a_key_goes_to_a_compacted_topic_as_its_place(kafka):
    create(kafka, "compacted", cleanup_policy="compact")
    to = letters(kafka, "compacted")
    to.send([(Record("t", 0, 7, 5, None, b"v"), "wrong-size", "x")])
    to.close()
    (found,) = read_all(kafka, "compacted")
    assert (found.key, found.value) == (b"t/0/7", b"")
    assert to.sent.stubs == 1


def test_a_topic_that_takes_nothing_ends_nobody_and_is_told(kafka, caplog):
    create(kafka, "tiny", max_message_bytes="100")
    to = letters(kafka, "tiny")
    to.send(rejections(5))
    to.close()
    assert to.sent.unsent == 1
    assert "t/0 offset 0 (wrong-size): topic tiny takes no dead letter for it" in caplog.text
    assert "max.message.bytes" in caplog.text


def test_a_topic_that_is_not_there_is_named_at_the_start_with_what_to_do(kafka):
    to = letters(kafka, "nowhere", wait_ms=1500)
    with pytest.raises(BrokerError, match=r"'nowhere' does not exist.*kafka-topics.sh --create --topic nowhere") as e:
        to.check()
    assert not isinstance(e.value, BrokerUnavailableError)
    to.close()


def test_a_topic_that_was_there_and_is_missing_later_is_waited_for(kafka):
    from kafka import KafkaAdminClient

    create(kafka, "leaves")
    to = letters(kafka, "leaves", wait_ms=3000)
    to.check()
    to.close()
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_topics(["leaves"])
    admin.close()
    with pytest.raises(BrokerUnavailableError, match="leaves"):
        to.send(rejections(5))
    create(kafka, "leaves")
    to.send(rejections(5))
    to.close()
    assert len(read_all(kafka, "leaves")) == 1


class NotUtf8(str):
    """A header name as a client that checks nothing writes it."""

    def encode(self, *_):
        return b"\xff\xfe"


def sendable(record):
    """What a sender of kafka-python can send of a record: of another timestamp, if need be."""
    headers = [(printable(name), value or b"") for name, value in record.headers]
    return {"value": record.value, "key": record.key or b"k", "headers": headers}


@pytest.mark.parametrize("client", ["kafka-python", "confluent-kafka"])
def test_workers_go_on_and_lose_nothing_whatever_is_sent(client, kafka, redis, tmp_path):
    if client == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    cluster = Cluster(kafka, redis, tmp_path, f"anything-{client}", partitions=1, kafka={"client": client})
    worker = cluster.start_worker()
    bad = [sendable(record) for record in corpus.load().values()]
    bad.append({"value": b"v" * 32, "key": b"k", "headers": [(NotUtf8("x"), b"1")]})
    bad.append({"value": None, "key": b"k", "headers": []})
    for record in bad:
        cluster.producer().send(cluster.topic, **record)
        cluster.publish(5)
    good = embeddings(1, seed=1)[0].tobytes()
    cluster.producer().send(cluster.topic, value=good, key=b"last").get(30)

    def counted():
        return sum(n for (stream, *_), n in cluster.store.totals().items() if stream == "last")

    until = time.monotonic() + 60
    while not counted() and time.monotonic() < until and worker.poll() is None:
        time.sleep(0.1)
    try:
        assert worker.poll() is None
        assert counted() == 1
        totals, rejected = cluster.store.totals(), cluster.store.rejected()
        assert sum(n for (stream, *_), n in totals.items() if stream.startswith("model-")) == 5 * len(bad)
        # A record of the corpus that is counted holds one embedding.
        assert sum(totals.values()) - 5 * len(bad) - 1 + sum(rejected.values()) == len(bad)
        dead = read_all(kafka, f"{cluster.topic}.dead-letter")
        assert len(dead) == sum(rejected.values())
        alerts = [a for a in cluster.store.alerts() if a["kind"] == "bad-records"]
        assert [a["subject"] for a in alerts] == [f"{cluster.topic}/0"]
    finally:
        cluster.stop()
