"""One suite for the broker's double, for Tansu and, where asked for, for genuine Apache Kafka."""

from __future__ import annotations

import itertools
import time

import pytest

from monitor.config import KafkaConfig
from monitor.errors import BrokerUnavailableError
from monitor.messages import Contract, Record
from monitor.messages.reading import Reader
from monitor.messages.record import Partition
from monitor.messages.rows import Rows
from monitor.service.assembly import open_source
from monitor.sources.deadletters import KafkaDeadLetters
from monitor.sources.protocol import Source
from monitor.sources.settings import connection
from monitor.testing import MemoryBroker, MemoryDeadLetters, MemorySource, launcher
from tests.kafka.apache import start_apache_kafka, why_not

_names = itertools.count()
STAMP = int(time.time() * 1000)  # an old one would be deleted by retention


class DoubleBench:
    def __init__(self) -> None:
        self.broker, self.topic, self.other = MemoryBroker(), "t", "u"
        self.broker.create("t")
        self.topics = (self.topic,)

    def make_other(self):
        self.broker.create(self.other)
        self.topics = (self.topic, self.other)

    def delete_other(self):
        self.broker.delete(self.other)

    def send(self, value, partition=0, headers=(), topic=None):
        at = topic or self.topic
        self.broker.send(at, value, key=b"k", headers=headers, timestamp_ms=STAMP, partition=partition)

    def open(self):
        return MemorySource(self.broker, self.topics, "g")

    def leave(self, source):
        source.close()

    def letters(self):
        return MemoryDeadLetters(self.broker, "dead", max_bytes=1000)

    def dead(self):
        return [(r.value, dict(r.headers)) for r in self.broker.records("dead")]

    def close(self):
        pass


class KafkaBench:
    def __init__(self, address: str, client: str = "kafka-python") -> None:
        from kafka import KafkaProducer

        self.topic = f"contract-{next(_names)}-{time.monotonic_ns()}"
        self.config = KafkaConfig(
            bootstrap_servers=address, topic=self.topic, group=self.topic, start="earliest",
            session_timeout_ms=6000, heartbeat_interval_ms=300, client=client, look_seconds=0.3,
            metadata_max_age_ms=1000,
        )  # fmt: skip
        self.other = f"{self.topic}-other"
        launcher.create_topic(address, self.topic, 3)
        launcher.create_topic(address, f"{self.topic}-dead", 1)
        self.producer = KafkaProducer(bootstrap_servers=address)
        self.opened: list[Source] = []

    def make_other(self):
        launcher.create_topic(self.config.bootstrap_servers, self.other, 3)
        self.config = self.config.model_copy(update={"topic": "", "topics": (self.topic, self.other)})

    def delete_other(self):
        from kafka import KafkaAdminClient, KafkaProducer

        self.producer.close()  # one that has sent to the topic would have it made again
        admin = KafkaAdminClient(bootstrap_servers=self.config.bootstrap_servers)
        admin.delete_topics([self.other])
        admin.close()
        self.producer = KafkaProducer(bootstrap_servers=self.config.bootstrap_servers)

    def send(self, value, partition=0, headers=(), topic=None):
        at = topic or self.topic
        self.producer.send(
            at, value=value, key=b"k", partition=partition, headers=list(headers), timestamp_ms=STAMP
        ).get(30)

    def open(self):
        self.opened.append(open_source(self.config))
        return self.opened[-1]

    def leave(self, source):
        self.opened.remove(source)
        source.close()

    def letters(self):
        return KafkaDeadLetters(connection(self.config), f"{self.topic}-dead", max_bytes=1000)

    def dead(self):
        from kafka import KafkaConsumer, TopicPartition

        consumer = KafkaConsumer(**connection(self.config), auto_offset_reset="earliest")
        tp = TopicPartition(f"{self.topic}-dead", 0)
        consumer.assign([tp])
        consumer.seek_to_beginning(tp)
        found = []
        for _ in range(8):
            polled = [r for records in consumer.poll(timeout_ms=500).values() for r in records]
            found += polled
            if found and not polled:  # all were acknowledged before anybody looks
                break
        consumer.close()
        return [(r.value, dict(r.headers)) for r in found]

    def close(self):
        for source in self.opened:
            source.close()
        self.producer.close()


@pytest.fixture(scope="module")
def tansu():
    with launcher.start_broker() as server:
        yield server.address


@pytest.fixture(scope="module")
def apache():
    with start_apache_kafka() as server:
        yield server.address


WITHOUT_APACHE = pytest.mark.skipif(bool(why_not()), reason=why_not())
REAL = ["tansu", pytest.param("apache", marks=WITHOUT_APACHE)]
CONFLUENT = ["tansu confluent-kafka", pytest.param("apache confluent-kafka", marks=WITHOUT_APACHE)]


@pytest.fixture(params=["double", *REAL, *CONFLUENT])
def bench(request):
    server, _, client = request.param.partition(" ")
    if client:
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    address = None if server == "double" else request.getfixturevalue(server)
    made = DoubleBench() if address is None else KafkaBench(address, client or "kafka-python")
    yield made
    made.close()


def polled(source, n, seconds=30):
    """Poll until ``n`` records came."""
    found = []
    until = time.monotonic() + seconds
    while len(found) < n and time.monotonic() < until:
        found += [r for records in source.poll(200, 100).values() for r in records]
    return found


def test_records_come_in_offset_order_with_everything_they_carry(bench):
    for n in range(5):
        bench.send(b"v%d" % n, headers=[("ce_id", b"x")])
    source = bench.open()
    found = polled(source, 5)
    assert [(r.partition, r.offset, r.value) for r in found] == [(0, n, b"v%d" % n) for n in range(5)]
    assert found[0] == Record(bench.topic, 0, 0, STAMP, b"k", b"v0", (("ce_id", b"x"),))


def test_a_new_assignment_is_reported_as_fresh_once(bench):
    bench.send(b"v")
    source = bench.open()
    polled(source, 1)
    everything = {Partition(bench.topic, n) for n in range(3)}
    assert source.assigned() == everything
    assert source.take_fresh() == everything
    assert source.take_fresh() == set()


def test_a_seek_delivers_the_same_records_again(bench):
    for n in range(4):
        bench.send(b"v%d" % n)
    source = bench.open()
    polled(source, 4)
    source.seek(Partition(bench.topic, 0), 2)
    assert [r.value for r in polled(source, 2)] == [b"v2", b"v3"]


def test_a_seek_of_a_partition_that_is_not_ours_is_nothing(bench):
    source = bench.open()
    source.seek(Partition("elsewhere", 0), 2)
    source.pause([Partition("elsewhere", 0)])
    source.resume([Partition("elsewhere", 0)])


def test_a_paused_partition_gives_nothing_until_it_is_resumed(bench):
    bench.send(b"first")
    source = bench.open()
    polled(source, 1)
    source.pause(source.assigned())
    bench.send(b"second")
    assert polled(source, 1, seconds=2) == []
    source.resume(source.assigned())
    assert [r.value for r in polled(source, 1)] == [b"second"]


# Tansu deals a partition to a second member only after a session timeout or two: its members take over one by one.
@pytest.mark.parametrize("bench", ["double", REAL[1], CONFLUENT[1]], indirect=True)
def test_a_second_member_takes_some_partitions_and_gives_them_back(bench):
    for n in range(3):
        bench.send(b"v", partition=n)
    one = bench.open()
    polled(one, 3)
    two = bench.open()
    until = time.monotonic() + 60
    while not (two.assigned() and len(one.assigned()) + len(two.assigned()) == 3) and time.monotonic() < until:
        one.poll(100, 10)
        two.poll(100, 10)
    assert not one.assigned() & two.assigned()
    assert len(one.assigned() | two.assigned()) == 3
    assert two.take_fresh() == two.assigned()
    bench.leave(two)
    while len(one.assigned()) < 3 and time.monotonic() < until:
        one.poll(100, 10)
    assert len(one.assigned()) == 3


def test_a_member_that_leaves_is_replaced_by_the_next_one(bench):
    bench.send(b"v")
    one = bench.open()
    polled(one, 1)
    bench.leave(one)
    two = bench.open()
    assert [r.value for r in polled(two, 1)] == [b"v"]
    assert two.take_fresh() == {Partition(bench.topic, n) for n in range(3)}


def test_what_is_committed_to_kafka_is_told_again(bench):
    bench.send(b"v")
    source = bench.open()
    polled(source, 1)
    p = Partition(bench.topic, 0)
    assert source.committed([p]) == {}
    until = time.monotonic() + 20
    while source.committed([p]) != {p: 1} and time.monotonic() < until:
        source.commit({p: 1})
        source.poll(100, 1)
    assert source.committed([p]) == {p: 1}


def test_a_log_is_described_with_the_topic_that_it_is_of(bench):
    for _ in range(3):
        bench.send(b"v")
    source = bench.open()
    p, absent = Partition(bench.topic, 0), Partition(bench.topic, 77)
    said = source.logs([p, absent], {p: 3})
    assert list(said) == [p]
    assert said[p].first == 0
    assert said[p].end in (3, -1)  # -1: a broker whose ends are wrong is found out
    seen = source.look()[bench.topic]
    assert said[p].topic_id == seen.topic_id != ""
    assert seen.partitions == 3
    assert source.trouble() == ""


def test_a_dead_letter_keeps_the_record_and_says_why_and_whence(bench):
    letters = bench.letters()
    bad = Record(bench.topic, 1, 42, 5, b"k", b"value", (("ce_id", b"x"),))
    letters.send([(bad, "wrong-width", "3 elements, expected 8")])
    letters.close()
    ((value, headers),) = bench.dead()
    assert value == b"value"
    assert headers["ce_id"] == b"x"
    assert headers["dead-letter-reason"] == b"wrong-width"
    assert headers["dead-letter-error"] == b"3 elements, expected 8"
    assert (headers["dead-letter-partition"], headers["dead-letter-offset"]) == (b"1", b"42")


@pytest.mark.parametrize("name", REAL)
def test_a_value_too_large_for_the_dead_letters_is_cut_and_says_so(name, request):
    bench = KafkaBench(request.getfixturevalue(name))
    letters = bench.letters()
    letters.send([(Record("t", 0, 0, 5, None, b"x" * 5000), "too-large", "5000 bytes")])
    letters.close()
    ((value, headers),) = bench.dead()
    assert 500 < len(value) < 1000  # 1000 bytes with its headers
    assert headers["dead-letter-cut"] == b"value of 5000 bytes was cut"
    bench.close()


IMPOSSIBLE = {
    "a header without a value": Record("t", 3, 77, 5, b"k", b"v", (("ce_id", None),)),
    "a header name that is not Unicode": Record("t", 3, 77, 5, b"k", b"v", (("\ud800", b"x"),)),
    "headers that are too large": Record("t", 3, 77, 5, b"k", b"v", (("a", b"x" * 990),)),
    "a key that is too large": Record("t", 3, 77, 5, b"k" * 990, b"v"),
}


def test_a_record_that_cannot_be_sent_on_goes_as_its_place_and_reason_and_holds_up_no_other(bench):
    letters = bench.letters()
    good = Record("t", 3, 78, 5, b"k", b"fine")
    letters.send([*((record, "wrong-size", "x") for record in IMPOSSIBLE.values()), (good, "wrong-size", "x")])
    letters.close()
    *stubs, (value, headers) = bench.dead()
    assert (value, "dead-letter-stub" in headers) == (b"fine", False)
    assert len(stubs) == len(IMPOSSIBLE)
    for stub, found in stubs:
        assert stub == b""
        assert found["dead-letter-reason"] == b"wrong-size"
        place = [found[f"dead-letter-{name}"] for name in ("topic", "partition", "offset")]
        assert place == [b"t", b"3", b"77"]
        assert not {"ce_id", "a"} & set(found)
    assert (letters.sent.letters, letters.sent.stubs) == (len(IMPOSSIBLE) + 1, len(IMPOSSIBLE))


def test_a_record_without_key_and_value_is_a_dead_letter_too(bench):
    letters = bench.letters()
    letters.send([(Record("t", 3, 77, None, None, None), "empty-value", "x")])
    letters.close()
    ((value, headers),) = bench.dead()
    assert (value, headers["dead-letter-reason"]) == (b"", b"empty-value")


class NotUtf8(str):
    """A header name as a client that checks nothing writes it."""

    def encode(self, *_):
        return b"\xff\xfe"


@pytest.mark.parametrize("client", ["kafka-python", "confluent-kafka"])
@pytest.mark.parametrize("name", REAL)
def test_a_header_name_that_is_not_utf_8_is_read_past_and_known_to_the_contract(name, client, request):
    if client == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    bench = KafkaBench(request.getfixturevalue(name), client)
    names = [*["fine"] * 100, NotUtf8("x"), NotUtf8("y"), *["fine"] * 20]  # the first make the reading code hot
    for key in names:
        bench.send(b"12345678" * 4, headers=[(key, b"1")])
    records = polled(bench.open(), len(names))
    assert [r.offset for r in records] == list(range(len(names)))
    rows = Rows()
    rejected = Reader(Contract(8)).read(records, rows, 2 * STAMP)
    assert [(r.offset, reason) for r, reason, _ in rejected] == [(100, "bad-header"), (101, "bad-header")]
    assert len(rows.records) == len(names) - 2
    bench.close()


def test_a_broker_that_is_not_there_is_an_error_that_trying_again_may_help():
    letters = KafkaDeadLetters(
        {"bootstrap_servers": [f"127.0.0.1:{launcher.free_port()}"], "bootstrap_timeout_ms": 500}, "dead"
    )
    with pytest.raises(BrokerUnavailableError):
        letters.send([(Record("t", 0, 0, 5, None, b"x"), "too-large", "")])


# -- several topics ------------------------------------------------------------------------------------------------


def test_two_topics_are_read_by_one_member_and_equal_partitions_are_kept_apart(bench):
    bench.make_other()
    for n in range(3):
        bench.send(b"one-%d" % n)
        bench.send(b"two-%d" % n, topic=bench.other)
    source = bench.open()
    by_partition = {}
    for r in polled(source, 6):
        by_partition.setdefault((r.topic, r.partition), []).append((r.offset, r.value))
    assert by_partition == {
        (bench.topic, 0): [(n, b"one-%d" % n) for n in range(3)],
        (bench.other, 0): [(n, b"two-%d" % n) for n in range(3)],
    }
    assert source.assigned() == {Partition(t, n) for t in (bench.topic, bench.other) for n in range(3)}
    source.seek(Partition(bench.other, 0), 1)
    assert [r.value for r in polled(source, 2)] == [b"two-1", b"two-2"]
    source.pause([Partition(bench.topic, 0)])
    bench.send(b"one-3")
    bench.send(b"two-3", topic=bench.other)
    assert [r.value for r in polled(source, 1)] == [b"two-3"]
    source.resume([Partition(bench.topic, 0)])
    assert [r.value for r in polled(source, 1)] == [b"one-3"]


def test_each_of_two_topics_is_described_with_its_own_id(bench):
    bench.make_other()
    bench.send(b"v")
    source = bench.open()
    polled(source, 1)
    one, two = Partition(bench.topic, 0), Partition(bench.other, 0)
    said = source.logs([one, two])
    seen = source.look()
    assert said[one].topic_id == seen[bench.topic].topic_id != ""
    assert said[two].topic_id == seen[bench.other].topic_id != said[one].topic_id
    assert (source.trouble(), source.unreadable()) == ("", ())


# librdkafka 2.16 dies of SIGSEGV if Tansu deletes a topic that it reads, the only one or one of two.
@pytest.mark.parametrize("bench", ["double", *REAL, CONFLUENT[1]], indirect=True)
def test_one_of_two_topics_that_is_deleted_is_named_and_the_other_is_read_on(bench):
    bench.make_other()
    bench.send(b"before")
    bench.send(b"gone", topic=bench.other)
    source = bench.open()
    polled(source, 2)
    bench.delete_other()
    until = time.monotonic() + 30
    while not source.unreadable() and time.monotonic() < until:
        source.poll(100, 10)
    assert source.unreadable() == (bench.other,)
    assert bench.other in source.trouble()
    bench.send(b"after")
    assert [r.value for r in polled(source, 1)] == [b"after"]
    one, two = Partition(bench.topic, 0), Partition(bench.other, 0)
    assert list(source.logs([one, two])) == [one]
