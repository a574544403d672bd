"""What is seen of a topic, and what is said while it cannot be seen."""

from __future__ import annotations

import logging

import pytest

from monitor.config import KafkaConfig
from monitor.errors import BrokerError, BrokerUnavailableError, TopicMissingError
from monitor.messages.record import Partition
from monitor.sources.connecting import Diagnosis
from monitor.sources.descriptions import Description
from monitor.sources.lookout import Lookout
from monitor.sources.protocol import Log

CONFIG = KafkaConfig(bootstrap_servers="kafka:9092", topic="requests", look_seconds=30)
P0, P1 = Partition("requests", 0), Partition("requests", 1)
AWAY = Diagnosis("nothing accepts connections at kafka:9092 (Connection refused)", fatal=False)


class Questions:
    def __init__(self):
        self.fails: list[Exception] = []
        self.seen = Description("id-1", frozenset({0, 1}), frozenset())
        self.asked = []

    def describe(self):
        if self.fails and not isinstance(self.fails[0], TopicMissingError):
            raise self.fails[0]
        return {"requests": self.fails[0] if self.fails else self.seen}

    def ends(self, partitions, topic_ids):
        self.asked.append(list(partitions))
        return {p: Log(topic_ids[p.topic], 0, 9) for p in partitions}

    def unassigned(self):
        return self.unassigned_now

    unassigned_now = frozenset()

    def close(self):
        pass


class Bench:
    def __init__(self, found=AWAY):
        self.now, self.found, self.questions = 100.0, found, Questions()
        self.lookout = Lookout(
            CONFIG, self.questions, lambda: {P0, P1}, clock=lambda: self.now, wall=lambda: 1_800_000_000 + self.now,
            explain=lambda _: self.found, watch_group=True,
        )  # fmt: skip


@pytest.fixture
def bench(caplog):
    caplog.set_level(logging.WARNING)
    return Bench()


def test_what_is_seen_is_dated_by_when_it_was_asked_for(bench):
    assert bench.lookout.sights == {}
    bench.lookout.look()
    sight = bench.lookout.sights["requests"]
    assert (sight.topic_id, sight.partitions, sight.asked_at) == ("id-1", 2, 100.0)
    assert sight.logs == {P0: Log("id-1", 0, 9), P1: Log("id-1", 0, 9)}
    assert bench.lookout.trouble == ""


def test_kafka_away_is_said_once_then_once_a_minute_and_so_is_its_return(bench, caplog):
    bench.lookout.look()
    bench.questions.fails = [BrokerUnavailableError("no")]
    for _ in range(100):
        bench.now += 1.0
        bench.lookout.look()
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 2
    assert said[0].startswith(f"Kafka cannot be reached at kafka:9092: {AWAY.text}; nothing is lost")
    assert said[0].endswith("(since 2027-01-15T08:01:41Z)")
    assert bench.lookout.trouble == said[1] == said[0]
    bench.questions.fails = []
    for _ in range(3):
        bench.lookout.look()
    assert bench.lookout.trouble == ""
    assert [r.getMessage() for r in caplog.records][2:] == [
        "topic requests can be read at kafka:9092 again after 99 seconds; counting goes on"
    ]


def test_one_connection_that_was_closed_is_no_trouble(bench, caplog):
    calls = iter([BrokerUnavailableError("closed for being idle"), None])
    answer = bench.questions.describe

    def describe():
        error = next(calls)
        if error:
            raise error
        return answer()

    bench.questions.describe = describe
    bench.lookout.look()
    assert (bench.lookout.trouble, caplog.records) == ("", [])


def test_a_topic_that_goes_away_is_named_with_how_to_make_it(bench):
    bench.questions.fails = [TopicMissingError("gone")]
    bench.lookout.look()
    assert bench.lookout.trouble.startswith("Topic 'requests' does not exist on kafka:9092")
    assert "--create --topic requests" in bench.lookout.trouble


def test_another_trouble_is_said_at_once(bench, caplog):
    bench.questions.fails = [BrokerUnavailableError("no")]
    bench.lookout.look()
    bench.questions.fails = [TopicMissingError("gone")]
    bench.lookout.look()
    assert len(caplog.records) == 2


def test_partitions_without_a_leader_are_named_and_not_asked_about(bench):
    bench.questions.seen = Description("id-1", frozenset({0, 1}), frozenset({1}))
    bench.lookout.look()
    assert "requests/1" in bench.lookout.trouble
    assert bench.questions.asked == [[P0]]


def test_a_login_that_is_refused_while_it_runs_is_told_and_waited_out(bench):
    bench.found = Diagnosis("kafka:9092 refuses the login of user 'monitor'", fatal=True)
    bench.questions.fails = [BrokerUnavailableError("no")]
    bench.lookout.look()
    assert bench.lookout.trouble.startswith("Kafka refuses this worker: kafka:9092 refuses the login")


def test_partitions_that_nobody_was_given_at_two_looks_in_a_row_are_orphans(bench):
    for unassigned, expected in (({0, 1}, set()), ({1}, {1}), (set(), set()), ({1}, set()), ({1}, {1})):
        bench.questions.unassigned_now = frozenset(Partition("requests", n) for n in unassigned)
        bench.now += 10.0
        bench.lookout.look()
        assert bench.lookout.take_orphans() == {Partition("requests", n) for n in expected}
        assert bench.lookout.take_orphans() == set()


@pytest.mark.parametrize(
    ("raised", "found", "expected"),
    [
        (BrokerUnavailableError("no"), Diagnosis("set kafka.ssl_cafile", fatal=True), "set kafka.ssl_cafile"),
        (BrokerError("refused"), Diagnosis("set kafka.sasl_password", fatal=True), "set kafka.sasl_password"),
        (BrokerError("refused"), None, "refused"),
        (TopicMissingError("topic 'requests' does not exist"), None, "does not exist"),
    ],
)
def test_at_the_start_what_waiting_does_not_mend_is_an_error(bench, raised, found, expected):
    bench.questions.fails, bench.found = [raised], found
    with pytest.raises(BrokerError, match=expected) as caught:
        bench.lookout.begin()
    assert not isinstance(caught.value, BrokerUnavailableError)


def test_at_the_start_kafka_away_is_waited_for(bench):
    bench.questions.fails = [BrokerUnavailableError("no")]
    bench.lookout.begin()
    assert "cannot be reached" in bench.lookout.trouble
    bench.lookout.close()


class Several(Bench):
    """Two topics, of which one may have trouble of its own."""

    def __init__(self, **wrong):
        config = KafkaConfig(bootstrap_servers="kafka:9092", topics=("requests", "others"), look_seconds=30)
        self.now, self.asked = 100.0, []
        self.found = {"requests": Description("id-1", frozenset({0}), frozenset())} | wrong
        self.found.setdefault("others", Description("id-2", frozenset({0}), frozenset()))
        self.lookout = Lookout(
            config, self, lambda: {P0, OTHER}, clock=lambda: self.now, wall=lambda: 1_800_000_000 + self.now,
            explain=lambda _: None,
        )  # fmt: skip

    def describe(self):
        return self.found

    def ends(self, partitions, topic_ids):
        self.asked.append(list(partitions))
        return {p: Log(topic_ids[p.topic], 0, 9) for p in partitions}

    def close(self):
        pass


OTHER = Partition("others", 0)


def test_two_topics_are_each_seen_with_their_own_id_and_logs():
    bench = Several()
    bench.lookout.look()
    assert {t: (s.topic_id, dict(s.logs)) for t, s in bench.lookout.sights.items()} == {
        "requests": ("id-1", {P0: Log("id-1", 0, 9)}), "others": ("id-2", {OTHER: Log("id-2", 0, 9)}),
    }  # fmt: skip
    assert (bench.lookout.trouble, bench.lookout.unreadable) == ("", ())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (TopicMissingError("gone"), "Topic 'others' does not exist on kafka:9092: correct kafka.topics"),
        (BrokerError("may not see topic 'others'"), "Kafka refuses this worker: may not see topic 'others'"),
        (BrokerUnavailableError("cannot describe topic 'others'"), "cannot describe topic 'others'"),
        (Description("id-2", frozenset({0}), frozenset({0})), "1 partitions of topic 'others' have no leader"),
    ],
)
def test_what_is_wrong_with_one_topic_is_said_of_it_and_the_other_is_seen(caplog, wrong, said):
    caplog.set_level(logging.WARNING)
    bench = Several()
    bench.lookout.look()
    bench.found["others"] = wrong
    for _ in range(100):
        bench.now += 1.0
        bench.lookout.look()
    assert bench.lookout.trouble.startswith(said)
    assert bench.lookout.unreadable == ("others",)
    assert bench.lookout.sights["requests"].asked_at == bench.now
    assert bench.asked[-1] == [P0]
    assert [r.topic for r in caplog.records] == ["others", "others"]  # once, and once more after a minute
    bench.found["others"] = Description("id-2", frozenset({0}), frozenset())
    bench.lookout.look()
    assert (bench.lookout.trouble, bench.lookout.unreadable) == ("", ())
    assert caplog.records[-1].getMessage().startswith("topic others can be read at kafka:9092 again after 99 seconds")


def test_all_topics_wrong_is_trouble_with_everything():
    bench = Several(requests=TopicMissingError("gone"), others=TopicMissingError("gone"))
    bench.lookout.look()
    assert "Topic 'requests' does not exist" in bench.lookout.trouble
    assert "Topic 'others' does not exist" in bench.lookout.trouble
    assert bench.lookout.unreadable == ()


def test_at_the_start_one_missing_topic_is_waited_for_and_all_missing_is_an_error():
    one = Several(others=TopicMissingError("topic 'others' does not exist"))
    one.lookout.begin()
    assert one.lookout.unreadable == ("others",)
    assert "it did not exist when this worker began" in one.lookout.trouble
    one.lookout.close()
    both = Several(requests=TopicMissingError("no 'requests'"), others=TopicMissingError("no 'others'"))
    with pytest.raises(TopicMissingError, match="no 'requests'; no 'others'"):
        both.lookout.begin()


def test_a_topic_that_came_back_is_told_once_unless_a_partition_of_it_is_ours_by_then():
    bench = Several(others=TopicMissingError("gone"))
    bench.lookout.look()
    bench.found["others"] = Description("id-2", frozenset({0}), frozenset())
    bench.lookout.look()
    assert bench.lookout.take_returned() == []  # the client may notice by itself
    bench.now += 3.0
    assert bench.lookout.take_returned() == []  # OTHER is ours
    bench.lookout._ours = lambda: {P0}
    bench.found["others"] = TopicMissingError("gone")
    bench.lookout.look()
    bench.found["others"] = Description("id-3", frozenset({0}), frozenset())
    bench.lookout.look()
    bench.now += 3.0
    assert bench.lookout.take_returned() == ["others"]
    assert bench.lookout.take_returned() == []


def test_at_the_start_one_forbidden_topic_is_an_error_of_the_settings():
    bench = Several(others=BrokerError("may not see topic 'others'"))
    with pytest.raises(BrokerError, match="may not see topic 'others'"):
        bench.lookout.begin()


def test_kafka_away_after_one_topic_was_missing_is_about_everything_and_its_return_names_what_is_back(caplog):
    caplog.set_level(logging.WARNING)
    bench = Several(others=TopicMissingError("gone"))
    bench.lookout.look()
    away, bench.describe = bench.describe, lambda: (_ for _ in ()).throw(BrokerUnavailableError("no"))
    bench.lookout._questions = bench
    bench.lookout.look()
    assert bench.lookout.trouble.startswith("Kafka cannot be reached")
    assert bench.lookout.unreadable == ()
    bench.describe = away
    bench.lookout.look()
    assert bench.lookout.unreadable == ("others",)
    assert caplog.records[-1].getMessage().startswith("topic requests can be read at kafka:9092 again")
    assert bench.lookout.trouble.startswith("Topic 'others' does not exist")
