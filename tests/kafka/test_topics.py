"""Topics of genuine Apache Kafka that are deleted, made again, cut off, grown or overtaken, under running workers."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import time

import pytest

from monitor.config import KafkaConfig
from monitor.service.process import open_source
from monitor.testing import launcher
from tests.cluster import Cluster, differences
from tests.kafka.apache import start_apache_kafka, why_not
from tests.oracle.recount import recount

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
_names = itertools.count()


@pytest.fixture(scope="module")
def servers():
    with start_apache_kafka() as kafka, launcher.start_store() as redis:
        yield kafka, redis


@pytest.fixture(params=["kafka-python", "confluent-kafka"])
def client(request):
    if request.param == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    return request.param


@pytest.fixture
def make(servers, client, tmp_path):
    made = []

    def cluster(partitions=3, kafka_server=None, **kafka):
        kafka = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 300, "client": client, "look_seconds": 1, **kafka}
        address = (kafka_server or servers[0]).address
        url = f"redis://{servers[1].address}/0"
        made.append(Cluster(address, url, tmp_path, f"topics-{next(_names)}-{client}", partitions, kafka=kafka))
        return made[-1]

    yield cluster
    for one in made:
        one.stop()


def admin(cluster):
    from kafka import KafkaAdminClient

    return KafkaAdminClient(bootstrap_servers=cluster.bootstrap)


def gaps(cluster):
    found = [a for a in cluster.store.alerts() if a["kind"] == "gap"]
    return {a["subject"]: json.loads(a["details"]) for a in found}


def all_logs(cluster):
    return "\n".join(p.read_text(errors="replace") for p in sorted(cluster.folder.glob("worker-*.log")))


def wait_for_line(cluster, words, seconds=30):
    cluster.wait(lambda: words in all_logs(cluster), seconds)


def delete(cluster):
    if cluster._producer is not None:  # it would make the topic again by asking about it
        cluster._producer.close()
        cluster._producer = None
    control = admin(cluster)
    control.delete_topics([cluster.topic])
    control.close()


def make_again(cluster, partitions=3):
    from kafka.errors import TopicAlreadyExistsError

    control, until = admin(cluster), time.monotonic() + 30
    while True:
        try:
            control.create_topics({cluster.topic: {"num_partitions": partitions, "replication_factor": 1}})
            break
        except TopicAlreadyExistsError:
            assert time.monotonic() < until
            time.sleep(0.05)
    control.close()


def total(cluster):
    return sum(cluster.store.totals().values())


def together(*counts):
    summed = {}
    for one in counts:
        for key, n in one.items():
            summed[key] = summed.get(key, 0) + n
    return summed


@pytest.mark.parametrize(("again", "look_seconds"), [(600, 1), (4500, 8)])
def test_a_topic_made_again_under_a_running_worker_is_counted_whole_and_told(make, again, look_seconds):
    """4,500 records are more than were there before: the client reads on in the new log as if nothing had happened."""
    c = make(look_seconds=look_seconds)
    c.publish(1500)
    c.start_worker()
    c.wait_until_counted()
    first = c.recounted()
    time.sleep(
        1.5 + look_seconds
    )  # the worker has looked at the topic since; what is read within a look of the change is in doubt
    delete(c)
    make_again(c)
    c.publish(again)
    c.wait_until_counted()
    c.wait(lambda: len(gaps(c)) == 3, 30)
    assert differences(c.store.totals(), together(first, c.recounted())) == (0, 0)
    assert gaps(c)[f"{c.topic}/0"] == {"from": "500", "to": "0", "lost": "unknown", "why": "remade"}
    assert f"partition {c.topic}/1 stood at offset 500 of the old log" in all_logs(c)


def test_a_topic_made_again_while_no_worker_ran_is_counted_whole_and_told(make):
    c = make()
    c.publish(900)
    worker = c.start_worker()
    c.wait_until_counted()
    first = c.recounted()
    c.leave(worker)
    delete(c)
    make_again(c)
    c.publish(1800)
    c.start_worker()
    c.wait_until_counted()
    assert differences(c.store.totals(), together(first, c.recounted())) == (0, 0)
    assert len(gaps(c)) == 3


def test_a_topic_that_is_deleted_is_told_and_waited_for(make):
    c = make()
    c.publish(300)
    c.start_worker()
    c.wait_until_counted()
    first = c.recounted()
    delete(c)
    wait_for_line(c, f"Topic '{c.topic}' does not exist on {c.bootstrap}", 15)
    c.wait(lambda: any("does not exist" in text for _, text in c.store.health().workers.values()), 15)
    make_again(c)
    c.publish(600)
    c.wait_until_counted()
    wait_for_line(c, "can be read at")
    assert differences(c.store.totals(), together(first, c.recounted())) == (0, 0)


def test_retention_that_overtakes_a_stopped_worker_is_told_with_the_number_of_records(make):
    from kafka import TopicPartition

    c = make()
    c.publish(300)
    worker = c.start_worker()
    c.wait_until_counted()
    c.leave(worker)
    c.publish(600)
    control = admin(c)
    control.delete_records({TopicPartition(c.topic, 1): 180})
    control.close()
    c.start_worker()
    c.wait(lambda: total(c) >= c.sent - 80)
    c.wait(lambda: bool(gaps(c)), 10)
    assert gaps(c) == {f"{c.topic}/1": {"from": "100", "to": "180", "lost": "80", "why": "expired"}}
    assert total(c) == c.sent - 80


def test_retention_that_overtakes_a_running_worker_is_told_with_the_number_of_records(make):
    from kafka import TopicPartition

    c = make(max_partition_fetch_bytes=1)
    c.publish(300)
    worker = c.start_worker()
    c.wait_until_counted()
    worker.send_signal(signal.SIGSTOP)
    c.publish(3000)
    control = admin(c)
    control.delete_records({TopicPartition(c.topic, 1): 1000})
    control.close()
    worker.send_signal(signal.SIGCONT)
    c.wait(lambda: bool(gaps(c)), 30)
    told = gaps(c)[f"{c.topic}/1"]
    assert (told["to"], told["why"]) == ("1000", "expired")
    c.wait(lambda: total(c) == c.sent - int(told["lost"]), 30)
    assert list(gaps(c)) == [f"{c.topic}/1"]


def test_a_log_that_a_broker_lost_the_end_of_is_told_and_goes_on_from_its_end(make, client, tmp_path):
    folder = tmp_path / "kafka"
    folder.mkdir()
    kafka = start_apache_kafka(folder)
    try:
        c = make(kafka_server=kafka)
        c.publish(300)
        worker = c.start_worker()
        c.wait_until_counted()
        c.leave(worker)
        c.producer().close()
        c._producer = None
        kafka.stop()
        log = folder / "data" / f"{c.topic}-1"
        for file in [f for f in log.iterdir() if f.suffix in (".log", ".index", ".timeindex", ".snapshot")]:
            file.unlink()
        shutil.rmtree(folder / "data" / "nothing", ignore_errors=True)
        kafka = start_apache_kafka(folder, kafka.port)
        c.start_worker()
        c.wait(lambda: bool(gaps(c)), 60)
        c.publish(90)
        c.wait_until_counted()
        assert gaps(c) == {f"{c.topic}/1": {"from": "100", "to": "0", "lost": "unknown", "why": "cut-off"}}
        assert total(c) == 390
    finally:
        kafka.stop()


def test_partitions_that_are_added_are_read_from_their_first_record_soon(make):
    c = make(start="latest", metadata_max_age_ms=5000)
    c.publish(30)
    c.start_worker()
    c.wait(lambda: len(c.store.partitions()) == 3)
    control = admin(c)
    control.create_partitions({c.topic: 6})
    control.close()
    c.producer().close()
    c._producer, c.partitions, before = None, 6, c.sent
    c.publish(600)
    began = time.monotonic()
    c.wait(lambda: total(c) == 600, 60)
    assert time.monotonic() - began < 30
    assert (before, gaps(c)) == (30, {})


def test_a_topic_that_does_not_exist_is_an_error_and_is_not_made(make):
    from kafka import KafkaAdminClient

    c = make()
    wrong = f"{c.topic}-mistyped"
    c.path.write_text(c.path.read_text().replace(f"topic: {c.topic}\n", f"topic: {wrong}\n"))
    worker = c.start_worker()
    assert worker.wait(60) == 1
    c.workers.remove(worker)
    assert f"topic '{wrong}' does not exist on {c.bootstrap}" in all_logs(c)
    assert f"--create --topic {wrong}" in all_logs(c)
    control = KafkaAdminClient(bootstrap_servers=c.bootstrap)
    assert wrong not in control.list_topics()
    control.close()


def test_aborted_records_are_not_counted_and_the_holes_of_transactions_are_no_gaps(make):
    confluent = pytest.importorskip("confluent_kafka", reason="confluent-kafka writes the transactions")
    c = make(partitions=2)
    producer = confluent.Producer({"bootstrap.servers": c.bootstrap, "transactional.id": c.topic, "linger.ms": 0})
    producer.init_transactions()
    kept = []
    c.start_worker()
    for k in range(40):
        producer.begin_transaction()
        rows = [(b"model-0", c._rows[(7 * k + i) % 4000].tobytes()) for i in range(5)]
        for i, (key, value) in enumerate(rows):
            producer.produce(c.topic, value, key, partition=i % 2, timestamp=int(time.time() * 1000))
        if k % 4 == 3:
            producer.flush()
            producer.abort_transaction()
        else:
            producer.commit_transaction()
            kept += rows
    c.wait(lambda: c.counted() >= len(kept), 60)
    wanted = recount(c.line, kept)
    for worker in list(c.workers):
        c.leave(worker)
    c.start_worker()
    c.publish(20)
    c.wait(lambda: c.counted() >= len(kept) + 20, 60)
    more = recount(c.line, [(f"model-{i % 3}".encode(), c._rows[i].tobytes()) for i in range(20)])
    assert differences(c.store.totals(), together(wanted, more)) == (0, 0)
    assert gaps(c) == {}


def test_kafka_away_is_one_line_within_seconds_and_one_if_it_returns(make, tmp_path):
    folder = tmp_path / "kafka"
    folder.mkdir()
    kafka = start_apache_kafka(folder)
    try:
        c = make(kafka_server=kafka)
        c.publish(300)
        c.start_worker()
        c.wait_until_counted()
        c.producer().close()
        c._producer = None
        kafka.kill()
        began = time.monotonic()
        away = f"Kafka cannot be reached at {c.bootstrap}: nothing accepts connections at {c.bootstrap}"
        wait_for_line(c, away, 15)
        took = time.monotonic() - began
        c.wait(lambda: any("cannot be reached" in text for _, text in c.store.health().workers.values()), 15)
        time.sleep(max(0.0, 12 - took))
        own = [
            line
            for line in all_logs(c).splitlines()
            if "monitor." in line and "judging" not in line and ("ERROR" in line or "WARN" in line)
        ]
        assert len(own) <= 2, own
        kafka = start_apache_kafka(folder, kafka.port)
        c.publish(300)
        c.wait_until_counted()
        wait_for_line(c, f"topic {c.topic} can be read at {c.bootstrap} again")
        assert differences(c.store.totals(), c.recounted()) == (0, 0)
        assert gaps(c) == {}
    finally:
        kafka.stop()


def test_a_worker_that_starts_while_kafka_is_away_waits_for_it(make, tmp_path):
    folder = tmp_path / "kafka"
    folder.mkdir()
    kafka = start_apache_kafka(folder)
    try:
        c = make(kafka_server=kafka)
        c.publish(60)
        c.producer().close()
        c._producer = None
        kafka.stop()
        c.start_worker()
        wait_for_line(c, f"Kafka cannot be reached at {c.bootstrap}", 60)
        kafka = start_apache_kafka(folder, kafka.port)
        c.wait_until_counted()
    finally:
        kafka.stop()


def test_a_group_that_dealt_its_partitions_to_nobody_is_joined_again(servers, monkeypatch, caplog):
    """kafka-python deals by the metadata it has; if it had none of the topic yet it does not notice later."""
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

    first = set()

    def assign(self, cluster, members):
        ids = {member.member_id for member in members}
        first.update(ids if not first else ())
        return honest(self, Nothing() if ids & first else cluster, members)

    class Nothing:
        def partitions_for_topic(self, topic):
            return None

        def topics(self):
            return set()

    honest = CooperativeStickyAssignor.assign
    monkeypatch.setattr(CooperativeStickyAssignor, "assign", assign)
    topic = f"dealt-{next(_names)}"
    launcher.create_topic(servers[0].address, topic, 3)
    source = open_source(KafkaConfig(bootstrap_servers=servers[0].address, topic=topic, group=topic, look_seconds=1))
    try:
        until = time.monotonic() + 60
        while len(source.assigned()) < 3 and time.monotonic() < until:
            source.poll(100, 10)
        assert len(source.assigned()) == 3
        assert source.take_fresh() == source.assigned()
        assert f"no worker was given {topic}/0, {topic}/1, {topic}/2" in caplog.text
    finally:
        source.close()


def test_a_client_that_the_group_has_put_out_without_its_noticing_joins_again(servers, monkeypatch, caplog):
    """kafka-python stops its heartbeats to wait for a rejoin that it sometimes never begins, and reads on meanwhile."""
    monkeypatch.setattr("monitor.sources.lookout.GROUP_SECONDS", 1.0)
    topic = f"put-out-{next(_names)}"
    launcher.create_topic(servers[0].address, topic, 3)
    config = KafkaConfig(
        bootstrap_servers=servers[0].address, topic=topic, group=topic, look_seconds=1, session_timeout_ms=1000,
        heartbeat_interval_ms=300,
    )  # fmt: skip
    source = open_source(config)

    def poll_until_dealt():
        dealt, until = set(), time.monotonic() + 60
        while len(dealt) < 3:
            assert time.monotonic() < until, caplog.text
            source.poll(100, 10)
            dealt |= source.take_fresh()

    try:
        poll_until_dealt()
        coordinator = source._consumer._coordinator
        monkeypatch.setattr(coordinator, "_enable_heartbeat", lambda: None)  # the join may not have come to it yet
        coordinator._disable_heartbeat()
        poll_until_dealt()
        assert source._questions.unassigned() == frozenset()
        assert f"no worker was given {topic}/0, {topic}/1, {topic}/2" in caplog.text
    finally:
        source.close()


def test_a_source_that_is_first_polled_late_has_not_been_put_out(servers, monkeypatch, caplog):
    monkeypatch.setattr("monitor.sources.lookout.GROUP_SECONDS", 0.2)
    topic = f"late-{next(_names)}"
    launcher.create_topic(servers[0].address, topic, 2)
    source = open_source(KafkaConfig(bootstrap_servers=servers[0].address, topic=topic, group=topic, look_seconds=0.2))
    try:
        until = time.monotonic() + 30
        while not source._lookout._orphans:  # nobody has joined the group yet
            assert time.monotonic() < until
            time.sleep(0.05)
        monkeypatch.setattr("monitor.sources.lookout.GROUP_SECONDS", 30.0)
        while len(source.assigned()) < 2:
            assert time.monotonic() < until
            source.poll(100, 10)
        assert "joins the group again" not in caplog.text
    finally:
        source.close()
