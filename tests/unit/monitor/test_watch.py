"""The monitor watching itself: what it finds, when it tells, and that it tells once."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from monitor.errors import StoreError, StoreUnavailableError
from monitor.judging.watch import Watch, WatchSettings, find_trouble
from monitor.messages.record import Partition
from monitor.service.watcher import Watcher
from monitor.store.counts import Batch
from monitor.store.partitions import PartitionState, Progress, Seen
from monitor.store.verdicts import AlertWrite, Fold, Health, Notice
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
        ({"canary_first": ago(9999), "canary_seen": ago(-3600)}, ["canary"]),  # the store's clock was set back since
        ({"canary_first": ago(-3600), "canary_seen": ago(100)}, []),
    ],
)
def test_a_canary_that_is_not_noticed_in_time_is_told(times, found):
    assert subjects(replace(HEALTH, times={**HEALTH.times, **times})) == found
    assert subjects(replace(HEALTH, times={**HEALTH.times, **times}), settings=replace(SETTINGS, canary_ms=0)) == []


def test_streams_beyond_the_limit_are_told_while_they_come():
    assert subjects(replace(HEALTH, times={**HEALTH.times, "overflow_at": ago(60)})) == ["group"]
    assert subjects(replace(HEALTH, times={**HEALTH.times, "overflow_at": ago(3601)})) == []


# -- the very bounds, and the whole of what is said --------------------------------------------------------------------


def findings(**more) -> list[Notice]:
    given = {"health": HEALTH, "partitions": {P0: WELL}, "settings": SETTINGS} | more
    return find_trouble(given["health"], given["partitions"], given["settings"])


def many(n: int, state: PartitionState) -> dict[Partition, PartitionState]:
    return {Partition("t", k): state for k in range(n)}


def stalled(subject: str, summary: str, severity: str = "critical", **details: str) -> Notice:
    return Notice("stalled", subject, True, severity, summary, details)


def test_nothing_judged_for_longer_than_the_bound_says_for_how_long_and_how_much_waits():
    waiting = replace(HEALTH, pending=7, times={"pending_since": ago(120)})
    assert findings(health=waiting) == []
    assert findings(health=replace(waiting, now_ms=NOW + 1)) == [
        stalled(
            "judging",
            "Records arrive, but nothing has been judged for 120 seconds: a surge would not be noticed. Look at the "
            "logs of the workers, at Redis and at the partitions that hold buckets open.",
            buckets="7",
        )
    ]


def test_partitions_that_nobody_reads_for_longer_than_the_bound_are_named_and_listed():
    lost = replace(WELL, at_ms=ago(120), seen_ms=ago(120))
    assert findings(partitions={P0: lost}) == []
    lost = replace(lost, at_ms=ago(120) - 1, seen_ms=ago(120) - 1)
    assert findings(partitions={P1: lost, P0: lost}) == [
        stalled(
            "partitions",
            "No worker reads partitions t/0, t/1, for more than 120 seconds: a surge there would not be noticed. Start "
            "workers, or look at why they do not get their partitions.",
            partitions='["t/1", "t/0"]',
        )
    ]
    (notice,) = findings(partitions=many(51, lost))
    assert json.loads(notice.details["partitions"]) == [f"t/{k}" for k in range(50)]


def test_partitions_that_are_behind_for_longer_than_the_bound_are_named_with_all_that_is_left_to_read():
    slow = replace(WELL, behind_ms=ago(300), lag=9)
    assert findings(partitions={P0: slow}) == []
    slow = replace(slow, behind_ms=ago(300) - 1)
    assert findings(partitions={P0: slow, P1: replace(slow, lag=4), Partition("t", 2): replace(WELL, lag=90)}) == [
        stalled(
            "lag",
            "The workers have been behind on partitions t/0, t/1 for more than 5 minutes, by 13 records now: a surge "
            "is noticed late. Start more workers, or find what slows them down.",
            "warning",
            records="13",
        )
    ]


def test_partitions_that_bring_only_the_past_for_longer_than_the_bound_are_named_and_listed():
    old = replace(WELL, late_ms=ago(121), at_ms=ago(1))
    assert findings(partitions={P0: old}) == []
    old = replace(old, late_ms=ago(121) - 1)
    assert findings(partitions={P0: old}) == [
        stalled(
            "late",
            "Records that are older than what has been judged come from partition t/0. They are counted and judged "
            "with current records. Look at the clocks of the senders and of Redis, or at why they are read late.",
            "warning",
            partitions='["t/0"]',
        )
    ]
    (notice,) = findings(partitions=many(51, old))
    assert json.loads(notice.details["partitions"]) == [f"t/{k}" for k in range(50)]


def test_a_partition_that_has_brought_nothing_for_as_long_as_the_bound_is_late_no_more():
    at = replace(WELL, late_ms=ago(9000), at_ms=ago(120) + 1)
    assert subjects(partitions={P0: at}) == ["late"]
    assert subjects(partitions={P0: replace(at, at_ms=ago(120))}) == []


def report(**entry) -> str:
    return json.dumps({"partitions": 0, "trouble": "Kafka cannot be reached at kafka:9092.", **entry})


def test_a_worker_without_kafka_for_longer_than_the_bound_is_named_with_what_it_says():
    workers = {"w": (ago(1), report(trouble_for_ms=120_000))}
    assert findings(health=replace(HEALTH, workers=workers)) == []
    workers = {
        "well": (ago(1), report(trouble="", trouble_for_ms=0)),
        "w": (ago(1), report(trouble_for_ms=120_001)),
        "x": (ago(1), report(trouble_for_ms=120_001)),
    }
    assert findings(health=replace(HEALTH, workers=workers)) == [
        stalled("kafka", "Worker w gets nothing from Kafka: Kafka cannot be reached at kafka:9092.", worker="w")
    ]


def test_a_worker_that_has_not_reported_for_as_long_as_the_bound_says_nothing_of_kafka():
    entry = report(trouble_for_ms=120_001)
    assert subjects(replace(HEALTH, workers={"w": (ago(120) + 1, entry)})) == ["kafka"]
    assert subjects(replace(HEALTH, workers={"w": (ago(120), entry)})) == []


def test_a_worker_that_cannot_read_some_topics_lists_them():
    topics = [f"t{k}" for k in range(51)]
    workers = {"w": (NOW, report(trouble="Topics do not exist.", trouble_for_ms=120_001, topics=topics[:2]))}
    assert findings(health=replace(HEALTH, workers=workers)) == [
        stalled(
            "kafka",
            "Worker w gets nothing from topics t0, t1, a surge there would not be noticed; the other topics are "
            "counted. Topics do not exist.",
            worker="w",
            topics='["t0", "t1"]',
        )
    ]
    workers = {"w": (NOW, report(trouble_for_ms=120_001, topics=topics))}
    (notice,) = findings(health=replace(HEALTH, workers=workers))
    assert json.loads(notice.details["topics"]) == topics[:50]


def test_a_canary_unnoticed_for_longer_than_its_interval_and_its_time_out_is_told():
    late = replace(HEALTH, times={"canary_first": ago(9999), "canary_seen": ago(180)})
    assert findings(health=late) == []
    assert findings(health=replace(late, now_ms=NOW + 1)) == [
        stalled(
            "canary",
            "The monitor has not noticed the surge that it sends itself for 3 minutes: it would not notice a real one "
            "either. Look at Kafka, at the workers and at Redis, in that order.",
        )
    ]


def test_streams_beyond_the_limit_are_told_with_the_limit_and_how_much_they_sent_up_to_the_bound():
    beyond = replace(HEALTH, times={"overflow_at": ago(3600)}, sums={"late": 5, "overflow": 12})
    expected = Notice(
        "streams", "group", True, "warning",
        "More than 2000 streams send embeddings (streams.limit): those that came later count together as one. Look at "
        "whether the record key is a request id, retire streams that are gone, or raise the limit.",
        {"samples": "12"},
    )  # fmt: skip
    assert findings(health=beyond) == [expected]
    assert findings(health=replace(beyond, sums={})) == [replace(expected, details={"samples": "0"})]
    assert findings(health=replace(beyond, now_ms=NOW + 1)) == []


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (120_400, "120 seconds"),
        (179_490, "179 seconds"),
        (179_510, "3 minutes"),
        (239_400, "3 minutes"),
        (3_600_000, "60 minutes"),
    ],
)
def test_how_long_nothing_was_judged_is_said_in_seconds_and_from_three_minutes_on_in_whole_minutes(ms, words):
    (notice,) = findings(health=replace(HEALTH, pending=1, times={"pending_since": NOW - ms}))
    assert f"nothing has been judged for {words}: a surge" in notice.summary


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (1, "partition t/0,"),
        (2, "partitions t/0, t/1,"),
        (5, "partitions t/0, t/1, t/2, t/3, t/4,"),
        (6, "partitions t/0, t/1, t/2, t/3, t/4 and 1 more,"),
        (8, "partitions t/0, t/1, t/2, t/3, t/4 and 3 more,"),
    ],
)
def test_up_to_five_partitions_are_named_and_the_others_counted(n, words):
    (notice,) = findings(partitions=many(n, replace(WELL, at_ms=0, seen_ms=0)))
    assert notice.summary.startswith(f"No worker reads {words} for more than")


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


def test_a_store_that_comes_back_has_nobody_told_of_workers_that_could_not_report_to_it():
    group = Group()
    group.store._unfolded.clear()
    watch = group.watch()
    for _ in range(3):
        watch.step()
        group.pass_time(60)  # as long as it may go without looking
    watch.step()
    with outage(group.store), pytest.raises(StoreUnavailableError):
        watch.step()
    group.clock.advance(400)
    watch.step()  # before any worker has reported
    group.pass_time(1)
    watch.step()
    assert group.changes() == []
    for _ in range(3):
        group.clock.advance(59)
        watch.step()
    assert group.changes() == [("partitions", "raised")]


def test_workers_that_end_are_missed_though_the_clock_of_the_store_was_set_back():
    group = Group()
    group.store._unfolded.clear()
    watch = group.watch()
    for _ in range(100):
        group.pass_time(1)
        watch.step()
    group.clock.advance(-3600)
    watch.step()
    assert group.changes() == []  # who is there has not reported by the new clock yet
    for _ in range(59):
        group.clock.advance(1)
        watch.step()
    assert group.changes() == []
    group.clock.advance(1)
    watch.step()
    assert group.changes() == [("partitions", "raised")]


def test_nobody_is_missed_who_reports_by_a_clock_that_was_set_back():
    group = Group()
    group.store._unfolded.clear()
    watch = group.watch()
    for set_back in (0, 3600, 0):
        group.clock.advance(-set_back)
        for _ in range(200):
            group.pass_time(1)
            watch.step()
    assert group.changes() == []


def test_any_number_of_processes_tell_once_and_tell_when_it_is_over():
    group = Group()
    watches = [group.watch() for _ in range(3)]
    for _ in range(200):
        group.pass_time(1)
        for watch in watches:
            watch.step()
    assert group.changes() == [("judging", "raised")]
    group.store._unfolded.clear()
    for seconds, over in ((9.999, []), (0.001, [("judging", "resolved")])):
        group.pass_time(seconds)
        for watch in watches:
            watch.step()
        assert group.changes() == [("judging", "raised"), *over]


def test_an_alert_lasts_while_one_process_finds_its_cause_though_another_has_other_settings():
    """As while a setting is rolled out: two processes that disagree would raise and resolve it at every look."""
    group = Group()
    group.store._unfolded.clear()
    strict, lenient = group.watch(), Watch(group.store, replace(SETTINGS, lag_ms=10**9))
    for _ in range(400):
        group.clock.advance(2)
        group.store.report("w", "{}", {P0: Seen(group.epoch, 9000, behind=True)})
        strict.step()
        lenient.step()
    assert group.changes() == [("lag", "raised")]
    group.clock.advance(2)
    lenient.step()
    group.pass_time(10)
    lenient.step()
    assert group.changes() == [("lag", "raised"), ("lag", "resolved")]


def test_what_was_wrong_with_a_partition_is_over_once_there_is_no_such_partition():
    group = Group()
    group.store.notice(Notice("bad-records", "t/7", True, "warning", "so it is"))
    assert group.watch().step() == [Notice("bad-records", "t/7", firing=False)]


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


def test_a_redis_that_refuses_what_the_watch_reads_is_told_without_redis(monkeypatch, caplog):
    group, told = Group(), []
    watcher = Watcher(group.watch(), lambda fields: told.append(dict(fields)), "g", redis_seconds=30)

    def refuse():
        raise StoreError("A key of this group holds something that the monitor did not write.")

    with monkeypatch.context() as patched:
        patched.setattr(group.store, "health", refuse)
        for second in range(0, 90, 2):
            watcher.look(float(second))
    watcher.look(91.0)
    assert [(t["subject"], t["status"], t["severity"]) for t in told] == [
        ("redis", "firing", "critical"), ("redis", "resolved", "critical"),
    ]  # fmt: skip
    assert told[0]["summary"].startswith(
        "Redis has refused for 30 seconds what the monitor needs to watch itself (A key"
    )
    assert caplog.text.count("the monitor cannot watch itself: A key of this group") == 1


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


def test_what_is_over_is_found_among_alerts_of_other_kinds_and_told_beside_what_is_new():
    """An alert on inputs has no subject; it is neither taken for one of the watch's own nor does it hide one."""
    group = Group()
    group.store._unfolded.clear()
    store, watch = group.store, group.watch()
    watch.step()
    group.pass_time(60)
    for subject in ("lag", "redis-risk"):
        store.notice(Notice("stalled", subject, True, "warning", "So it is."))
    watch.step()
    group.pass_time(10)
    token = store.lease("judge", 60_000)
    surge = {"fingerprint": "f", "kind": "ood", "status": "firing", "change": "raised", "event": "e", "episode": "e"}
    store.apply(Fold(token, None, -1, {}, [AlertWrite("f", surge, 1000, NOW)]))
    store.mark("overflow_at")
    changes = watch.step()
    assert {(n.kind, n.subject, n.firing) for n in changes} == {
        ("stalled", "lag", False), ("stalled", "redis-risk", False), ("streams", "group", True),
    }  # fmt: skip
    assert {a.get("subject", a["kind"]) for a in store.alerts() if a["status"] == "firing"} == {"ood", "group"}


def test_an_alert_on_lost_records_lasts_up_to_the_bound():
    group = Group()
    group.store._unfolded.clear()
    group.store.notice(Notice("gap", "t/0", True, "critical", "7 records are gone."))
    group.pass_time(3600)
    assert group.watch().step() == []
    group.pass_time(0.001)
    assert group.watch().step() == [Notice("gap", "t/0", firing=False)]


def test_a_partition_left_out_keeps_its_alert_until_nobody_has_read_it_for_longer_than_the_bound():
    clock = FakeClock()
    store = MemoryStore(clock)
    store.claim({Partition("gone", 0): 0})
    store.notice(Notice("bad-records", "gone/0", True, "warning", "so it is"))
    clock.advance(120)
    assert Watch(store, SETTINGS).step() == []
    clock.advance(0.001)
    assert Watch(store, SETTINGS).step() == [Notice("bad-records", "gone/0", firing=False)]


def test_who_observes_gets_the_health_the_partitions_of_these_topics_and_all_that_was_found():
    group, seen = Group(), []
    other = Partition("another", 0)
    group.store.claim({other: 0})
    risk = Notice("stalled", "redis-risk", True, "critical", "Redis may evict keys.")
    group.pass_time(121)
    watch = Watch(group.store, SETTINGS, lambda: [risk], lambda *told: seen.append(told))
    watch.step()
    ((health, partitions, found),) = seen
    assert health == group.store.health()
    assert partitions == {P0: group.store.partitions()[P0]}
    assert [n.subject for n in found] == ["judging", "redis-risk"]
    Watch(group.store, replace(SETTINGS, topics=frozenset()), observe=lambda *told: seen.append(told)).step()
    assert seen[1][1].keys() == {P0, other}
