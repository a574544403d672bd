"""From closed buckets to alerts: order, leases, crashes, silence."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
from dataclasses import replace

import numpy as np
import pytest

from monitor.alerts import alert as alerts
from monitor.config import AlertConfig
from monitor.errors import StoreUnavailableError
from monitor.judging.closing import closable
from monitor.judging.evaluator import Evaluator
from monitor.judging.rules import budget, rules
from monitor.judging.settings import EvaluatorSettings
from monitor.judging.spending import spending
from monitor.judging.writing import AlertWriter
from monitor.math.lifecycle import Alert
from monitor.messages.record import Partition
from monitor.store.counts import Batch, Example
from monitor.store.partitions import PartitionState, Progress, Seen
from monitor.store.verdicts import Fold
from monitor.testing import FakeClock, MemoryStore, outage

P0, P1 = Partition("t", 0), Partition("t", 1)
BEGIN = 1_700_000_000  # buckets are one second wide
RULES = {seconds: rules(AlertConfig(silence_seconds=seconds), 50_000) for seconds in (0, 60)}
NULL = np.diff([0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 1.0])
SURGE = 0.8 * NULL + 0.2 * np.diff([0, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


class Feed:
    """Writes drawn counts, bucket by bucket, as a worker would."""

    def __init__(self, seed: int = 0, streams=("a",)) -> None:
        self.clock = FakeClock(BEGIN * 1000)
        self.store = MemoryStore(self.clock)
        self.rng = np.random.default_rng(seed)
        self.streams = streams
        claim = self.store.claim({P0: 0})[P0]
        self.epoch, self.next, self.bucket = claim.epoch, 0, BEGIN

    def write(self, buckets: int, masses=NULL, samples: int = 20) -> None:
        for _ in range(buckets):
            counts, examples = {}, {}
            for stream in self.streams:
                drawn = self.rng.multinomial(samples, masses)
                counts |= {(stream, 0, k): int(n) for k, n in enumerate(drawn) if n}
                examples[self.bucket, stream] = [Example(float(-drawn[0]), f"{self.bucket}", 0, P0, self.next)]
            following = self.next + samples * len(self.streams)
            progress = Progress(P0, self.epoch, self.next, following, self.bucket)
            reply = self.store.commit(Batch([progress], {self.bucket: counts}, examples=examples))
            assert reply.status == "ok", reply
            self.next, self.bucket = following, self.bucket + 1
            self.pass_time(1)

    def pass_time(self, seconds: float) -> None:
        """The worker is there, and nothing comes."""
        self.clock.advance(seconds)
        self.store.report("worker", "{}", {P0: Seen(self.epoch, 0, behind=False)})

    def evaluator(self, holder="one", silence=60, **more) -> Evaluator:
        # Tests let minutes pass between two steps: what does not step within the lease has not listened.
        usual = {"idle_ms": 5000, "turn_ms": math.inf, "lease_ms": 600_000}
        settings = EvaluatorSettings("g", "artifact-hash", **(usual | more))
        return Evaluator(self.store, RULES[silence], settings, holder)

    def changes(self) -> list[str]:
        return [h["change"] for h in reversed(self.store.history())]


@pytest.fixture
def feed():
    return Feed()


def test_a_surge_is_raised_once_and_resolved_once_with_all_that_an_operator_needs(feed):
    evaluator = feed.evaluator(class_name=lambda k: f"class {k}")
    for masses in (NULL, SURGE, NULL):
        for _ in range(10):
            feed.write(10, masses)
            evaluator.step()
    changes = feed.changes()
    assert (changes.count("raised"), changes.count("resolved")) == (1, 1)
    raised = next(h for h in feed.store.history() if h["change"] == "raised")
    assert raised["artifact"] == "artifact-hash"
    assert raised["stream"] == "a"
    assert raised["status"] == "firing"
    assert float(raised["evidence"]) >= float(raised["evidence_needed"]) == 200_000
    assert float(raised["rate_low"]) < float(raised["rate"]) < float(raised["rate_high"])
    assert json.loads(raised["offsets"])["t/0"] > 0
    assert 1 <= len(json.loads(raised["examples"])) <= 5
    now = feed.store.alerts()[0]
    assert now["status"] == "resolved"
    assert now["ended_at"] > now["started_at"] > now["onset_at"]


def test_id_traffic_raises_nothing(feed):
    evaluator = feed.evaluator()
    feed.write(1000, NULL)
    evaluator.step()
    assert feed.store.history() == []


def test_a_bucket_is_folded_only_when_every_active_partition_is_past_it(feed):
    feed.store.claim({P1: 0})
    evaluator = feed.evaluator()
    feed.write(4)
    evaluator.step()
    assert len(feed.store.pending(-1, 2**50)) == 4
    feed.clock.advance(6)  # the other partition is idle by now, and so is the first
    evaluator.step()
    assert feed.store.pending(-1, 2**50) == []


def judged_up_to(*partitions, now_ms=20_000, leads=(-1, 12), idle_ms=5000, since_ms=0):
    return closable(partitions, leads, now_ms=now_ms, bucket_ms=1000, idle_ms=idle_ms, since_ms=since_ms)


AHEAD = PartitionState(1, 9, 12, 19_000)
BEHIND = PartitionState(1, 9, 7, 18_000)


def test_the_least_bucket_of_active_partitions_decides():
    idle = replace(BEHIND, at_ms=1000)
    assert judged_up_to(AHEAD, BEHIND) == 6
    assert judged_up_to(AHEAD, idle) == 11
    assert judged_up_to(AHEAD, idle, since_ms=18_000) == 6
    assert judged_up_to(AHEAD, BEHIND, now_ms=99_000) == 12  # nobody moves: all that was reached
    assert judged_up_to(leads=(-1, -1)) == -1


def test_a_partition_with_more_to_read_is_not_idle():
    quiet = replace(BEHIND, at_ms=1000, seen_ms=19_000)
    assert judged_up_to(AHEAD, quiet) == 11
    assert judged_up_to(AHEAD, replace(quiet, behind_ms=2000)) == 6
    assert judged_up_to(AHEAD, replace(quiet, lag=-1)) == 6  # its worker has not read any of it yet
    assert judged_up_to(AHEAD, replace(quiet, behind_ms=2000, seen_ms=1000)) == 11  # nobody reads it
    assert judged_up_to(AHEAD, replace(quiet, behind_ms=2000), leads=(9, 12)) == 9  # for a stated time only


def test_a_partition_that_brings_only_what_is_closed_holds_nothing_open():
    assert judged_up_to(AHEAD, replace(BEHIND, late_ms=17_000)) == 11


def test_no_partition_holds_a_bucket_open_for_longer_than_stated():
    assert judged_up_to(AHEAD, BEHIND, leads=(9, 12)) == 9  # bucket 9 was reached hold_ms ago


def test_nothing_closes_ahead_of_the_clock_of_the_store():
    assert judged_up_to(replace(AHEAD, bucket=3000), leads=(-1, 3000)) == 19
    assert judged_up_to(replace(AHEAD, bucket=3000, at_ms=0), leads=(2000, 3000)) == 19


def test_a_partition_holds_its_bucket_open_up_to_the_very_bounds():
    """Ahead is at bucket 12 and behind at bucket 7, which is held: 6 may be judged, and 11 without it."""
    received = replace(BEHIND, at_ms=15_001)
    assert judged_up_to(AHEAD, received) == 6
    assert judged_up_to(AHEAD, replace(received, at_ms=15_000)) == 11
    assert judged_up_to(AHEAD, replace(received, at_ms=0), since_ms=15_001) == 6
    assert judged_up_to(AHEAD, replace(received, at_ms=0), since_ms=15_000) == 11
    read = replace(BEHIND, at_ms=0, behind_ms=1, seen_ms=5001)
    assert judged_up_to(AHEAD, read) == 6
    assert judged_up_to(AHEAD, replace(read, seen_ms=5000)) == 11
    assert judged_up_to(AHEAD, replace(read, behind_ms=0)) == 11
    assert judged_up_to(AHEAD, replace(read, behind_ms=0, lag=-1)) == 6


def test_a_bucket_closes_once_it_has_ended_by_the_clock_of_the_store():
    far = replace(AHEAD, bucket=3000)
    assert judged_up_to(far, now_ms=20_999, leads=(-1, 3000)) == 19
    assert judged_up_to(far, now_ms=21_000, leads=(-1, 3000)) == 20


def test_a_surge_is_raised_after_the_clock_of_the_store_was_set_back_by_an_hour(feed, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("monitor.judging.evaluator.time.monotonic", lambda: now[0])
    evaluator = feed.evaluator()
    feed.write(70)
    evaluator.step()
    feed.clock.advance(-3600)
    for masses in (NULL, SURGE):
        for _ in range(40):
            closed = feed.store._meta["closed"]
            feed.bucket = closed + 1  # where a worker counts what is stamped later than the clock
            feed.write(1, masses)
            evaluator.step()
            assert feed.store._meta["closed"] - closed in (0, 1)
            now[0] += 1.0
    assert feed.changes()[0] == "raised"
    assert feed.store.pending(-1, 2**50)[1:] == []
    assert feed.store._meta["closed"] - BEGIN == pytest.approx(
        70 + 40, abs=2
    )  # slower than the clock, which catches up


def test_what_does_not_come_is_not_judged_though_the_clock_of_the_store_was_set_back(feed):
    evaluator = feed.evaluator()
    feed.write(70)
    evaluator.step()
    closed = feed.store._meta["closed"]
    feed.clock.advance(-3600)
    for _ in range(20):
        feed.pass_time(1)
        evaluator.step()
    assert feed.store._meta["closed"] <= closed + 1


def test_a_partition_is_idle_whose_last_record_lies_ahead_of_a_clock_that_was_set_back():
    ahead = replace(BEHIND, at_ms=3_600_000)
    assert judged_up_to(AHEAD, ahead) == 11
    assert judged_up_to(AHEAD, replace(ahead, seen_ms=3_600_000, behind_ms=2000)) == 11  # nobody reads it


def test_a_new_leaseholder_does_not_take_a_dead_monitor_for_idle_partitions(feed):
    feed.write(3)
    feed.clock.advance(3600)  # nobody ran
    evaluator = feed.evaluator()
    evaluator.step()
    assert len(feed.store.pending(-1, 2**50)) == 1
    feed.clock.advance(6)
    evaluator.step()
    assert feed.store.pending(-1, 2**50) == []


def test_only_the_leaseholder_folds_and_the_next_one_goes_on_where_it_stopped(feed):
    one, two = feed.evaluator("one"), feed.evaluator("two")
    alone = Feed()
    reference = alone.evaluator()
    for masses in (NULL, SURGE, NULL):
        for n in range(10):
            feed.write(10, masses)
            alone.write(10, masses)
            reference.step()
            active, passive = (one, two) if n % 2 else (two, one)
            active.step()
            assert passive.step() == []
            active.release()
    assert feed.changes() == alone.changes()
    strip = lambda events: [{k: v for k, v in e.items() if k not in ("id", "examples")} for e in events]  # noqa: E731
    assert strip(feed.store.history()) == strip(alone.store.history())
    assert feed.store.state() == alone.store.state()


@pytest.mark.parametrize("survives", range(2, 9))
def test_a_crash_between_any_two_calls_to_the_store_changes_no_transition(survives):
    feed, alone = Feed(), Feed()
    reference = alone.evaluator(silence=0)
    reach = feed.store._reach
    for n, masses in enumerate([NULL] * 5 + [SURGE] * 5 + [NULL] * 5):
        feed.write(15, masses)
        alone.write(15, masses)
        reference.step()
        left = [survives]

        def dies(left=left):
            left[0] -= 1
            if left[0] < 0:
                raise StoreUnavailableError("killed here")
            reach()

        feed.store._reach = dies
        with pytest.raises(StoreUnavailableError):
            feed.evaluator(f"dying-{n}", silence=0).step()
        feed.store._reach = reach
        feed.store._lease = None  # it expires
        feed.evaluator(f"next-{n}", silence=0).step()
        feed.store._lease = None
    told = lambda store: [(h["event"], h["change"], h["evidence"]) for h in store.history()]  # noqa: E731
    assert told(feed.store) == told(alone.store)
    assert feed.store.state() == alone.store.state()
    assert (feed.changes().count("raised"), feed.changes().count("resolved")) == (1, 1)


def test_a_store_that_goes_away_is_no_idle_partition(feed):
    evaluator = feed.evaluator()
    feed.write(3)
    evaluator.step()
    with outage(feed.store), pytest.raises(StoreUnavailableError):
        evaluator.step()
    feed.clock.advance(60)
    before = feed.store.pending(-1, 2**50)
    evaluator.step()
    assert feed.store.pending(-1, 2**50) == before


def test_silence_is_an_alert_of_its_own_that_input_ends(feed):
    evaluator = feed.evaluator()
    evaluator.step()
    feed.write(25)
    evaluator.step()
    for _ in range(12):
        feed.pass_time(10)
        evaluator.step()
    assert [(h["kind"], h["change"]) for h in feed.store.history()] == [("silence", "raised")]
    feed.bucket = feed.clock() // 1000
    feed.write(3)
    evaluator.step()
    feed.pass_time(6)
    evaluator.step()
    latest = feed.store.history()[0]
    assert (latest["kind"], latest["change"]) == ("silence", "resolved")
    assert latest["ended_at"] >= latest["started_at"]


def test_silence_resolves_no_surge(feed):
    evaluator = feed.evaluator()
    feed.write(30)
    feed.write(20, SURGE)
    for _ in range(30):
        evaluator.step()
        feed.clock.advance(10)
    kinds = {(h["kind"], h["change"]) for h in feed.store.history()}
    assert ("ood", "raised") in kinds
    assert ("ood", "resolved") not in kinds


def test_a_worker_that_catches_up_is_not_taken_for_silence(feed):
    evaluator = feed.evaluator()
    feed.write(5)
    feed.clock.advance(3600)
    feed.write(5)  # records of an hour ago, counted now
    evaluator.step()
    assert feed.store.history() == []


def test_the_examples_of_a_surge_outlive_it(feed):
    evaluator = feed.evaluator()
    feed.write(50)
    feed.write(50, SURGE)
    evaluator.step()
    worst = json.loads(feed.store.alerts()[0]["examples"])
    feed.write(120, NULL)
    evaluator.step()
    resolved = feed.store.alerts()[0]
    assert resolved["status"] == "resolved"
    assert json.loads(resolved["examples"])[0]["confidence"] <= worst[0]["confidence"]
    assert BEGIN + 50 <= int(json.loads(resolved["examples"])[0]["id"]) < BEGIN + 110


def test_many_streams_share_one_budget_and_one_surge_names_its_stream():
    feed = Feed(streams=[f"tenant-{n}" for n in range(20)])
    evaluator = feed.evaluator()
    feed.write(30)
    evaluator.step()
    drawn, quiet = feed.streams, [s for s in feed.streams if s != "tenant-7"]
    for _ in range(30):
        feed.streams = quiet
        feed.write(1)
        feed.bucket -= 1
        feed.streams = ["tenant-7"]
        feed.write(1, SURGE)
        feed.streams = drawn
    evaluator.step()
    raised = [h for h in feed.store.history() if h["change"] == "raised"]
    assert [r["stream"] for r in raised] == ["tenant-7"]


# -- canary, streams, settings -----------------------------------------------------------------------------------------


def canary_of(feed, cell: int, samples: int = 20):
    progress = Progress(P0, feed.epoch, feed.next, feed.next + samples, feed.bucket)
    feed.store.commit(Batch([progress], {feed.bucket: {("canary", 0, cell): samples}}))
    feed.next, feed.bucket = feed.next + samples, feed.bucket + 1
    feed.pass_time(1)


def test_a_canary_is_noticed_and_touches_neither_people_nor_budget_nor_other_streams(feed):
    evaluator = feed.evaluator(canary="canary")
    feed.write(30)
    evaluator.step()
    before = evaluator.state
    canary_of(feed, cell=0)
    feed.pass_time(10)
    evaluator.step()
    assert feed.store.health().times["canary_seen"] == feed.clock()
    assert feed.store.history() == []
    assert evaluator.state.samples["stream"] == before.samples["stream"] + 20  # the last bucket of the traffic
    assert ("canary", None) not in evaluator.state.rows


def test_a_canary_that_does_not_look_ood_is_not_noticed(feed):
    evaluator = feed.evaluator(canary="canary")
    feed.write(2)
    canary_of(feed, cell=6)
    feed.pass_time(10)
    evaluator.step()
    assert "canary_seen" not in feed.store.health().times


def test_what_is_known_of_a_canary_outlives_the_leaseholder(feed):
    feed.write(2)
    for holder in ("one", "two", "three", "four", "five"):
        canary_of(feed, cell=0, samples=1)
        feed.pass_time(6)
        evaluator = feed.evaluator(holder, canary="canary")
        evaluator.step()
        feed.pass_time(6)
        evaluator.step()
        evaluator.release()
    assert "canary_seen" in feed.store.health().times


def test_a_stream_from_which_nothing_comes_for_very_long_is_forgotten_with_its_alert(feed):
    evaluator = feed.evaluator(silence=60, forget_ms=3_600_000)
    feed.streams = ("a", "b")
    evaluator.step()
    feed.write(30)
    feed.streams = ("b",)
    for _ in range(80):
        feed.bucket = feed.clock() // 1000
        feed.write(1)
        for _ in range(5):
            feed.pass_time(10)
            evaluator.step()
    told = [(h["stream"], h["kind"], h["change"]) for h in reversed(feed.store.history())]
    assert told == [("a", "silence", "raised"), ("a", "silence", "resolved")]
    assert set(feed.store.streams()) == {"b"}
    assert {s for s, _ in evaluator.state.rows} == {None, "b"}
    assert sum(feed.store.totals().values()) == feed.next
    assert [k for k in feed.store.state() if k.startswith("s:")] == ["s:b"]


def test_a_stream_that_comes_back_after_it_was_forgotten_begins_anew(feed):
    evaluator = feed.evaluator()
    feed.write(30)
    feed.pass_time(10)
    evaluator.step()
    feed.store.ask_to_retire("a")
    feed.pass_time(11)
    evaluator.step()
    assert feed.store.state().keys() == {"#header"}
    feed.bucket = feed.clock() // 1000
    feed.write(5)
    evaluator.step()
    feed.pass_time(10)
    evaluator.step()
    assert evaluator.state.evidence.heard[evaluator.state.rows["a", None]] == 5


def test_a_long_backlog_is_judged_in_turns_and_the_lease_is_kept(feed):
    evaluator = feed.evaluator(turn_ms=0)
    feed.write(10)
    left = []
    for _ in range(9):
        evaluator.step()
        left.append(len(feed.store.pending(-1, 2**50)))
    assert left == [9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_how_much_of_the_budget_is_spent_is_read_from_what_is_stored(feed):
    limits = budget(AlertConfig())
    assert spending(feed.store, limits) == limits.words()
    evaluator = feed.evaluator()
    feed.write(11)
    evaluator.step()
    judged = {"stream": 200, "everything": 200, "class": 0}
    assert evaluator.state.samples == judged
    assert spending(feed.store, limits) == limits.words(judged)
    assert spending(feed.store, limits, 5.0) == limits.words(judged, 5.0)


# -- what is written, by whom, and when --------------------------------------------------------------------------------


class Spied(MemoryStore):
    """A store that keeps what the evaluator wrote, and how often it looked for streams to forget."""

    def __init__(self, clock):
        super().__init__(clock)
        self.written: list[Fold] = []
        self.looked = 0

    def apply(self, fold):
        self.written.append(fold)
        return super().apply(fold)

    def asked_to_retire(self):
        self.looked += 1
        return super().asked_to_retire()


def spied(**more) -> Feed:
    feed = Feed(**more)
    feed.store = Spied(feed.clock)
    feed.epoch = feed.store.claim({P0: 0})[P0].epoch
    return feed


def begun(feed, holder="one", **more) -> Evaluator:
    """An evaluator that has looked once, while the worker had read everything."""
    feed.pass_time(0)
    evaluator = feed.evaluator(holder, **more)
    evaluator.step()
    return evaluator


def commit(feed, bucket: int, counts, partition=P0, epoch=None, start=None, samples=20) -> None:
    """One batch of one partition, counted now."""
    start = feed.next if start is None else start
    progress = Progress(partition, feed.epoch if epoch is None else epoch, start, start + samples, bucket)
    assert feed.store.commit(Batch([progress], {bucket: counts})).status == "ok"
    if partition == P0:
        feed.next = start + samples


def test_the_first_bucket_of_all_may_raise_and_names_its_own_begin_and_end(caplog):
    feed = spied()
    bucket = BEGIN // 2
    evaluator = begun(feed, bucket_ms=2000)
    commit(feed, bucket, {("a", 0, 0): 100})
    feed.pass_time(6)
    with caplog.at_level(logging.WARNING):
        (raised,) = evaluator.step()
    assert (raised.change, raised.alert.onset_at, raised.at) == ("raised", BEGIN + 1, BEGIN + 2)  # somewhere in it
    (fold,) = feed.store.written
    assert (fold.bucket, fold.folded, fold.streams, fold.guard) == (bucket, -1, ["a"], None)
    (told,) = feed.store.history()
    assert told["bucket"] == str(bucket)
    assert (told["episode"], told["event"]) == (f"ood:{bucket}:a", f"ood:{bucket}:a:raised:{bucket}")
    assert told["onset_at"] == "2023-11-14T22:13:21.000Z"
    assert told["started_at"] == told["updated_at"] == "2023-11-14T22:13:22.000Z"
    (line,) = caplog.records
    assert line.getMessage() == alerts.line(told)
    assert (line.alert, line.stream) == (f"ood:{bucket}:a", "a")


def test_while_a_surge_lasts_its_numbers_are_refreshed_and_nobody_is_told():
    feed = spied()
    evaluator = begun(feed)
    for n in range(3):
        commit(feed, BEGIN + n, {("a", 0, 0): 100})
    feed.pass_time(10)
    assert [t.change for t in evaluator.step()] == feed.changes() == ["raised"]
    wrote = [[(w.fields["change"], w.fields["event"], w.event) for w in fold.alerts] for fold in feed.store.written]
    name = f"ood:{BEGIN}:a"
    refreshed = [("updated", f"{name}:refreshed", False)]
    assert wrote == [[("raised", f"{name}:raised:{BEGIN}", True)], refreshed, refreshed]
    (now,) = feed.store.alerts()
    assert (now["samples"], now["status"]) == ("250", "firing")  # half of the bucket of the onset, and two whole ones


def test_a_step_gives_every_change_of_a_backlog_in_order(feed):
    evaluator = begun(feed)
    for masses in (NULL, SURGE, NULL):
        feed.write(100, masses)
    feed.pass_time(65)
    changes = [t.change for t in evaluator.step()]
    assert changes == feed.changes()
    assert [c for c in changes if c != "updated"] == ["raised", "resolved", "raised"]
    assert feed.store.alerts()[0]["kind"] == "silence"


def test_of_a_bucket_only_the_streams_that_it_touched_are_written():
    feed = spied(streams=("a", "b"))
    evaluator = begun(feed)
    feed.write(1)
    feed.streams = ("b",)
    feed.write(1)
    feed.pass_time(6)
    evaluator.step()
    first, second = feed.store.written
    assert (first.streams, sorted(first.state)) == (["a", "b"], ["#header", "s:a", "s:b"])
    assert (second.streams, sorted(second.state)) == (["b"], ["#header", "s:b"])
    assert (second.bucket, second.folded) == (BEGIN + 1, BEGIN)


def test_a_turn_ends_with_the_first_bucket_that_outlasts_it(feed, monkeypatch):
    ticks = itertools.count(step=0.25)
    monkeypatch.setattr("monitor.judging.evaluator.time.monotonic", lambda: next(ticks))
    evaluator = feed.evaluator(turn_ms=500)
    feed.write(10)
    feed.pass_time(6)
    evaluator.step()
    assert len(feed.store.pending(-1, 2**50)) == 7


def test_the_lease_is_held_under_the_name_of_the_process_and_given_back_at_once(feed):
    evaluator = feed.evaluator("one")
    evaluator.step()
    assert feed.store.holder() == "one"
    evaluator.release()
    assert feed.store.holder() == ""
    assert evaluator.state is None


def test_a_process_that_loses_the_lease_while_it_judges_writes_nothing_and_forgets_what_it_knew(feed):
    evaluator = feed.evaluator()
    feed.write(5)
    feed.pass_time(6)
    counts = feed.store.counts

    def overtaken(bucket):
        feed.store._lease = ("two", 99, feed.clock() + 60_000)
        return counts(bucket)

    feed.store.counts = overtaken
    assert evaluator.step() == []
    assert evaluator.state is None
    assert feed.store.state() == {}
    assert len(feed.store.pending(-1, 2**50)) == 5


def test_a_partition_of_a_topic_that_is_not_read_keeps_no_bucket_open_and_no_alert_names_it(feed):
    gone = Partition("gone", 0)
    epoch = feed.store.claim({gone: 0})[gone].epoch
    evaluator = feed.evaluator(topics=frozenset({"t"}))
    for n in range(3):
        commit(feed, BEGIN + n, {("a", 0, 0): 100})
        commit(feed, BEGIN, {("b", 0, 6): 1}, gone, epoch, start=n, samples=1)
        feed.pass_time(1)
    evaluator.step()
    assert feed.store.pending(-1, 2**50) == [BEGIN + 2]
    assert json.loads(feed.store.history()[-1]["offsets"]) == {"t/0": 60}


def test_a_partition_holds_a_bucket_open_until_this_process_has_watched_others_move_on_for_the_stated_time(feed):
    behind = feed.store.claim({P1: 0})[P1].epoch
    evaluator = feed.evaluator(hold_ms=3000)
    evaluator.step()
    commit(feed, BEGIN, {("b", 0, 6): 1}, P1, behind, start=0, samples=1)
    feed.write(3)
    feed.store.report("slow", "{}", {P1: Seen(behind, 5000, behind=True)})
    feed.clock.advance(-0.001)
    evaluator.step()
    assert feed.store.pending(-1, 2**50) == [BEGIN, BEGIN + 1, BEGIN + 2]
    feed.clock.advance(0.001)
    evaluator.step()
    assert feed.store.pending(-1, 2**50) == [BEGIN + 1, BEGIN + 2]


def test_streams_to_forget_are_looked_for_every_ten_seconds():
    feed = spied()
    evaluator = feed.evaluator()
    looked = []
    for seconds in (0, 9.999, 0.001, 9.999, 0.001):
        feed.clock.advance(seconds)
        evaluator.step()
        looked.append(feed.store.looked)
    assert looked == [1, 1, 2, 2, 3]


def test_a_stream_is_forgotten_by_the_stated_time_with_all_that_is_stored_and_one_line_says_why(caplog):
    feed = spied(streams=("a", "b", "c"))
    evaluator = begun(feed, forget_ms=3_600_000)
    feed.write(1)
    commit(feed, BEGIN, {("a", 0, 0): 100})
    feed.streams = ("c",)
    feed.pass_time(9)
    evaluator.step()
    assert set(feed.store.streams()) == {"a", "b", "c"}
    feed.store._streams |= {"a": feed.clock(), "b": feed.clock() - 3_589_999, "c": feed.clock()}
    feed.pass_time(10)
    feed.store.ask_to_retire("a")
    with caplog.at_level(logging.INFO):
        (over,) = evaluator.step()
    assert set(feed.store.streams()) == {"b", "c"}  # b has a millisecond left
    assert (over.change, over.alert.stream, over.bucket, over.at) == ("resolved", "a", BEGIN, BEGIN + 20)
    done = feed.store.written[-1]
    assert (done.bucket, done.folded, list(done.remove), sorted(done.state)) == (None, BEGIN, ["s:a"], ["#header"])
    feed.pass_time(10)
    feed.store._streams["b"] = feed.clock() - 3_600_000
    with caplog.at_level(logging.INFO):
        evaluator.step()
    assert set(feed.store.streams()) == {"c"}
    said = [r for r in caplog.records if "forgotten" in r.getMessage()]
    assert [r.getMessage() for r in said] == [
        "stream 'a' is forgotten: asked for", "stream 'b' is forgotten: nothing came any more",
    ]  # fmt: skip
    assert [r.stream for r in said] == ["a", "b"]


def test_what_somebody_asked_to_forget_is_forgotten_before_anything_was_judged(feed):
    commit(feed, BEGIN, {("a", 0, 6): 1})
    feed.store.ask_to_retire("a")
    feed.evaluator().step()
    assert feed.store.streams() == {}


# -- silence, and who could have heard ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lag", "behind", "seconds", "raised"),
    [
        (0, False, 0, ["raised"]),
        (0, False, 14.999, ["raised"]),
        (0, False, 15, []),  # nobody reads the partition
        (-1, False, 0, []),  # nothing of it has been read yet
        (9, True, 0, []),  # what the stream sent may be among what is left to read
    ],
)
def test_a_stream_is_silent_only_if_all_that_was_sent_has_been_read(feed, lag, behind, seconds, raised):
    evaluator = feed.evaluator()
    feed.write(25)
    evaluator.step()
    feed.pass_time(6)
    evaluator.step()  # the last bucket is judged
    feed.clock.advance(70)
    feed.store.report("worker", "{}", {P0: Seen(feed.epoch, lag, behind)})
    feed.clock.advance(seconds)
    evaluator.step()
    assert feed.changes() == raised


def test_a_process_must_have_listened_for_as_long_as_a_stream_may_be_silent(feed):
    feed.streams = ("a", "b")
    feed.write(25)
    feed.streams = ("b",)
    feed.write(80)  # a backlog in which nothing of the other stream comes
    evaluator = feed.evaluator()
    evaluator.step()
    feed.pass_time(59.999)
    evaluator.step()
    assert feed.changes() == []
    feed.pass_time(0.001)
    assert [(t.change, t.alert.kind) for t in evaluator.step()] == [("raised", "silence")]


def test_a_store_that_comes_back_makes_no_stream_silent_whose_records_wait_to_be_counted(feed):
    """The first report after the store was away comes before the first record: nothing seems to be left to read."""
    evaluator = feed.evaluator()
    feed.write(25)
    evaluator.step()
    feed.pass_time(6)
    evaluator.step()
    with outage(feed.store), pytest.raises(StoreUnavailableError):
        evaluator.step()
    feed.clock.advance(400)
    feed.pass_time(0)
    evaluator.step()
    assert feed.changes() == []
    feed.pass_time(60)
    evaluator.step()
    assert feed.changes() == ["raised"]  # if nothing comes now, the stream is silent indeed


def test_a_process_that_did_not_look_within_its_lease_has_not_listened_meanwhile(feed):
    evaluator = feed.evaluator(lease_ms=15_000)
    feed.write(25)
    for _ in range(3):
        feed.pass_time(5)
        evaluator.step()
    feed.pass_time(400)
    evaluator.step()
    assert feed.changes() == []
    for _ in range(4):
        feed.pass_time(15)
        evaluator.step()
    assert feed.changes() == ["raised"]


@pytest.mark.parametrize("off", [600, -600])
def test_a_store_whose_clock_is_off_calls_no_stream_silent_that_sends_and_each_that_does_not(feed, off, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("monitor.judging.evaluator.time.monotonic", lambda: now[0])
    evaluator = feed.evaluator(lease_ms=15_000)
    evaluator.step()
    feed.streams = ("a", "b")
    for _ in range(10):
        feed.write(10)
        evaluator.step()
    feed.clock.advance(off)
    feed.pass_time(0)
    evaluator.step()  # nothing has come by the new clock yet
    for n in range(300):
        if n == 100:
            assert feed.changes() == []
            feed.streams = ("b",)
        if off < 0:
            feed.bucket = feed.store._meta["closed"] + 1  # where a worker counts what is stamped later than the clock
        feed.write(1)
        now[0] += 1.0
        evaluator.step()
    assert [(h["change"], h["stream"]) for h in feed.store.history()] == [("raised", "a")]


def test_streams_that_are_silent_together_stay_so_when_another_process_takes_over():
    feed = Feed(streams=[f"s{n}" for n in range(8)])
    one = feed.evaluator("one")
    one.step()
    feed.write(25)
    for _ in range(8):
        feed.pass_time(10)
        one.step()
    assert feed.changes() == ["raised"]
    one.release()
    two = feed.evaluator("two")
    for _ in range(12):
        two.step()
        feed.pass_time(10)
    assert feed.changes() == ["raised"]
    feed.bucket = feed.clock() // 1000
    feed.write(3)
    feed.pass_time(6)
    two.step()
    assert feed.changes() == ["raised", "resolved"]


def test_each_of_two_silences_is_written_at_once_and_known_to_who_takes_over(caplog):
    feed = spied(streams=("a", "b", "c"))
    one = begun(feed)
    feed.write(25)
    feed.streams = ("b", "c")
    feed.write(20)
    feed.streams = ("c",)
    heard = []
    for _ in range(10):
        feed.bucket = feed.clock() // 1000
        feed.write(1)
        feed.pass_time(9)
        heard += [(t.alert.stream, t.change) for t in one.step()]
    assert heard == [("a", "raised"), ("b", "raised")]
    silences = [fold for fold in feed.store.written if fold.bucket is None]
    written = [[w.fields["event"] for w in fold.alerts] for fold in silences]
    assert written == [[h["event"]] for h in reversed(feed.store.history())]
    assert written == [[f"{h['episode']}:raised:{h['bucket']}"] for h in reversed(feed.store.history())]
    assert all(fold.guard is not None and fold.guard[0] == "#header" for fold in silences)
    one.release()
    two = feed.evaluator("two")
    with caplog.at_level(logging.INFO):
        two.step()
    assert set(two.state.alerts) == {("a", "silence"), ("b", "silence")}
    folded = feed.store._meta["folded"]
    assert caplog.records[-1].getMessage() == f"took over at bucket {folded} with 3 streams"


def test_a_silence_is_written_after_another_though_no_bucket_came_between(feed):
    feed.streams = ("a", "b")
    evaluator = begun(feed)
    feed.write(25)
    feed.streams = ("b",)
    feed.write(20)
    heard = []
    for _ in range(10):
        feed.pass_time(9)
        heard.append([t.alert.stream for t in evaluator.step()])
        assert evaluator.state is not None  # what it wrote last is what is stored
    assert [names for names in heard if names] == [["a"], ["b"]]


def test_silence_is_not_written_over_what_another_process_has_judged_meanwhile(feed):
    """It is time to look for streams to forget, too: that is left to the process that has judged."""
    evaluator = begun(feed)
    feed.write(25)
    for _ in range(5):
        feed.pass_time(10)
        evaluator.step()
    feed.store._state["#header"] = "of another process"
    feed.pass_time(10)
    assert evaluator.step() == []
    assert evaluator.state is None
    assert feed.store.state()["#header"] == "of another process"
    assert feed.store.history() == []


def test_who_takes_over_can_write_a_silence_before_any_bucket():
    feed = spied()
    one = feed.evaluator("one")
    feed.write(25)
    feed.pass_time(6)
    one.step()
    one.release()
    two = feed.evaluator("two")
    two.step()
    feed.pass_time(60)
    assert [(t.change, t.alert.kind) for t in two.step()] == [("raised", "silence")]


# -- examples, canaries and several experts ----------------------------------------------------------------------------


def test_the_examples_of_a_surge_are_kept_though_their_buckets_are_gone(feed):
    evaluator = feed.evaluator()
    feed.write(10)
    feed.write(20, SURGE)
    evaluator.step()
    worst = feed.store.alerts()[0]["examples"]
    assert json.loads(worst)
    feed.store._examples.clear()
    for _ in range(2):
        feed.write(3, SURGE)
        feed.store._examples.clear()
        evaluator.step()
    assert feed.store.alerts()[0]["examples"] == worst


def test_the_examples_of_a_surge_outlive_the_leaseholder_though_their_buckets_are_gone(feed):
    evaluator = feed.evaluator("one")
    feed.write(10)
    feed.write(20, SURGE)
    evaluator.step()
    worst = feed.store.alerts()[0]["examples"]
    evaluator.release()
    feed.write(3, SURGE)
    feed.store._examples.clear()
    other = feed.evaluator("two")
    other.step()
    feed.pass_time(6)
    other.step()
    assert feed.store._meta["folded"] == BEGIN + 32
    assert feed.store.alerts()[0]["examples"] == worst


def test_a_canary_that_comes_bit_by_bit_is_noticed(feed):
    evaluator = feed.evaluator(canary="canary")
    sent = 0
    while "canary_seen" not in feed.store.health().times:
        sent += 1
        assert sent < 10
        canary_of(feed, cell=0, samples=1)
        evaluator.step()
    assert sent > 3
    assert feed.store.state()["#canary"] == ""


def test_the_evidence_of_two_experts_and_of_their_canary_outlives_the_leaseholder():
    two = rules(AlertConfig(silence_seconds=0), 50_000, experts=("one", "other"))
    counts = {("a", 0, 0): 1, ("a", 0, 6): 19, ("a", 0, 9): 1, ("a", 0, 13): 19}
    canary = {("canary", 0, 3): 1, ("canary", 0, 13): 1}
    kept = []
    for hand_over in (False, True):
        feed = Feed()
        evaluator = None
        for n in range(6):
            commit(feed, BEGIN + n, counts | canary)
            feed.pass_time(1)
            if evaluator is None or hand_over:
                settings = EvaluatorSettings("g", "artifact", canary="canary", idle_ms=5000, turn_ms=math.inf)
                evaluator = Evaluator(feed.store, two, settings, f"holder-{n}")
            evaluator.step()
            if hand_over:
                evaluator.release()
        kept.append(feed.store.state())
    assert kept[0] == kept[1]
    assert kept[0].keys() == {"#header", "#canary", "s:a"}


# -- the stored form of an alert ---------------------------------------------------------------------------------------


def writer(store=None, **more) -> AlertWriter:
    settings = {"alert_ttl_ms": 5000, "bucket_ms": 2000, "examples": 3} | more
    return AlertWriter(store or MemoryStore(FakeClock()), RULES[0], EvaluatorSettings("g", "artifact", **settings))


def example_of(bucket: int, confidence: float) -> Example:
    return Example(confidence, f"of {bucket}", 0, P0, bucket)


def shown(alert: Alert, at: float, by_bucket=lambda b: b, kept=None, **more) -> list[str]:
    """The ids of an alert's examples, if each bucket has one of each stream, with a confidence by its number."""
    store = MemoryStore(FakeClock())
    for stream in ("a", *alert.streams):
        store._examples |= {(b, stream): [replace(example_of(b, by_bucket(b)), id=f"{stream}{b}")] for b in range(120)}
    return [e.id for e in writer(store, **more).examples(alert, at, kept)]


SURGED = Alert("a", "ood", 10, raised_at=22.0, onset_at=11.5)  # begins in bucket 5, buckets are two seconds wide


def test_an_alert_that_is_raised_shows_the_most_ood_samples_from_its_onset_to_its_last_bucket():
    assert shown(SURGED, 22.0) == ["a5", "a6", "a7"]
    assert shown(SURGED, 22.0, lambda b: -b) == ["a10", "a9", "a8"]
    assert shown(replace(SURGED, onset_at=0.0), 202.0) == ["a80", "a81", "a82"]  # of a long surge the last part


def test_of_samples_that_are_equally_ood_the_earlier_ones_are_shown():
    assert shown(SURGED, 22.0, lambda b: 0.0) == ["a5", "a6", "a7"]


def test_an_alert_that_goes_on_adds_the_samples_of_its_last_bucket_to_those_it_has():
    before = (example_of(5, -7.0), example_of(6, 12.0), example_of(7, 13.0))
    assert shown(SURGED, 22.0, kept=before) == ["of 5", "a10", "of 6"]
    assert shown(SURGED, 22.0, kept=()) == ["a10"]


def test_an_alert_of_all_streams_together_shows_samples_of_at_most_twenty_of_those_that_surged():
    streams = tuple(f"s{k}-" for k in range(25))
    overall = replace(SURGED, stream=None, streams=streams, onset_at=20.0)
    store = MemoryStore(FakeClock())
    store._examples = {(10, s): [Example(-k, s, 0, P0, k)] for k, s in enumerate(streams)}
    assert [e.id for e in writer(store).examples(overall, 22.0, None)] == ["s19-", "s18-", "s17-"]


def test_silence_has_no_samples_to_show_and_nobody_gets_any_who_wants_none():
    assert shown(replace(SURGED, kind="silence"), 22.0) == []
    assert shown(SURGED, 22.0, examples=0) == []


def test_an_alert_is_written_under_its_identity_in_the_group_with_its_time_and_how_long_it_is_kept():
    write = writer().entry(SURGED, "raised", 22.004, "event", {}, {})
    assert (write.ttl_ms, write.now_ms, write.event) == (5000, 22_004, True)
    assert write.fingerprint == hashlib.sha256(b"g\0ood\0a").hexdigest()[:16]
    assert writer().entry(SURGED, "updated", 22.0, "event", {}, {}, kept=False).event is False


def test_an_alert_shows_the_threshold_of_what_raised_it():
    assert writer().entry(SURGED, "raised", 22.0, "e", {}, {}).fields["evidence_needed"] == "200000"
    of_a_class = writer().entry(replace(SURGED, scope=(4,)), "raised", 22.0, "e", {}, {})
    assert of_a_class.fields["evidence_needed"] == "inf"  # single classes may not raise by these rules
