"""A topic that is not the one it was: what is counted, what is told, and what is never told."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from monitor.counting.certainty import Certainty
from monitor.counting.gaps import Gap, find_gap, is_stale
from monitor.counting.ownership import Ownership
from monitor.messages.record import Partition
from monitor.sources.protocol import Log
from monitor.store.partitions import Claim
from monitor.store.verdicts import Notice
from monitor.testing import MemoryBroker, MemorySource, MemoryStore, outage
from tests.oracle.recount import recount
from tests.unit.monitor.test_worker import GROUP, LINE, ROWS, TOPIC, Bench

P0 = Partition(TOPIC, 0)


def gaps(store):
    return {a["subject"]: json.loads(a["details"]) for a in store.alerts() if a.get("kind") == "gap"}


def counted(bench):
    return sum(bench.store.totals().values())


def test_a_topic_made_again_is_counted_from_its_first_record_and_told(caplog):
    bench = Bench()
    bench.send(30)
    bench.join()
    bench.drain()
    bench.broker.make_again(TOPIC)
    bench.send(9)
    with caplog.at_level(logging.ERROR):
        bench.drain()
    assert counted(bench) == 39
    assert gaps(bench.store)[f"{TOPIC}/0"] == {"from": "10", "to": "0", "lost": "unknown", "why": "remade"}
    assert len(gaps(bench.store)) == 3
    assert f"partition {TOPIC}/0 stood at offset 10 of the old log" in caplog.text


def test_a_topic_made_again_with_fewer_partitions_leaves_none_behind_that_nobody_can_read():
    bench = Bench()
    bench.send(30)
    bench.join()
    bench.drain()
    bench.broker.partitions = 1
    bench.broker.make_again(TOPIC)
    bench.broker.deal("g")
    bench.broker.send(TOPIC, ROWS[0].tobytes(), key=b"s", timestamp_ms=bench.clock(), partition=0)
    bench.drain()
    assert set(bench.store.partitions()) == {P0}
    bench.broker.create(TOPIC, 3)
    bench.broker.deal("g")
    bench.drain()
    assert len(bench.store.partitions()) == 3


@pytest.mark.parametrize("again", [9, 60])
def test_a_topic_made_again_while_nobody_ran_is_counted_from_its_first_record(again):
    """With 60 records the new log is longer than the old one: nothing but the id tells them apart."""
    bench = Bench()
    bench.send(30)
    bench.join()
    bench.drain()
    bench.kill()
    bench.broker.make_again(TOPIC)
    bench.send(again)
    bench.join()
    bench.drain()
    assert counted(bench) == 30 + again
    assert len(gaps(bench.store)) == 3


class Unseen(MemorySource):
    """Sees the topic as it was when it was last told to look, as a thread does that looks every few seconds."""

    seen = None

    def look(self):
        return self.seen or {}

    def look_now(self):
        self.seen = super().look()


def test_records_read_from_a_topic_made_again_before_anybody_noticed_are_counted_once(monkeypatch):
    bench = Bench()
    bench.send(30)
    monkeypatch.setattr("tests.unit.monitor.test_worker.MemorySource", Unseen)
    bench.join()
    source = bench.workers[0][1]
    source.look_now()
    bench.drain()
    source.look_now()  # what was read by now was of the old topic
    bench.broker.make_again(TOPIC)
    bench.send(90)  # 30 a partition, of which offsets 10 to 29 look like the next ones of the old log
    bench.drain()
    assert counted(bench) == 30 + 60
    source.look_now()
    bench.drain()
    assert counted(bench) == 30 + 90
    bench.kill()  # the offsets that are left out are known to whoever takes over
    bench.join()
    bench.send(6)
    bench.workers[0][1].look_now()
    bench.drain()
    assert counted(bench) == 30 + 96
    assert gaps(bench.store)[f"{TOPIC}/0"]["why"] == "remade"


def test_a_worker_that_dies_before_it_passed_what_was_counted_leaves_it_to_the_next(monkeypatch):
    bench = Bench(max_records=4)
    bench.send(30)
    monkeypatch.setattr("tests.unit.monitor.test_worker.MemorySource", Unseen)
    worker = bench.join()
    source = bench.workers[0][1]
    source.look_now()
    bench.drain()
    source.look_now()
    bench.broker.make_again(TOPIC)
    bench.send(90)
    bench.drain()
    source.look_now()
    for _ in range(4):
        worker.step()
    assert 90 < counted(bench) < 120
    bench.kill()
    bench.join()
    bench.drain()
    assert counted(bench) == 120


def test_a_log_that_was_cut_off_goes_on_from_its_end_and_is_told(caplog):
    bench = Bench()
    bench.send(30)
    bench.join()
    bench.drain()
    bench.kill()
    bench.broker.cut_off(P0, 4)
    bench.join()
    with caplog.at_level(logging.ERROR):
        bench.drain()
    bench.send(3)
    bench.drain()
    assert counted(bench) == 33
    assert gaps(bench.store) == {f"{TOPIC}/0": {"from": "10", "to": "4", "lost": "unknown", "why": "cut-off"}}
    assert f"The log of {TOPIC}/0 was cut off: it ends at offset 4" in caplog.text


def test_a_log_that_is_cut_off_while_the_worker_runs_is_told_by_the_records_that_come_again():
    bench = Bench()
    bench.send(30)
    bench.join()
    bench.drain()
    bench.broker.cut_off(P0, 4)
    bench.drain()
    bench.send(3)
    bench.drain()
    assert counted(bench) == 33
    assert list(gaps(bench.store)) == [f"{TOPIC}/0"]


def test_retention_that_overtakes_a_running_worker_is_told_with_the_number_of_records():
    bench = Bench()
    bench.send(30)
    worker = bench.join()
    worker.step()
    worker.step()
    bench.send(90)
    bench.broker.expire(P0, 25)
    bench.drain()
    (told,) = gaps(bench.store).values()
    lost = int(told["lost"])
    assert told == {"from": str(25 - lost), "to": "25", "lost": str(lost), "why": "expired"}
    assert 0 < lost <= 25
    assert counted(bench) == 120 - lost


def test_everything_expiring_is_told_though_no_record_comes():
    bench = Bench()
    now = [0.0]
    source = MemorySource(bench.broker, TOPIC, GROUP)
    owner = Ownership(source, bench.store, "earliest", clock=lambda: now[0])
    owner.accepted({})
    bench.send(30)
    bench.broker.expire(P0, 10)
    now[0] += 60
    owner.accepted({})
    owner.accepted({})
    assert gaps(bench.store)[f"{TOPIC}/0"]["lost"] == "10"


def test_nothing_is_told_of_a_log_with_holes_as_compaction_and_transactions_leave_them():
    bench = Bench()
    bench.send(60)
    for n in range(3):
        bench.broker.compact(Partition(TOPIC, n), [0, 1, 2, 7, 8, 19])
    bench.join()
    bench.drain()
    bench.send(30)
    bench.broker.compact(P0, [20, 29])
    bench.drain()
    bench.kill()
    bench.join()
    bench.drain()
    assert bench.store.totals() == bench.recounted()
    assert gaps(bench.store) == {}


def test_nothing_is_told_of_rebalances_restarts_redelivery_and_a_store_that_was_away_or_wiped():
    bench = Bench()
    bench.send(40)
    bench.join()
    bench.drain()
    bench.join()
    bench.send(30)
    bench.drain()
    for _, source in bench.workers:
        for p in source.assigned():
            source.seek(p, 0)
    bench.drain()
    bench.kill(0)
    with outage(bench.store):
        bench.workers[0][0].step()
    bench.drain()
    bench.store.wipe()
    bench.send(5)
    bench.drain()
    assert bench.store.totals() == bench.recounted()
    assert gaps(bench.store) == {}


def test_partitions_that_are_added_later_are_read_from_their_first_record():
    bench = Bench(start="latest")
    bench.send(9)
    bench.join()
    bench.drain()
    bench.broker.create(TOPIC, 5)
    for n in (3, 4, 4):
        bench.broker.send(TOPIC, ROWS[0].tobytes(), key=b"a", timestamp_ms=bench.clock(), partition=n)
    bench.broker.deal(GROUP)
    bench.drain()
    assert counted(bench) == 3


def test_a_second_worker_of_a_group_that_starts_latest_begins_at_the_end_too():
    """What the first worker claimed does not make the others' partitions look as if they had been added later."""
    broker, store = MemoryBroker(), MemoryStore()
    broker.create(TOPIC)
    one, two = MemorySource(broker, TOPIC, GROUP), MemorySource(broker, TOPIC, GROUP)
    for n in range(3):
        broker.send(TOPIC, b"v", partition=n)
    Ownership(one, store, "latest").accepted({})
    Ownership(two, store, "latest").accepted({})
    assert {p: s.next for p, s in store.partitions().items()} == {Partition(TOPIC, n): 1 for n in range(3)}


def test_a_partition_without_a_leader_waits_and_the_others_go_on(caplog):
    bench = Bench()
    bench.send(30)
    bench.broker.muted = {P0}
    bench.join()
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            bench.workers[0][0].step()
    assert counted(bench) == 20
    assert f"{TOPIC}/0 cannot be claimed now" in caplog.text
    assert caplog.text.count("cannot be claimed now") == 1


class Slow(MemorySource):
    """A broker that thinks for a while before it does not answer."""

    now = 100.0
    asked = 0

    def logs(self, partitions, read_up_to=None):
        self.asked += 1
        if self.broker.away:
            self.now += 0.2
        return super().logs(partitions, read_up_to)


def test_a_claim_that_cannot_be_answered_is_made_later_and_loses_nothing():
    broker, store = MemoryBroker(), MemoryStore()
    broker.create(TOPIC)
    broker.send(TOPIC, b"v", partition=0)
    source = Slow(broker, TOPIC, GROUP)
    owner = Ownership(source, store, "earliest", clock=lambda: source.now)
    with outage(broker):
        assert owner.accepted({}) == {}
        source.now += 1.9
        assert owner.accepted({}) == {}
        assert source.asked == 1  # those that can be read have nine tenths of the time
        source.now += 0.2
        assert owner.accepted({}) == {}
        assert source.asked == 2
    source.now += 2.1
    owner.accepted(source.poll(0, 10))
    assert [r.value for r in owner.accepted(source.poll(0, 10))[P0]] == [b"v"]


def claim(following=10, ids=("a",), skip=(0, 0)):
    return Claim(1, following, -1, fresh=False, topic_ids=ids, skip=skip)


@pytest.mark.parametrize(
    ("claimed", "log", "below", "why", "to", "lost"),
    [
        (claim(), Log("a", 0, 10), False, None, 0, ""),
        (claim(), Log("b", 0, 99), False, "remade", 0, "unknown"),
        (claim(), Log("b", 5, 99), False, "remade", 5, "unknown, at least 5"),
        (claim(), Log("a", 0, 9), False, "cut-off", 9, "unknown"),
        (claim(ids=()), Log("a", 2, 9), False, "remade", 2, "unknown, at least 2"),
        (claim(), Log("a", 14, 99), False, "expired", 14, "4"),
        (claim(skip=(8, 13)), Log("a", 14, 99), False, "expired", 14, "1"),
        (claim(skip=(8, 13)), Log("a", 12, 99), False, None, 0, ""),
        (claim(following=4, skip=(8, 10)), Log("a", 14, 99), False, "expired", 14, "8"),
        (claim(), Log("a", 0, -1), False, None, 0, ""),  # a broker whose ends are wrong
        (claim(ids=()), Log("", 0, 9), False, None, 0, ""),  # a broker without ids: its word is not enough,
        (claim(ids=()), Log("", 0, 9), True, "remade", 0, "unknown"),  # records that begin anew are
    ],
)
def test_what_a_stored_offset_means_to_a_log(claimed, log, below, why, to, lost):
    gap = find_gap(P0, claimed, log, came_from_below=below)
    assert (gap and gap.why) == why
    if gap is not None:
        assert (gap.next, gap.lost) == (to, lost)
        assert str(P0) in gap.sentence()


def test_a_broker_that_still_speaks_of_the_topic_before_is_not_believed():
    assert is_stale(claim(ids=("new", "old")), Log("old", 0, 5))
    assert not is_stale(claim(ids=("new", "old")), Log("third", 0, 5))


def test_what_was_polled_before_the_question_is_certain_and_what_came_after_is_not():
    kept = Certainty()
    kept.begin(P0, "a", 5)
    kept.note(P0, 10.0, 20)
    kept.note(P0, 10.05, 25)
    kept.note(P0, 12.0, 40)
    kept.counted(P0, 40)
    kept.confirm(TOPIC, "a", 10.02)
    assert kept.of(P0) == 5  # the mark of 10.05 is part of the first one
    kept.confirm(TOPIC, "a", 11.0)
    assert kept.of(P0) == 25
    kept.confirm(TOPIC, "b", 99.0)
    assert kept.doubtful(P0, "a", 40) == (25, 40)
    assert kept.doubtful(P0, "a", 41) == (0, 0)  # somebody else counted on meanwhile
    assert kept.doubtful(P0, "other", 40) == (0, 0)


def test_polls_closer_together_than_a_tenth_of_a_second_share_a_mark_and_a_mark_is_certain_once_it_is_past():
    kept = Certainty()
    kept.begin(P0, "a", 5)
    kept.note(P0, 0.0, 20)
    kept.note(P0, 0.09, 25)
    kept.note(P0, 0.1, 30)
    kept.note(P0, 0.25, 35)
    reached = []
    for asked_at in (0.09, 0.095, 0.1, 0.125, 0.25, 0.5):
        kept.confirm(TOPIC, "a", asked_at)
        reached.append(kept.of(P0))
    assert reached == [5, 25, 25, 30, 30, 35]


def test_a_mark_ends_however_close_together_the_polls_are():
    kept = Certainty()
    kept.begin(P0, "a", 0)
    for n, polled_at in enumerate((10.0, 10.05, 10.09, 10.12, 10.15), start=1):
        kept.note(P0, polled_at, n)
    kept.confirm(TOPIC, "a", 10.1)
    assert kept.of(P0) == 3


def test_a_topic_that_was_seen_makes_each_of_its_partitions_certain_whatever_was_claimed_before_them():
    kept = Certainty()
    P1 = Partition(TOPIC, 1)
    for p, topic_id in ((Partition("other", 0), "a"), (P0, "old"), (P1, "a")):
        kept.begin(p, topic_id, 0)
        kept.note(p, 1.0, 9)
    kept.confirm(TOPIC, "a", 2.0)
    assert [kept.of(p) for p in (Partition("other", 0), P0, P1)] == [0, 0, 9]


def test_what_was_counted_of_a_partition_that_was_never_claimed_here_is_not_doubtful():
    kept = Certainty()
    kept.counted(P0, 40)
    assert kept.doubtful(P0, "a", 40) == (0, 0)
    kept.begin(P0, "a", 50)
    kept.counted(P0, 40)  # the store came back older than what is certain
    assert kept.doubtful(P0, "a", 40) == (40, 40)


# -- what is told of a gap ---------------------------------------------------------------------------------------------


EXPIRED = (
    "4 records of requests/0 are lost: offsets 10 to 13 expired before they were counted (retention); counting goes on "
    "from offset 14, the earliest that is retained. A surge in them went unnoticed. Start more workers, or raise "
    "retention.ms of the topic."
)
REMADE = (
    "Topic 'requests' was deleted and made again, or restored: partition requests/0 stood at offset 10 of the old log, "
    "and counting goes on from offset 0 of the new one, its earliest record. Records lost with the old topic: unknown. "
    "If nobody meant to do this, find out who did."
)
CUT_OFF = (
    "The log of requests/0 was cut off: it ends at offset 4, although offsets up to 10 were counted. Counting goes on "
    "from offset 4; records lost: unknown. Look for a broker that lost its disk, or an unclean leader election "
    "(unclean.leader.election.enable)."
)


@pytest.mark.parametrize(
    ("gap", "severity", "sentence", "lost"),
    [
        (Gap(P0, "expired", 10, 14, 4, known=True), "critical", EXPIRED, "4"),
        (Gap(P0, "remade", 10, 0, 0, known=False), "warning", REMADE, "unknown"),
        (Gap(P0, "cut-off", 10, 4, 0, known=False), "critical", CUT_OFF, "unknown"),
    ],
    ids=["expired", "remade", "cut-off"],
)
def test_a_gap_is_told_with_where_counting_goes_on_what_is_lost_and_what_to_do(gap, severity, sentence, lost):
    assert gap.sentence() == sentence
    details = {"lost": lost, "from": "10", "to": str(gap.next), "why": gap.why}
    assert gap.notice() == Notice("gap", "requests/0", True, severity, sentence, details)


def test_a_topic_made_again_of_which_records_are_certainly_lost_or_doubtful_says_how_many():
    notice = Gap(P0, "remade", 10, 5, 5, known=False, doubtful=7).notice()
    assert (notice.severity, notice.details["lost"]) == ("critical", "unknown, at least 5")
    assert notice.summary.endswith(
        " Records lost with the old topic: unknown, at least 5. Up to 7 records around the change may be missing from "
        "the counts. If nobody meant to do this, find out who did."
    )


@pytest.mark.parametrize(
    ("claimed", "log", "expected"),
    [
        (claim(), Log("b", 5, 99), Gap(P0, "remade", 10, 5, 5, known=False)),
        (claim(), Log("a", 3, 9), Gap(P0, "cut-off", 10, 9, 0, known=False)),
        (claim(), Log("a", 10, 99), None),
        (claim(), Log("a", 11, 99), Gap(P0, "expired", 10, 11, 1, known=True)),
        (claim(following=1), Log("a", 0, 0), Gap(P0, "cut-off", 1, 0, 0, known=False)),  # an end of 0 is an end
        (claim(ids=()), Log("a", 2, 9), Gap(P0, "remade", 10, 2, 2, known=False)),
        (claim(skip=(10, 13)), Log("a", 14, 99), Gap(P0, "expired", 13, 14, 1, known=True)),  # at the first of them
        (claim(following=13, skip=(10, 13)), Log("a", 14, 99), Gap(P0, "expired", 13, 14, 1, known=True)),  # past them
        (claim(following=4, skip=(8, 10)), Log("a", 9, 99), Gap(P0, "expired", 4, 9, 4, known=True)),  # amid them
        (claim(following=4, skip=(8, 10)), Log("a", 6, 99), Gap(P0, "expired", 4, 6, 2, known=True)),  # before them
    ],
)
def test_a_gap_begins_at_the_offset_that_was_due_and_leaves_out_what_is_counted_already(claimed, log, expected):
    assert find_gap(P0, claimed, log, came_from_below=False) == expected


def test_a_log_without_an_id_is_never_taken_for_a_stale_one():
    assert not is_stale(claim(ids=("new", "")), Log("", 0, 5))
    assert not is_stale(claim(ids=("new", "old")), Log("new", 0, 5))
    assert is_stale(claim(ids=("new", "older", "old")), Log("old", 0, 5))


# -- several topics ------------------------------------------------------------------------------------------------

CARS, BIRDS = Partition("cars", 0), Partition("birds", 0)


class Two(Bench):
    """Two topics with the same numbers of partitions, sent to in turn."""

    topics = ("cars", "birds")

    def send(self, n, topics=("cars", "birds")):
        for _ in range(n):
            for k, topic in enumerate(topics):
                row, stamp = ROWS[(self.sent + k) % len(ROWS)], self.clock() + self.sent * 100
                self.broker.send(topic, row.tobytes(), key=topic.encode(), timestamp_ms=stamp, partition=self.sent % 3)
            self.sent += 1

    def recounted(self):
        return recount(LINE, [(r.key, r.value) for t in ("cars", "birds") for r in self.broker.records(t)])


def test_equal_partitions_of_two_topics_are_counted_apart_and_once_over_a_kill():
    bench = Two()
    bench.send(50)
    worker = bench.join()
    worker.step()
    bench.store.lose_replies = 1
    worker.step()
    bench.kill()
    bench.join()
    bench.join()
    bench.send(50)
    bench.drain()
    assert bench.store.totals() == bench.recounted()
    assert {p: s.next for p, s in bench.store.partitions().items() if p.number == 0} == {BIRDS: 34, CARS: 34}


def test_each_partition_is_claimed_with_the_id_of_its_own_topic_and_as_many_partitions_as_that_has():
    bench = Two()
    bench.broker.create("cars", 3)
    bench.broker.create("birds", 5)
    bench.send(9)
    bench.join()
    bench.drain()
    assert bench.store.partitions_at_start("cars") == 3
    assert bench.store.partitions_at_start("birds") == 5
    bench.kill()
    bench.join()
    bench.drain()
    assert gaps(bench.store) == {}
    ids = bench.broker.topic_ids
    assert {p.topic: claim.topic_ids for p, claim in bench.store.claim({CARS: 0, BIRDS: 0}).items()} == {
        "cars": (ids["cars"],), "birds": (ids["birds"],),
    }  # fmt: skip


def test_one_topic_made_again_is_a_gap_of_it_alone_and_the_other_goes_on():
    bench = Two()
    bench.send(30)
    bench.join()
    bench.drain()
    bench.broker.make_again("birds")
    bench.send(9)
    bench.drain()
    assert set(gaps(bench.store)) == {f"birds/{n}" for n in range(3)}
    assert counted(bench) == 2 * 39


def test_one_topic_deleted_is_reported_by_name_while_the_other_is_counted():
    bench = Two()
    bench.send(30)
    worker = bench.join()
    bench.drain()
    bench.broker.delete("birds")
    bench.send(60, topics=("cars",))
    for _ in range(60):
        worker.step()
    assert counted(bench) == 60 + 60
    worker._heartbeat._due = 0.0
    worker.step()
    ((_, entry),) = bench.store.health().workers.values()
    report = json.loads(entry)
    assert (report["trouble"], report["topics"]) == ("topic 'birds' does not exist", ["birds"])


@pytest.mark.parametrize(("start", "expected"), [("latest", 9), ("earliest", 9 + 15)])
def test_a_topic_that_is_added_keeps_what_was_counted_and_begins_where_start_says(start, expected):
    bench = Two(start="earliest")
    bench.topics = ("cars",)
    bench.send(30)
    bench.join()
    bench.drain()
    before = bench.store.totals()
    assert sum(before.values()) == 30
    bench.kill()
    bench.topics, bench.settings = ("cars", "birds"), replace(bench.settings, start=start)
    bench.broker.delete("birds")
    bench.send(15, topics=("birds",))
    worker = bench.join()
    worker.step()
    bench.send(9, topics=("birds",))
    bench.drain()
    after = bench.store.totals()
    assert {k: n for k, n in after.items() if k[0] == "cars"} == before
    assert sum(n for k, n in after.items() if k[0] == "birds") == expected


def test_a_topic_that_is_left_out_and_comes_back_goes_on_from_where_it_was():
    bench = Two()
    bench.send(30)
    bench.join()
    bench.drain()
    bench.kill()
    bench.topics = ("cars",)
    bench.join()
    bench.send(9)
    bench.drain()
    assert counted(bench) == 60 + 9
    bench.kill()
    bench.topics = ("cars", "birds")
    bench.join()
    bench.drain()
    assert bench.store.totals() == bench.recounted()


def test_workers_that_read_different_topics_of_one_group_count_everything_once():
    bench = Two()
    bench.topics = ("cars",)
    bench.join()
    bench.topics = ("cars", "birds")
    bench.join()
    bench.send(60)
    bench.drain()
    assert bench.store.totals() == bench.recounted()


def test_a_log_is_certain_by_the_sight_of_its_own_topic_even_without_ids():
    kept = Certainty()
    kept.begin(CARS, "", 0)
    kept.note(CARS, 1.0, 5)
    kept.confirm("birds", "", 2.0)
    assert kept.of(CARS) == 0
    kept.confirm("cars", "", 2.0)
    assert kept.of(CARS) == 5
