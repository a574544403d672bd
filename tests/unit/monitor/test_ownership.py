"""Claims of partitions: when they are made, where they begin, what is said, and what makes them doubtful."""

from __future__ import annotations

import logging

import pytest

from monitor.counting.bad_share import Share
from monitor.counting.counter import Owned
from monitor.counting.ownership import Ownership
from monitor.errors import BrokerUnavailableError
from monitor.messages.record import Partition
from monitor.sources.protocol import Log, Sight
from monitor.store.partitions import Move, Progress
from monitor.testing import FakeClock, MemoryBroker, MemorySource, MemoryStore

P0, P1 = Partition("t", 0), Partition("t", 1)


class Source(MemorySource):
    """Sees of a topic what it is given to see, takes ``seconds`` to answer, and may fail to."""

    def __init__(self, broker, now):
        super().__init__(broker, "t", "g")
        self.now, self.sights, self.seconds, self.fails, self.asked, self.sought = now, {}, 0.0, "", 0, []

    def look(self):
        return self.sights

    def seek(self, partition, offset):
        self.sought.append((partition.number, offset))
        super().seek(partition, offset)

    def logs(self, partitions, read_up_to=None):
        self.asked += 1
        self.now.seconds += self.seconds
        if self.fails:
            raise BrokerUnavailableError(self.fails)
        return super().logs(partitions)


class Now:
    seconds = 1000.0

    def __call__(self):
        return self.seconds


class Group:
    def __init__(self, partitions=1, start="earliest", records=0):
        self.now, self.broker, self.store = Now(), MemoryBroker(partitions), MemoryStore(FakeClock())
        self.source = Source(self.broker, self.now)
        for n in range(records):
            self.broker.send("t", b"v", partition=n % partitions)
        self.owner = Ownership(self.source, self.store, start, clock=self.now)
        self.id = self.broker.topic_ids["t"]

    def accept(self, polled=None, after=0.0):
        self.now.seconds += after
        return self.owner.accepted(polled or {})

    def epoch(self, p=P0):
        return self.store.partitions()[p].epoch


def lines(caplog, least=logging.INFO):
    return [r.getMessage() for r in caplog.records if r.levelno >= least]


# -- when a claim is made ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("took", "waits"), [(0.25, 2.5), (0.5, 5.0), (2.0, 5.0)])
def test_a_claim_that_failed_is_made_again_after_ten_times_as_long_as_it_took_and_five_seconds_at_most(took, waits):
    group = Group()
    group.source.seconds, group.source.fails = took, "the broker is away"
    group.accept()
    group.source.seconds, group.source.fails = 0.0, ""
    group.accept(after=waits - 0.125)
    assert group.source.asked == 1
    group.accept(after=0.125)
    assert (group.source.asked, group.owner.owned.keys()) == (2, {P0})


def test_what_cannot_be_claimed_is_said_once_a_minute_with_why(caplog):
    group = Group(partitions=2)
    group.source.fails = "Kafka does not answer"
    said = []
    with caplog.at_level(logging.WARNING):
        for seconds in (0, 59.75, 0.25):
            group.accept(after=seconds)
            said.append(len(caplog.records))
    assert said == [1, 1, 2]
    assert set(lines(caplog)) == {
        "t/0, t/1 cannot be claimed now (Kafka does not answer); this is tried again within 5 seconds, others go on"
    }


def test_a_partition_without_a_leader_is_named_and_the_others_are_claimed(caplog):
    group = Group(partitions=2)
    group.broker.muted = {P1}
    with caplog.at_level(logging.WARNING):
        group.accept()
    assert group.owner.owned.keys() == {P0}
    why = "no leader, or not there any more"
    assert lines(caplog) == [f"t/1 cannot be claimed now ({why}); this is tried again within 5 seconds, others go on"]


# -- where it begins ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "first", "end", "begins"), [
    ("earliest", 2, 6, 2), ("latest", 2, 6, 6), ("latest", 2, 0, 2),
])  # fmt: skip
def test_a_partition_that_was_never_counted_begins_where_the_settings_say_within_its_log(start, first, end, begins):
    group = Group(start=start)
    group.broker.first[P0], group.broker.ends[P0] = first, end
    group.accept()
    assert (group.owner.owned[P0].next, group.source.sought) == (begins, [(0, begins)])


def test_a_partition_that_kafka_says_was_counted_begins_at_its_first_record_and_says_that_redis_was_wiped(caplog):
    group = Group(partitions=2, start="latest", records=10)
    group.broker.committed = {("g", P0): 4, ("g", P1): 5}
    group.broker.expire(P1, 3)
    with caplog.at_level(logging.WARNING):
        group.accept()
    assert {p: o.next for p, o in group.owner.owned.items()} == {P0: 0, P1: 3}
    wiped = "Redis has no offset although {} were counted before, it was wiped; counting again from offset {}, the "
    wiped += "earliest that is retained"
    assert lines(caplog) == ["t/0: " + wiped.format(4, 0), "t/1: " + wiped.format(5, 3) + " (3 records are gone)"]
    assert [(r.topic, r.partition, r.offset) for r in caplog.records] == [("t", 0, 0), ("t", 1, 3)]


def test_a_claim_is_said_with_its_epoch_and_its_offset(caplog):
    group = Group(records=3)
    group.store.claim({P0: 2})
    with caplog.at_level(logging.INFO):
        group.accept()
    assert lines(caplog) == ["t/0: claimed with epoch 2 at offset 2"]
    (line,) = caplog.records
    assert (line.levelname, line.topic, line.partition, line.offset) == ("INFO", "t", 0, 2)


@pytest.mark.parametrize(("seen", "expected"), [(7, 7), (1, 2)])
def test_the_first_claim_notes_how_many_partitions_the_topic_has_as_far_as_anybody_knows(seen, expected):
    group = Group(partitions=2)
    group.source.sights = {"t": Sight(group.id, seen, {}, 999.0)}
    group.accept()
    assert group.store.partitions_at_start("t") == expected


def test_a_claim_takes_all_that_is_stored_and_progress_takes_its_place():
    group = Group(records=9)
    group.store._shares[P0] = (40.0, 4.0)
    group.accept()
    assert group.owner.owned[P0] == Owned(1, 0, -1, -1, group.id, (0, 0), Share(40.0, 4.0))
    group.owner.advance([Progress(P0, 1, 0, 7, 12, 50.0, 5.0)])
    assert group.owner.owned[P0] == Owned(1, 7, 12, -1, group.id, (0, 0), Share(50.0, 5.0))


def test_a_partition_that_another_worker_takes_while_it_is_moved_is_not_owned(caplog):
    group = Group(records=12)
    group.store.claim({P0: 0}, group.id)
    group.broker.expire(P0, 10)
    group.store.move = lambda _move: False
    with caplog.at_level(logging.INFO):
        group.accept()
    assert group.owner.owned == {}
    assert lines(caplog)[-1] == "t/0: another worker took the partition over while it was moved"
    assert (caplog.records[-1].topic, caplog.records[-1].partition) == ("t", 0)
    (gap,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert (gap.topic, gap.partition, gap.offset) == ("t", 0, 0)


def test_a_partition_belongs_to_the_topic_that_is_stored_if_the_broker_gives_topics_no_ids():
    group = Group(records=3)
    group.store.claim({P0: 0}, group.id)
    group.broker.topic_ids.clear()
    group.accept()
    assert group.owner.owned[P0].topic_id == group.id


def test_a_partition_that_is_given_up_twice_is_given_up():
    group = Group(records=3)
    group.accept()
    for _ in range(2):
        group.owner.give_up([Progress(P0, 1, 0, 3, 5)])
    assert group.owner.owned == {}


# -- what makes a claim doubtful ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic_id", "log", "asked_at", "after", "again"),
    [
        ("other", None, 1000.125, 1, True),
        ("other", None, 1000.0, 1, False),  # asked before the claim
        ("", None, 1000.125, 1, False),  # a broker without ids
        ("same", Log("", 5, 9), 1001.0, 5, False),  # the log begins where it is expected
        ("same", Log("", 6, 9), 1001.0, 5, True),
        ("same", Log("", 6, 9), 1001.0, 4.875, False),  # records came a moment ago
        ("same", Log("", 0, 5), 1001.0, 5, False),  # it ends where it is expected
        ("same", Log("", 0, 4), 1001.0, 5, True),
        ("same", Log("", 0, -1), 1001.0, 5, False),  # its end is not known
    ],
)
def test_a_partition_is_claimed_again_if_what_is_seen_of_its_topic_contradicts_what_was_read(
    topic_id, log, asked_at, after, again
):
    group = Group(records=9)
    group.store.claim({P0: 5}, group.id)
    group.accept()
    assert group.epoch() == 2
    seen = {"same": group.id}.get(topic_id, topic_id)
    group.source.sights = {"t": Sight(seen, 1, {} if log is None else {P0: log}, asked_at)}
    group.accept(after=after)
    assert group.epoch() == 2 + again


def test_a_partition_that_brings_records_is_not_doubted_for_what_was_seen_of_its_log():
    group = Group(records=9)
    group.store.claim({P0: 5}, group.id)
    group.accept()
    group.source.sights = {"t": Sight(group.id, 1, {P0: Log("", 6, 9)}, 1001.0)}
    polled = group.source.poll(0, 10)
    assert [r.offset for r in group.accept(polled, after=60)[P0]] == [5, 6, 7, 8]
    assert group.epoch() == 2


def test_an_older_look_at_a_topic_does_not_take_the_place_of_a_newer_one():
    group = Group(records=9)
    group.accept()
    for topic_id, asked_at in ((group.id, 1002.0), ("other", 1001.0), ("other", 1002.0)):
        group.source.sights = {"t": Sight(topic_id, 1, {}, asked_at)}
        group.accept(after=1)
        assert group.epoch() == 1
    group.source.sights = {"t": Sight("other", 1, {}, 1002.125)}
    group.accept(after=1)
    assert group.epoch() == 2


# -- which records are due ---------------------------------------------------------------------------------------------


def test_records_below_the_expected_offset_have_the_partition_claimed_again_and_one_line_says_so(caplog):
    group = Group(records=9)
    group.store.claim({P0: 5}, group.id)
    group.accept()
    group.source.seek(P0, 1)
    with caplog.at_level(logging.INFO):
        assert group.accept(group.source.poll(0, 3)) == {}
    assert group.owner.owned == {}
    assert lines(caplog) == ["t/0: offsets 1 to 3 came, but 5 was expected; the partition is claimed again"]
    (line,) = caplog.records
    assert (line.topic, line.partition, line.offset) == ("t", 0, 1)
    group.accept()
    assert (group.epoch(), group.source.sought[-1]) == (3, (0, 5))


def test_of_records_that_come_again_those_that_are_counted_already_are_left_out():
    group = Group(records=9)
    group.store.claim({P0: 5}, group.id)
    group.accept()
    group.source.seek(P0, 3)
    assert [r.offset for r in group.accept(group.source.poll(0, 4))[P0]] == [5, 6]


def test_a_hole_in_a_log_is_read_again_once_before_it_is_believed(caplog):
    group = Group(records=9)
    group.broker.compact(P0, [0, 1])
    group.accept()
    polled = group.source.poll(0, 3)
    with caplog.at_level(logging.DEBUG, "monitor.counting.ownership"):
        assert group.accept(polled) == {}
    assert lines(caplog, logging.DEBUG) == ["t/0: offset 2 came, but 0 was expected; it is read again"]
    assert group.source.sought == [(0, 0), (0, 0)]
    assert [r.offset for r in group.accept(polled)[P0]] == [2, 3, 4]
    assert group.epoch() == 1


def test_a_hole_is_asked_about_and_a_broker_that_cannot_tell_has_the_partition_claimed_later(caplog):
    group = Group(records=9)
    group.broker.compact(P0, [0, 1])
    group.accept()
    polled = group.source.poll(0, 3)
    group.accept(polled)
    group.source.fails, group.source.seconds = "Kafka does not answer", 0.25
    with caplog.at_level(logging.WARNING):
        assert group.accept(polled) == {}
    assert group.owner.owned == {}
    assert lines(caplog) == [
        "t/0 cannot be claimed now (Kafka does not answer); this is tried again within 5 seconds, others go on"
    ]
    group.source.fails = ""
    group.accept(after=2.375)
    assert group.owner.owned == {}
    group.accept(after=0.125)
    assert group.owner.owned.keys() == {P0}


def test_a_hole_is_believed_of_a_broker_that_gives_topics_no_ids_too():
    group = Group(records=9)
    group.broker.compact(P0, [0, 1])
    group.accept()
    assert group.owner.owned[P0].topic_id == group.id
    group.broker.topic_ids.clear()
    polled = group.source.poll(0, 3)
    assert group.accept(polled) == {}
    assert [r.offset for r in group.accept(polled)[P0]] == [2, 3, 4]
    assert group.epoch() == 1


def test_a_broker_that_still_describes_the_topic_before_has_the_partition_claimed_later(caplog):
    group = Group()
    claim = group.store.claim({P0: 0}, group.id)[P0]
    assert group.store.move(Move(P0, claim.epoch, 0, 0, "made again"))
    with caplog.at_level(logging.WARNING):
        group.accept()
    assert group.owner.owned == {}
    why = "the broker that answered still describes the old topic"
    assert lines(caplog) == [f"t/0 cannot be claimed now ({why}); this is tried again within 5 seconds, others go on"]
    group.broker.topic_ids["t"] = "made again"
    group.accept(after=5)
    assert group.owner.owned[P0].topic_id == "made again"


def test_records_of_a_partition_that_was_only_now_claimed_are_read_again():
    group = Group(records=9)
    polled = group.source.poll(0, 3)
    assert group.accept(polled) == {}
    assert [r.offset for r in group.accept(group.source.poll(0, 3))[P0]] == [0, 1, 2]


def test_a_partition_that_was_taken_away_is_forgotten_and_one_that_came_back_is_claimed_again():
    group = Group(partitions=2)
    group.accept()
    group.source.assign([P0])
    group.accept()
    assert group.owner.owned.keys() == {P0}
    group.source.assign([P0, P1])
    group.accept()
    assert (group.epoch(P0), group.epoch(P1)) == (1, 2)


def test_what_others_counted_between_the_question_and_the_claim_is_no_gap():
    group = Group(records=9)
    group.store.claim({P0: 9}, group.id)
    group.broker.ends[P0] = 5
    logs = group.source.logs

    def asked_before_the_others_counted(*given):
        found = logs(*given)
        group.broker.ends[P0] = 9
        return found

    group.source.logs = asked_before_the_others_counted
    group.accept()
    assert group.owner.owned[P0].next == 9
    assert group.store.alerts() == []
