"""From closed buckets to alerts: order, leases, crashes, silence."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from monitor.config import AlertConfig
from monitor.errors import StoreUnavailableError
from monitor.judging.closing import closable
from monitor.judging.evaluator import Evaluator
from monitor.judging.rules import rules
from monitor.judging.settings import EvaluatorSettings
from monitor.messages.record import Partition
from monitor.store.counts import Batch, Example
from monitor.store.partitions import PartitionState, Progress, Seen
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
        settings = EvaluatorSettings("g", "artifact-hash", **({"idle_ms": 5000, "turn_ms": math.inf} | more))
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
