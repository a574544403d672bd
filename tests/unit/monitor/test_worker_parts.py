"""The parts of the worker, each by itself: what is polled, reported, written, and said of trouble."""

from __future__ import annotations

import json
import logging

import pytest

from monitor.counting.counter import Owned
from monitor.counting.heartbeat import Heartbeat
from monitor.counting.observing import Unobserved
from monitor.counting.ownership import Ownership
from monitor.counting.polling import Polling
from monitor.counting.trouble import Trouble
from monitor.counting.writing import BatchWriter
from monitor.errors import BrokerUnavailableError, ReboundError
from monitor.messages.record import Partition
from monitor.store.counts import OVERFLOW, Batch
from monitor.store.partitions import Progress
from monitor.testing import FakeClock, MemoryBroker, MemorySource, MemoryStore, outage

P0, P1, P2 = (Partition("t", n) for n in range(3))


class Seconds:
    """A clock in seconds that moves when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def lines(caplog):
    return [r.getMessage() for r in caplog.records]


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_a_trouble_lasts_from_when_it_first_began_until_it_is_over_and_begins_anew():
    now = Seconds()
    trouble = Trouble(now)
    nothing = {"trouble": "", "trouble_for_ms": 0}
    assert trouble.report() == nothing
    now.now += 5
    trouble.begins("Kafka is away.")
    now.now += 2.5
    trouble.begins("Kafka is still away.")
    now.now += 0.25
    assert trouble.report() == {"trouble": "Kafka is still away.", "trouble_for_ms": 2750}
    trouble.is_over()
    assert (trouble.what, trouble.report()) == ("", nothing)
    now.now += 5
    trouble.begins("Topic b is gone.", ["b"])
    now.now += 1
    assert trouble.report() == {"trouble": "Topic b is gone.", "trouble_for_ms": 1000, "topics": ["b"]}
    trouble.is_over()
    assert trouble.report() == nothing


def test_a_trouble_about_everything_names_no_topics_even_after_one_that_did():
    trouble = Trouble(Seconds())
    trouble.begins("Topic b is gone.", ["b"])
    trouble.begins("Kafka is away.")
    assert (trouble.report(), list(trouble.topics)) == ({"trouble": "Kafka is away.", "trouble_for_ms": 0}, [])


# -- heartbeat ---------------------------------------------------------------------------------------------------------


def test_a_heartbeat_is_due_at_once_and_then_every_second():
    now = Seconds()
    beats = Heartbeat(MemoryStore(FakeClock()), "w", 500, FakeClock(), now)
    due = []
    for seconds in (0, 0.875, 0.125):
        now.now += seconds
        due.append(beats.is_due)
        if due[-1]:
            beats.beat({}, {}, Trouble(now))
    assert due == [True, False, True]


def test_a_heartbeat_tells_how_far_behind_each_partition_is_and_whether_that_is_more_than_two_polls():
    store = MemoryStore(FakeClock(5_000_000))
    partitions = [Partition("t", n) for n in range(5)]
    epochs = {p: claim.epoch for p, claim in store.claim(dict.fromkeys(partitions, 0)).items()}
    owned = {p: Owned(epoch, next=100, bucket=-1) for p, epoch in epochs.items()}
    ends = dict(zip(partitions, (100, 1100, 1101, 90), strict=False))  # that of the last is not known
    Heartbeat(store, "w", 500, FakeClock()).beat(owned, ends, Trouble(Seconds()))
    seen = {p.number: (state.lag, state.behind_ms, state.seen_ms) for p, state in store.partitions().items()}
    assert seen == {
        0: (0, 0, 5_000_000), 1: (1000, 0, 5_000_000), 2: (1001, 5_000_000, 5_000_000), 3: (0, 0, 5_000_000),
        4: (-1, 0, 5_000_000),
    }  # fmt: skip


def test_a_heartbeat_is_stored_under_the_worker_s_name_with_its_trouble():
    store, now = MemoryStore(FakeClock(7000)), Seconds()
    trouble = Trouble(now)
    trouble.begins("Topic b is gone.", ["b"])
    now.now += 3
    epoch = store.claim({P0: 0})[P0].epoch
    Heartbeat(store, "w-7", 500, FakeClock()).beat({P0: Owned(epoch, 0, -1)}, {}, trouble)
    ((name, (at, entry)),) = store.health().workers.items()
    assert (name, at) == ("w-7", 7000)
    told = {"partitions": 1, "trouble": "Topic b is gone.", "trouble_for_ms": 3000, "topics": ["b"]}
    assert json.loads(entry) == told


def test_a_heartbeat_learns_by_how_much_the_store_s_clock_is_ahead():
    beats = Heartbeat(MemoryStore(FakeClock(9000)), "w", 500, FakeClock(7500))
    assert beats.store_leads_ms == 0
    beats.beat({}, {}, Trouble(Seconds()))
    assert beats.store_leads_ms == 1500


REBOUND = (
    "this group was given other settings or another artifact while this process ran, and nothing more is written: "
    "restart it with the settings that the group has now"
)


def rebound() -> MemoryStore:
    """A store of a group that was given other settings while this process ran."""
    store = MemoryStore(FakeClock())
    store.bind("theirs", "{}", 1000, "artifact")
    store.bind("ours", "{}", 1000, "artifact")
    return store


def test_a_heartbeat_to_a_group_with_other_settings_says_what_to_do():
    with pytest.raises(ReboundError) as raised:
        Heartbeat(rebound(), "w", 500, FakeClock()).beat({}, {}, Trouble(Seconds()))
    assert str(raised.value) == REBOUND


# -- polling -----------------------------------------------------------------------------------------------------------


class Heard(Unobserved):
    """Keeps what polling tells its observer."""

    def __init__(self):
        self.told = []

    def polled(self, reachable, partitions):
        self.told.append((reachable, partitions))

    def unreadable(self, topics):
        self.told.append(tuple(topics))

    def took(self, stage, seconds):
        assert 0 <= seconds < 60
        self.told.append(stage)


class Asked(MemorySource):
    """Keeps how long and for how many records it was polled."""

    def __init__(self, *args):
        super().__init__(*args)
        self.asked = []

    def poll(self, timeout_ms, max_records):
        self.asked.append((timeout_ms, max_records))
        return super().poll(timeout_ms, max_records)


def polling(topics=("t",)):
    broker = MemoryBroker()
    source, observer, pauses, now = Asked(broker, topics, "g"), Heard(), [], Seconds()
    return Polling(source, observer, 200, 50, pauses.append, now), source, observer, pauses, now


def test_with_nothing_in_hand_a_poll_waits_as_long_as_it_may_and_tells_who_observes():
    polls, source, observer, pauses, _ = polling()
    source.broker.send("t", b"v", partition=1)
    assert [r.value for r in polls.read(3, None)[P1]] == [b"v"]
    assert source.asked == [(200, 50)]
    assert observer.told == ["poll", (True, 3), ()]
    assert (polls.trouble.what, pauses) == ("", [])


def test_while_a_batch_is_scored_polls_are_short_and_end_with_it():
    polls, source, _, _, _ = polling()
    left = [6]

    def scored():
        left[0] -= 1
        return left[0] < 0

    assert polls.read(3, scored) == {}
    assert source.asked == [(ms, 50) for ms in (0, 1, 3, 7, 8, 8, 8)]


def test_while_a_batch_is_scored_polling_ends_with_the_first_record():
    polls, source, _, _, _ = polling()
    source.broker.send("t", b"v", partition=1)
    assert P1 in polls.read(3, lambda: False)
    assert source.asked == [(0, 50)]
    assert polls.read(3, lambda: len(source.asked) == 2) == {}


def test_while_the_store_is_away_one_poll_keeps_the_worker_in_the_group_and_waits_for_nothing():
    polls, source, _, _, _ = polling()
    assert polls.read(3, lambda: False, away=True) == {}
    assert source.asked == [(0, 50)]


def test_kafka_out_of_reach_is_reported_from_when_it_began_and_paused_after():
    polls, source, observer, pauses, now = polling()
    with outage(source.broker):
        assert polls.read(3, None) == {}
        now.now += 2
        assert polls.read(3, None) == {}
    assert polls.trouble.report() == {"trouble": "the broker cannot be reached", "trouble_for_ms": 2000}
    assert (observer.told, pauses) == ([(False, 3), (False, 3)], [0.5, 0.5])
    polls.read(3, None)
    assert polls.trouble.what == ""


def test_a_topic_that_cannot_be_read_beside_others_is_trouble_of_its_own_and_kafka_is_reachable():
    polls, source, observer, _, _ = polling(("t", "b"))
    source.broker.delete("b")
    polls.read(3, None)
    told = polls.trouble.report()
    assert (told["trouble"], told["topics"]) == ("topic 'b' does not exist", ["b"])
    assert observer.told == ["poll", (True, 3), ("b",)]


def test_a_source_that_reads_none_of_its_topics_is_not_reachable():
    polls, source, observer, _, _ = polling()
    source.broker.delete("t")
    polls.read(3, None)
    assert polls.trouble.report() == {"trouble": "topic 't' does not exist", "trouble_for_ms": 0}
    assert observer.told == ["poll", (False, 3), ()]


def test_what_the_source_does_not_say_itself_is_said_once_a_minute(caplog):
    polls, source, _, pauses, now = polling()
    source.poll = lambda *_: (_ for _ in ()).throw(BrokerUnavailableError("no answer from kafka:9092"))
    said = []
    with caplog.at_level(logging.WARNING):
        for seconds in (0, 59.75, 0.25):
            now.now += seconds
            polls.read(3, None)
            said.append(len(caplog.records))
        assert said == [1, 1, 2]
        assert polls.trouble.what == "no answer from kafka:9092"
        source.trouble = lambda: "Kafka cannot be reached."
        now.now += 100
        polls.read(3, None)
    assert polls.trouble.what == "Kafka cannot be reached."
    assert set(lines(caplog)) == {
        "no answer from kafka:9092; the worker tries again twice a second, and logs this once a minute"
    }
    assert len(caplog.records) == 2
    assert pauses == [0.5] * 4


# -- writing -----------------------------------------------------------------------------------------------------------


class Group:
    """A store, and a writer whose worker has claimed every partition."""

    def __init__(self, **limits):
        self.clock, self.now = FakeClock(), Seconds()
        self.store = MemoryStore(self.clock, **limits)
        self.store.bind("ours", "{}", 1000, "artifact")
        source = MemorySource(MemoryBroker(), "t", "g")
        self.ownership = Ownership(source, self.store, "earliest")
        self.ownership.accepted({})
        self.writer = BatchWriter(self.store, self.ownership, self.now)
        self.bucket = self.clock() // 1000

    def batch(self, counts, *partitions, sums=None):
        progress = []
        for p in partitions or (P0,):
            owned = self.ownership.owned[p]
            progress.append(Progress(p, owned.epoch, owned.next, owned.next + 10, max(counts)))
        return Batch(progress, counts, sums=sums or {})

    def write(self, *args, **more):
        written = self.writer.write(self.batch(*args, **more))
        if written is not None:
            self.ownership.advance(written.progress)
        return written


def test_a_batch_that_the_store_takes_is_written_as_it_is(caplog):
    group = Group()
    counts = {group.bucket: {("a", 0, 6): 4}}
    batch = group.batch(counts, sums={"skipped": 3})
    with caplog.at_level(logging.WARNING):
        assert group.writer.write(batch) is batch
    assert group.store.counts(group.bucket) == counts[group.bucket]
    assert lines(caplog) == []


def test_samples_of_judged_buckets_are_counted_in_the_open_one_and_one_line_says_how_many(caplog):
    group = Group()
    token = group.store.lease("judge", 60_000)
    group.store.close(token, group.bucket - 1)
    early = {group.bucket - 2: {("a", 0, 6): 3}, group.bucket - 1: {("a", 0, 6): 2}, group.bucket: {("a", 0, 6): 1}}
    with caplog.at_level(logging.WARNING):
        written = group.write(early, P1, P0)
    assert written.counts == {group.bucket: {("a", 0, 6): 6}}
    assert group.store.counts(group.bucket) == {("a", 0, 6): 6}
    assert group.store.health().sums["late"] == 5
    assert lines(caplog) == [
        "5 samples were older than what has been judged and count in the bucket that is open now (now in t/0, t/1)"
    ]


def test_samples_ahead_of_the_store_s_clock_are_counted_in_the_present_and_one_line_says_how_many(caplog):
    group = Group()
    last = group.store._last_allowed()
    with caplog.at_level(logging.WARNING):
        written = group.write({last: {("a", 0, 6): 1}, last + 1: {("a", 0, 6): 2}, last + 500: {("a", 0, 6): 4}})
    assert written.counts == {last: {("a", 0, 6): 7}}
    assert group.store.health().sums["ahead"] == 6
    assert lines(caplog) == [
        "6 samples were stamped later than the clock of Redis and count in the bucket of the present (now in t/0)"
    ]


def test_streams_beyond_the_limit_are_counted_together_and_one_line_says_how_many(caplog):
    group = Group(streams=1)
    with caplog.at_level(logging.WARNING):
        written = group.write({group.bucket: {("a", 0, 6): 1, ("b", 0, 6): 2, ("c", 0, 6): 4}})
    assert written.counts == {group.bucket: {("a", 0, 6): 1, (OVERFLOW, 0, 6): 6}}
    assert group.store.health().sums["overflow"] == 6
    assert lines(caplog) == [
        "6 samples are of streams beyond streams.limit and count together as one stream (now in t/0)"
    ]


def test_what_was_moved_is_summed_and_said_once_a_minute(caplog):
    group = Group()
    last = group.store._last_allowed()
    said = []
    with caplog.at_level(logging.WARNING):
        for seconds in (0, 59.75, 0.25, 60):
            group.now.now += seconds
            group.write({last + 1: {("a", 0, 6): 2}})
            said.append(len(caplog.records))
    assert said == [1, 1, 2, 3]
    assert [line.split()[0] for line in lines(caplog)] == ["2", "4", "2"]


def test_after_a_minute_without_anything_moved_nothing_is_said(caplog):
    group = Group()
    with caplog.at_level(logging.WARNING):
        group.write({group.store._last_allowed() + 1: {("a", 0, 6): 2}})
        group.now.now += 60
        group.write({group.bucket: {("a", 0, 6): 2}}, sums={"skipped": 1})
    assert len(caplog.records) == 1


def test_a_batch_that_the_store_refuses_is_given_up_with_all_its_partitions_and_the_line_says_why(caplog):
    group = Group()
    group.store.claim({P1: 0})  # by an owner of whom the group knows nothing
    with caplog.at_level(logging.WARNING):
        assert group.write({group.bucket: {("a", 0, 6): 4}}, P0, P1) is None
    assert group.ownership.owned.keys() == {P2}
    assert group.store.totals() == {}
    assert lines(caplog) == ["t/1: Redis refused a batch (fenced); the partition is claimed again"]


def test_a_batch_for_a_group_with_other_settings_ends_the_process_with_what_to_do():
    group = Group()
    group.store._binding = ("theirs", "{}")
    with pytest.raises(ReboundError) as raised:
        group.write({group.bucket: {("a", 0, 6): 4}})
    assert str(raised.value) == REBOUND


def test_a_batch_whose_answer_was_lost_is_written_once():
    group = Group()
    batch = group.batch({group.bucket: {("a", 0, 6): 4}})
    assert group.writer.write(batch) is batch
    assert group.writer.write(batch) is batch
    assert group.store.totals() == {("a", 0, 6): 4}
    assert group.store.partitions()[P0].next == 10
