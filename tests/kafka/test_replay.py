"""A range of a topic of genuine Apache Kafka is read to its end, or is an error that says how far it was read."""

from __future__ import annotations

import itertools
import json
import signal
import time

import numpy as np
import pytest

from monitor import cli
from monitor.config import KafkaConfig
from monitor.counting.counter import Counter
from monitor.counting.models import Models
from monitor.counting.recount import Recount
from monitor.counting.scoring import Scorer
from monitor.errors import ReplayError, TopicMissingError
from monitor.messages import Contract
from monitor.service.reading_topic import read_topic
from monitor.testing import launcher
from tests.cluster import Cluster, differences
from tests.kafka.apache import start_apache_kafka, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
_names = itertools.count()


@pytest.fixture(scope="module")
def servers():
    with start_apache_kafka() as kafka, launcher.start_store() as redis:
        yield kafka, redis


@pytest.fixture
def made(servers, tmp_path):
    kafka, redis = servers
    c = Cluster(kafka.address, f"redis://{redis.address}/0", tmp_path, f"replay-{next(_names)}", 3)
    yield c
    c.stop()


def config(c, **more):
    return KafkaConfig(bootstrap_servers=c.bootstrap, topic=c.topic, group=c.topic, **more)


def count(chunks):
    return sum(len(records) for found in chunks for records in found.values())


def test_everything_up_to_the_end_is_read_and_counted_as_the_worker_counts(made):
    made.publish(3000)
    recount = Recount(Counter(Models.single(Scorer(made.line), Contract(made.line.width)), 1000, 0))
    chunks = read_topic(config(made))
    for found in chunks:
        for _ in recount.add(found):
            pass
        if recount.records == 1:
            made.publish(300)  # what comes later does not belong to the range
    assert differences(recount.totals(), made.recounted()) == (0, 0)
    assert recount.records == 3000


def test_records_that_come_while_it_is_read_do_not_belong_to_the_range(made):
    made.publish(300)
    chunks = read_topic(config(made))
    first = next(found for found in chunks if found)
    made.publish(300)
    assert count([first]) + count(chunks) == 300


def test_the_first_time_belongs_to_a_range_and_the_last_one_does_not(made):
    begin = time.time_ns() // 1_000_000 - 3_600_000
    made.publish(30, begin, 10)
    found = [r.timestamp_ms for c in read_topic(config(made), begin + 50, begin + 100) for rs in c.values() for r in rs]
    assert sorted(found) == [begin + 10 * n for n in range(5, 10)]


def test_a_broker_that_stops_answering_ends_a_replay_with_how_far_it_got(servers, made):
    made.publish(30_000)
    chunks, got = read_topic(config(made, max_partition_fetch_bytes=20_000), patience=3), 0

    def read_on():
        nonlocal got
        for found in chunks:
            got += count([found])

    got += count([next(found for found in chunks if found)])
    servers[0].process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(ReplayError, match=r"only \d+ of 30000 offsets were read, and nothing was judged") as caught:
            read_on()
    finally:
        servers[0].process.send_signal(signal.SIGCONT)
    assert f"only {got} of 30000" in str(caught.value)
    assert f"{made.topic}/0 up to offset" in str(caught.value)


def test_records_that_expire_under_a_replay_are_an_error(made):
    from kafka import KafkaAdminClient, TopicPartition

    made.publish(30_000)
    chunks = read_topic(config(made, max_partition_fetch_bytes=20_000))
    next(found for found in chunks if found)
    control = KafkaAdminClient(bootstrap_servers=made.bootstrap)
    control.delete_records({TopicPartition(made.topic, n): 9990 for n in range(3)})
    control.close()
    with pytest.raises(ReplayError, match="the next records are gone"):
        count(chunks)


def test_a_topic_that_ends_with_an_aborted_transaction_is_read_to_its_end(made):
    confluent = pytest.importorskip("confluent_kafka", reason="confluent-kafka writes the transactions")
    made.publish(30)
    producer = confluent.Producer({"bootstrap.servers": made.bootstrap, "transactional.id": made.topic})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(made.topic, b"aborted", partition=0)
    producer.flush()
    producer.abort_transaction()
    assert count(read_topic(config(made), patience=10)) == 30
    producer.begin_transaction()
    producer.produce(made.topic, b"open", partition=1)
    producer.flush()
    assert count(read_topic(config(made), patience=10)) == 30
    assert count(read_topic(config(made, isolation_level="read_uncommitted"), patience=10)) == 32
    producer.abort_transaction()


def test_a_topic_that_does_not_exist_is_named(made):
    with pytest.raises(TopicMissingError, match="topic 'absent' does not exist"):
        count(read_topic(KafkaConfig(bootstrap_servers=made.bootstrap, topic="absent")))


def test_the_command_says_how_many_records_it_judged_and_rejected(made, capsys):
    made.publish(600)
    bad = np.full(8, np.nan, "<f4").tobytes()
    for value in (bad, b"short", bad):
        made.producer().send(made.topic, value=value, key=b"m", partition=0)
    made.producer().flush()
    assert cli.main(["replay", "--config", str(made.path)]) == 0
    assert "603 records read, 600 samples judged, 3 records rejected" in capsys.readouterr().out
    assert cli.main(["replay", "--config", str(made.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["records"], sum(document["rejected"].values())) == (603, 3)
