"""The monitor watching itself: what it finds, when it tells, and that it tells once."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from monitor.errors import StoreUnavailableError
from monitor.judging.watch import Watch, WatchSettings, find_trouble
from monitor.messages.record import Partition
from monitor.service.watcher import Watcher
from monitor.store.counts import Batch
from monitor.store.partitions import PartitionState, Progress, Seen
from monitor.store.verdicts import Health, Notice
from monitor.testing import FakeClock, MemoryStore, outage

P0, P1 = Partition("t", 0), Partition("t", 1)
NOW = 1_700_000_000_000
SETTINGS = WatchSettings(topics=frozenset({"t"}), canary_ms=60_000)
WELL = PartitionState(1, 10, 5, NOW - 1000, NOW - 1000)
HEALTH = Health(NOW, times={"pending_since": NOW - 1000, "folded_at": NOW - 1000})


def subjects(health=HEALTH, partitions=None, settings=SETTINGS):
    return [n.subject for n in find_trouble(health, {P0: WELL} if partitions is None else partitions, settings)]


def ago(seconds: float) -> int:
    return NOW - round(1000 * seconds)


def test_a_group_that_is_well_gives_nothing_to_tell():
    assert subjects() == []
    assert subjects(Health(NOW), {}) == []


@pytest.mark.parametrize(("pending", "waited", "found"), [(1, 121, ["judging"]), (1, 119, []), (0, 9999, [])])
def test_records_that_nobody_judges_are_told_after_the_stated_time(pending, waited, found):
    assert subjects(replace(HEALTH, pending=pending, times={"pending_since": ago(waited)})) == found


def test_a_partition_that_no_worker_reports_is_told_by_name():
    lost = replace(WELL, at_ms=ago(200), seen_ms=ago(121))
    notice = find_trouble(HEALTH, {P0: WELL, P1: lost}, SETTINGS)[0]
    assert (notice.subject, notice.severity) == ("partitions", "critical")
    assert "t/1" in notice.summary
    assert "t/0" not in notice.summary
    assert subjects(partitions={Partition("another", 0): lost}) == []


def test_a_partition_that_is_read_but_brings_nothing_is_well():
    assert subjects(partitions={P0: replace(WELL, at_ms=ago(90_000), seen_ms=ago(1))}) == []


def test_a_backlog_is_told_only_if_it_lasts():
    assert subjects(partitions={P0: replace(WELL, behind_ms=ago(299), lag=9)}) == []
    assert subjects(partitions={P0: replace(WELL, behind_ms=ago(301), lag=9)}) == ["lag"]


def test_a_partition_that_brings_only_the_past_is_told_while_it_goes_on():
    assert subjects(partitions={P0: replace(WELL, late_ms=ago(200), at_ms=ago(1))}) == ["late"]
    assert subjects(partitions={P0: replace(WELL, late_ms=ago(5), at_ms=ago(1))}) == []
    assert subjects(partitions={P0: replace(WELL, late_ms=ago(9000), at_ms=ago(200), seen_ms=ago(1))}) == []


@pytest.mark.parametrize(("lasts", "found"), [(121_000, ["kafka"]), (60_000, [])])
def test_a_worker_that_gets_nothing_from_kafka_is_told(lasts, found):
    entry = json.dumps({"trouble": "Kafka cannot be reached at kafka:9092", "trouble_for_ms": lasts})
    assert subjects(replace(HEALTH, workers={"w": (ago(1), entry)})) == found
    assert subjects(replace(HEALTH, workers={"w": (ago(500), entry)})) == []  # it is gone itself


@pytest.mark.parametrize(
    ("times", "found"),
    [
        ({}, []),
        ({"canary_first": ago(179)}, []),
        ({"canary_first": ago(181)}, ["canary"]),
        ({"canary_first": ago(9999), "canary_seen": ago(100)}, []),
        ({"canary_first": ago(9999), "canary_seen": ago(181)}, ["canary"]),
    ],
)
def test_a_canary_that_is_not_noticed_in_time_is_told(times, found):
    assert subjects(replace(HEALTH, times={**HEALTH.times, **times})) == found
    assert subjects(replace(HEALTH, times={**HEALTH.times, **times}), settings=replace(SETTINGS, canary_ms=0)) == []


def test_streams_beyond_the_limit_are_told_while_they_come():
    assert subjects(replace(HEALTH, times={**HEALTH.times, "overflow_at": ago(60)})) == ["group"]
    assert subjects(replace(HEALTH, times={**HEALTH.times, "overflow_at": ago(3601)})) == []


# -- telling -----------------------------------------------------------------------------------------------------------


class Group:
    """A store in which one bucket waits to be judged."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.store = MemoryStore(self.clock)
        self.epoch = self.store.claim({P0: 0})[P0].epoch
        self.store.commit(Batch([Progress(P0, self.epoch, 0, 1, 5)], {5: {("a", 0, 6): 1}}))

    def watch(self) -> Watch:
        return Watch(self.store, SETTINGS)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.store.report("w", "{}", {P0: Seen(self.epoch, 0, behind=False)})

    def changes(self) -> list[tuple[str, str]]:
        return [(h["subject"], h["change"]) for h in reversed(self.store.history())]


def test_any_number_of_processes_tell_once_and_tell_when_it_is_over():
    group = Group()
    watches = [group.watch() for _ in range(3)]
    for _ in range(200):
        group.pass_time(1)
        for watch in watches:
            watch.step()
    assert group.changes() == [("judging", "raised")]
    group.store._unfolded.clear()
    for watch in watches:
        watch.step()
    assert group.changes() == [("judging", "raised"), ("judging", "resolved")]


def test_a_process_that_has_just_started_raises_nothing_and_resolves_nothing_that_lasts():
    group = Group()
    group.pass_time(3600)  # nobody ran
    watch = group.watch()
    watch.step()
    assert group.changes() == []
    group.pass_time(59)
    watch.step()
    assert group.changes() == []
    group.pass_time(1)
    watch.step()
    assert group.changes() == [("judging", "raised")]
    group.watch().step()  # a deployment: the new process does not take the alert for over
    assert group.changes() == [("judging", "raised")]


def test_an_alert_on_lost_records_is_over_after_the_stated_time():
    group = Group()
    group.store._unfolded.clear()
    group.store.notice(Notice("gap", "t/0", True, "critical", "7 records are gone."))
    watch = group.watch()
    group.pass_time(3599)
    watch.step()
    assert group.changes() == [("t/0", "raised")]
    group.pass_time(2)
    watch.step()
    assert group.changes() == [("t/0", "raised"), ("t/0", "resolved")]


def test_redis_out_of_reach_is_told_without_redis_once_and_told_again_when_it_answers():
    group, told = Group(), []
    watcher = Watcher(group.watch(), lambda fields: told.append(dict(fields)), "g", redis_seconds=30)
    watcher.look(0.0)
    with outage(group.store):
        for second in range(5, 90):
            watcher.look(float(second))
        assert [(t["subject"], t["status"]) for t in told] == [("redis", "firing")]
        assert "Bring Redis back" in told[0]["summary"]
    watcher.look(91.0)
    watcher.look(92.0)
    assert [t["status"] for t in told] == ["firing", "resolved"]
    assert told[0]["fingerprint"] == told[1]["fingerprint"]


def test_a_short_absence_of_redis_is_not_told():
    group, told = Group(), []
    watcher = Watcher(group.watch(), told.append, "g", redis_seconds=30)
    for second in range(0, 300, 20):
        with outage(group.store):
            watcher.look(float(second))
        watcher.look(second + 10.0)
    assert told == []


def test_the_double_is_away_while_it_is_said_to_be():
    group = Group()
    with outage(group.store), pytest.raises(StoreUnavailableError):
        group.watch().step()


def test_a_worker_that_cannot_read_one_topic_names_it_and_says_that_the_others_are_counted():
    entry = json.dumps({"trouble": "Topic 'b' does not exist", "trouble_for_ms": 200_000, "topics": ["b"]})
    (notice,) = find_trouble(Health(NOW, workers={"w": (NOW, entry)}), {}, SETTINGS)
    assert notice.summary.startswith(
        "Worker w gets nothing from topic b, a surge there would not be noticed; the other"
    )
    assert (notice.subject, notice.details["topics"]) == ("kafka", '["b"]')


def test_only_topics_that_are_read_can_be_stalled_and_alerts_of_one_that_is_left_out_are_over():
    clock = FakeClock()
    store = MemoryStore(clock)
    store.claim({Partition("t", 0): 0, Partition("gone", 0): 0})
    for kind in ("bad-records", "gap"):
        for topic in ("t", "gone"):
            store.notice(Notice(kind, f"{topic}/0", True, "warning", "so it is"))
    watch = Watch(store, SETTINGS)
    watch.step()
    assert firing(store) == {"t/0", "gone/0"}  # a worker with the settings of before may still be there
    clock.advance(SETTINGS.stalled_ms / 1000 + 1)
    store.report("w", "{}", {Partition("t", 0): Seen(1, 0, False)})
    watch.step()
    assert firing(store) == {"t/0"}


def firing(store):
    return {a["subject"] for a in store.alerts() if a["status"] == "firing"}
