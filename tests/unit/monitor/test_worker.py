"""The worker on doubles: whatever dies, moves or goes away, each record is counted once."""

from __future__ import annotations

import logging

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from monitor.counting.models import Models
from monitor.counting.observing import Unobserved
from monitor.counting.scoring import Scorer
from monitor.counting.settings import WorkerSettings
from monitor.counting.worker import Worker
from monitor.errors import BadShareError, BrokerUnavailableError, StoreUnavailableError
from monitor.messages import REASONS, Contract
from monitor.messages.limits import Limits
from monitor.messages.record import Partition
from monitor.testing import FakeClock, MemoryBroker, MemoryDeadLetters, MemorySource, MemoryStore, outage
from tests.fuzz import corpus
from tests.monitor_support import WIDTH, embeddings, small_line
from tests.oracle.recount import recount

LINE = small_line()
SCORER = Scorer(LINE)
ROWS = embeddings(400, seed=5, ood=0.2)
GROUP, TOPIC = "g", "requests"


class Bench:
    """A broker, a store, and workers that come and go."""

    topics = (TOPIC,)

    def __init__(self, **settings):
        self.clock = FakeClock()
        self.broker, self.store = MemoryBroker(), MemoryStore(self.clock)
        self.broker.create(TOPIC)
        self.settings = WorkerSettings(**{"bucket_ms": 1000, "max_records": 7, "start": "earliest"} | settings)
        self.contract = Contract(WIDTH)
        self.workers: list[tuple[Worker, MemorySource]] = []
        self.sent = 0

    def join(self, **more):
        source = MemorySource(self.broker, self.topics, GROUP)
        letters = MemoryDeadLetters(self.broker, f"{TOPIC}.dead-letter")
        worker = Worker(
            source, self.store, Models.single(SCORER, self.contract), letters, self.settings,
            **{"clock": self.clock, "wait": lambda _: None} | more,
        )  # fmt: skip
        self.workers.append((worker, source))
        return worker

    def kill(self, n=0):
        """The group notices; the worker never gets to say goodbye."""
        _, source = self.workers.pop(n)
        source.close()

    def send(self, n, **more):
        for _ in range(n):
            row = ROWS[self.sent % len(ROWS)]
            key = f"model-{self.sent % 2}".encode()
            stamp = self.clock() + self.sent * 100
            self.broker.send(TOPIC, row.tobytes(), key=key, timestamp_ms=stamp, partition=self.sent % 3, **more)
            self.sent += 1

    def drain(self):
        idle = 0  # a claim takes a round that counts nothing
        for _ in range(300):
            stepped = sum(w.step() for w, _ in self.workers)
            idle = 0 if stepped or sum(s.lag() for _, s in self.workers) else idle + 1
            if idle == 4:
                return
        raise AssertionError("the workers never caught up")

    def recounted(self):
        return recount(LINE, [(r.key, r.value) for r in self.broker.records(TOPIC)])


@pytest.fixture
def bench():
    return Bench()


def make_report_due(worker):
    """As if the last report were a second old."""
    worker._heartbeat._due = 0.0


def test_every_record_of_a_topic_is_counted_once(bench):
    bench.send(100)
    bench.join()
    bench.drain()
    assert bench.store.totals() == bench.recounted()
    assert sum(bench.store.totals().values()) == 100


def test_a_worker_that_starts_latest_counts_only_what_comes_after(bench):
    bench.settings = WorkerSettings(bucket_ms=1000, start="latest")
    bench.send(20)
    worker = bench.join()
    worker.step()
    bench.send(9)
    bench.drain()
    assert sum(bench.store.totals().values()) == 9


def test_a_worker_killed_between_scoring_and_hearing_the_answer_counts_once(bench):
    bench.send(50)
    worker = bench.join()
    worker.step()
    bench.store.lose_replies = 1
    worker.step()
    bench.kill()
    bench.join()
    bench.drain()
    assert bench.store.totals() == bench.recounted()


def test_a_lost_answer_is_no_second_count(bench):
    bench.send(50)
    worker = bench.join()
    worker.step()
    bench.store.lose_replies = 1
    bench.drain()
    assert bench.store.totals() == bench.recounted()


def test_a_zombie_that_still_believes_it_owns_a_partition_writes_nothing(bench):
    bench.send(60)
    zombie = bench.join()
    zombie.step()
    zombie.step()
    fresh = MemorySource(bench.broker, TOPIC, "another group, so nobody tells the zombie")
    other = Worker(
        fresh, bench.store, Models.single(SCORER, Contract(WIDTH)), MemoryDeadLetters(bench.broker, "dl"),
        bench.settings,
        clock=bench.clock, wait=lambda _: None,
    )  # fmt: skip
    other.step()
    other.step()
    before = bench.store.totals()
    assert zombie.step() == 0
    assert bench.store.totals() == before


def test_while_the_store_is_away_partitions_are_paused_and_nothing_is_lost(bench, caplog):
    bench.send(30)
    worker = bench.join()
    worker.step()
    worker.step()
    with outage(bench.store), caplog.at_level(logging.WARNING):
        assert [worker.step() for _ in range(4)] == [0, 0, 0, 0]
        assert bench.workers[0][1]._paused == set(bench.workers[0][1].assigned())
    bench.drain()
    assert bench.store.totals() == bench.recounted()
    assert "nothing is lost" in caplog.text
    assert "counting continues" in caplog.text


@pytest.mark.parametrize("written", [1, 2])
def test_a_store_that_comes_back_older_while_a_batch_is_in_hand_counts_what_it_has_forgotten(bench, written):
    """It went away before the heartbeat, as it is the first that a round asks of it: the batch was not tried yet."""
    for row in ROWS[:40]:
        bench.broker.send(TOPIC, row.tobytes(), partition=0)
    worker = bench.join()
    for _ in range(2 + written):
        worker.step()
    assert worker._in_hand is not None
    with outage(bench.store):
        make_report_due(worker)
        worker.step()
    bench.store.wipe()
    bench.drain()
    assert bench.store.totals() == bench.recounted()
    assert sum(bench.store.totals().values()) == 40


def test_a_store_that_comes_back_while_the_broker_is_away_ends_no_worker_that_had_a_batch_in_hand(bench):
    bench.send(21)
    worker = bench.join()
    for _ in range(2):
        worker.step()
    with outage(bench.store):
        make_report_due(worker)
        worker.step()
    worker._source.logs = lambda *_: (_ for _ in ()).throw(BrokerUnavailableError("no leader yet"))
    for _ in range(3):
        worker.step()
    del worker._source.logs
    worker._ownership._again_at = 0.0
    bench.drain()
    assert bench.store.totals() == bench.recounted()


def test_a_broker_outage_is_ridden_out(bench):
    bench.send(30)
    worker = bench.join()
    worker.step()
    with outage(bench.broker):
        worker.step()
    bench.drain()
    assert bench.store.totals() == bench.recounted()


def test_dead_letters_that_cannot_be_sent_hold_the_batch_back(bench):
    bench.send(10)
    bench.broker.send(TOPIC, b"short", partition=0)
    worker = bench.join()
    worker.step()

    sent = worker._dead_letters.send

    def fails(_rejected):
        worker._dead_letters.send = sent
        bench.broker.away = True
        sent([(bench.broker.records(TOPIC)[0], "x", "y")])

    worker._dead_letters.send = fails
    while not bench.broker.away:
        worker.step()
    assert bench.store.rejected() == {}
    bench.broker.away = False
    bench.drain()
    assert bench.store.rejected() == {"wrong-size": 1}
    assert bench.store.totals() == bench.recounted()


def test_a_wiped_store_is_rebuilt_from_the_topic_and_says_so(bench, caplog):
    bench.send(40)
    bench.join()
    bench.drain()
    bench.store.wipe()
    bench.send(5)
    with caplog.at_level(logging.WARNING):
        bench.drain()
    assert bench.store.totals() == bench.recounted()
    assert "it was wiped; counting again from offset 0" in caplog.text


def test_a_wiped_store_is_rebuilt_as_far_as_the_topic_is_retained(bench, caplog):
    bench.send(42)
    bench.join()
    bench.drain()
    bench.broker.expire(Partition(TOPIC, 1), 10)
    bench.store.wipe()
    bench.send(3)
    with caplog.at_level(logging.WARNING):
        bench.drain()
    assert bench.store.totals() == bench.recounted()
    assert sum(bench.store.totals().values()) == 35
    assert "(10 records are gone)" in caplog.text


def test_records_that_expired_uncounted_are_reported(bench, caplog):
    bench.send(42)
    bench.join()
    bench.workers[0][0].step()
    bench.kill()
    bench.broker.expire(Partition(TOPIC, 1), 10)
    bench.join()
    with caplog.at_level(logging.INFO):
        bench.drain()
    assert "10 records of requests/1 are lost: offsets 0 to 9 expired before they were counted" in caplog.text
    assert bench.store.totals() == bench.recounted()


def test_the_bucket_of_a_partition_only_rises(bench):
    row = ROWS[0].tobytes()
    for second in (5, 9, 7, 6, 12):
        bench.broker.send(TOPIC, row, timestamp_ms=second * 1000, partition=0)
    bench.join()
    bench.drain()
    assert {b: sum(bench.store.counts(b).values()) for b in (5, 6, 7, 9, 12)} == {5: 1, 6: 0, 7: 0, 9: 3, 12: 1}


def test_too_large_a_share_of_bad_records_stops_the_worker_before_the_topic_is_drained():
    bench = Bench(max_bad_share=0.1, bad_window=50, max_records=10, at_bad_share="stop")
    for _ in range(200):
        bench.broker.send(TOPIC, b"short", partition=0)
    bench.join()
    with pytest.raises(BadShareError, match=r"over the limit of 10% of 50"):
        bench.drain()
    assert len(bench.broker.records(f"{TOPIC}.dead-letter")) <= 5


def notices(store):
    return [(a["subject"], a["change"], a["severity"]) for a in reversed(store.history()) if a["kind"] == "bad-records"]


def test_too_large_a_share_of_bad_records_is_told_and_blinds_nobody():
    bench = Bench(bad_window=100, max_records=10)
    bench.send(60)
    for _ in range(60):
        bench.broker.send(TOPIC, b"short", partition=0)
    bench.join()
    bench.drain()
    assert notices(bench.store) == [("requests/0", "raised", "critical")]
    assert sum(bench.store.totals().values()) == 60
    for row in ROWS[:400]:
        bench.broker.send(TOPIC, row.tobytes(), partition=0)
    bench.drain()
    assert notices(bench.store) == [("requests/0", "raised", "critical"), ("requests/0", "resolved", "critical")]
    raised, over = (a["summary"] for a in reversed(bench.store.history()))
    for words in (raised, over):
        assert "records of partition requests/0 cannot be scored, over the limit of 10%: a surge in them" in words


def test_a_restart_forgets_no_bad_record():
    bench = Bench(bad_window=1000, max_records=10)
    for restart in range(4):
        for _ in range(4):
            bench.broker.send(TOPIC, b"short", partition=0)
        bench.join()
        bench.drain()
        bench.kill()
        assert bool(notices(bench.store)) == (restart >= 2)  # 12 of 12: each worker by itself saw 4


def test_a_poll_that_decodes_to_more_than_memory_has_room_for_is_counted_in_parts():
    bench = Bench(max_records=40)
    bench.contract = Contract(WIDTH, limits=Limits(batch_rows=10))
    for n, row in enumerate(ROWS[:120]):
        bench.broker.send(TOPIC, row.tobytes(), key=b"k", partition=n % 3)
    worker = bench.join()
    most = []
    read = worker._counter.read
    worker._counter.read = lambda *a: most.append(r := read(*a)) or r
    bench.drain()
    assert bench.store.totals() == bench.recounted()
    assert sum(bench.store.totals().values()) == 120
    assert max(len(r.rows) for r in most) == 10
    assert any(r.left for r in most)


def test_a_partition_full_of_large_records_leaves_the_others_their_turn():
    bench = Bench(max_records=50)
    bench.contract = Contract(WIDTH, limits=Limits(batch_rows=4))
    for _ in range(60):
        bench.broker.send(TOPIC, ROWS[0].tobytes(), key=b"loud", partition=0)
    for row in ROWS[:10]:
        bench.broker.send(TOPIC, row.tobytes(), key=b"quiet", partition=2)
    worker = bench.join()
    for _ in range(12):
        worker.step()
    counted = {s: sum(n for (t, *_), n in bench.store.totals().items() if t == s) for s in ("loud", "quiet")}
    assert counted["quiet"] == 10
    assert counted["loud"] >= 10
    bench.drain()
    assert bench.store.totals() == bench.recounted()


@pytest.mark.parametrize("name", sorted(corpus.load()))
def test_no_record_that_once_did_harm_ends_the_worker_or_costs_another_record(name):
    bench = Bench()
    bad = corpus.load()[name]
    bench.send(20)
    bench.broker.send(TOPIC, bad.value, key=bad.key, headers=bad.headers, timestamp_ms=bad.timestamp_ms, partition=1)
    bench.send(20)
    bench.join()
    bench.drain()
    good = {k: n for k, n in bench.store.totals().items() if k[0].startswith("model-")}
    assert sum(good.values()) == 40
    fates = sum(bench.store.rejected().values()) + sum(bench.store.totals().values()) - 40
    assert fates == 1
    assert len(bench.broker.records(f"{TOPIC}.dead-letter")) == sum(bench.store.rejected().values())


def test_another_model_s_records_are_passed_over_and_counted_as_such():
    bench = Bench(bad_window=50)
    bench.contract = Contract(WIDTH, model="resnet", other_models="skip")
    for n, row in enumerate(ROWS[:60]):
        model = (("ce_model", b"vit" if n % 2 else b"resnet"),)
        bench.broker.send(TOPIC, row.tobytes(), headers=model, partition=0)
    bench.join()
    bench.drain()
    assert sum(bench.store.totals().values()) == 30
    assert bench.store.health().sums["skipped"] == 30
    assert bench.store.rejected() == {}
    assert bench.broker.records(f"{TOPIC}.dead-letter") == []
    assert notices(bench.store) == []


def test_the_worst_examples_of_a_bucket_are_named(bench):
    for n, row in enumerate(ROWS[:60]):
        bench.broker.send(TOPIC, row.tobytes(), headers=[("ce_id", f"r{n}".encode())], timestamp_ms=5000, partition=0)
    bench.join()
    bench.drain()
    confidences = SCORER.score([r.tobytes() for r in ROWS[:60]]).confidence
    worst = [f"r{n}" for n in confidences.argsort()[:5]]
    assert [e.id for e in bench.store.examples(5, "default")] == worst


def test_a_worker_that_is_closed_counts_the_batch_in_hand_first(bench):
    bench.send(7)
    worker = bench.join()
    worker.step()  # claims
    worker.step()  # polls, and has it scored
    assert bench.store.totals() == {}
    worker.close()
    assert bench.store.totals() == bench.recounted()
    assert sum(bench.store.totals().values()) == 7


def test_a_worker_that_is_closed_while_the_store_is_away_leaves_the_batch_to_the_next_one(bench, caplog):
    bench.send(7)
    worker = bench.join()
    worker.step()
    worker.step()
    with outage(bench.store), caplog.at_level(logging.WARNING):
        worker.close()
    assert "left to the next worker" in caplog.text
    assert bench.broker.members[GROUP] == []
    bench.workers.clear()
    bench.join()
    bench.drain()
    assert bench.store.totals() == bench.recounted()


def test_a_batch_scored_ahead_of_one_that_is_refused_is_thrown_away_and_read_again(bench):
    for row in ROWS[:21]:
        bench.broker.send(TOPIC, row.tobytes(), partition=0)
    worker = bench.join()
    worker.step()
    worker.step()
    other = bench.store.claim({Partition(TOPIC, 0): 0})  # an owner of whom the group knows nothing
    assert other[Partition(TOPIC, 0)].next == 0
    assert worker.step() == 0
    assert worker._in_hand is None
    bench.drain()
    assert bench.store.totals() == bench.recounted()
    assert sum(bench.store.totals().values()) == 21


def test_what_scoring_raises_reaches_the_loop(bench, monkeypatch):
    def broken(_vectors, _magnitude):
        raise RuntimeError("the device is lost")

    bench.send(5)
    bench.join()
    monkeypatch.setattr(SCORER, "score", broken)
    with pytest.raises(RuntimeError, match="the device is lost"):
        bench.drain()
    assert bench.store.totals() == {}


class Seen(Unobserved):
    """Keeps what a worker tells its observer."""

    def __init__(self):
        self.stages, self.batches, self.scores, self.away = [], [], [], []

    def took(self, stage, seconds):
        assert 0 <= seconds < 60
        self.stages.append(stage)

    def counted(self, samples, rejected, seconds):
        assert 0 <= seconds < 60
        self.batches.append((samples, dict(rejected)))

    def scored(self, batch):
        self.scores.append(len(batch.confidence))

    def store_away(self, away):
        self.away.append(away)


def test_each_batch_is_observed_with_what_it_held_and_how_long_its_stages_took(bench):
    bench.send(3)
    bench.broker.send(TOPIC, b"short", partition=0)
    seen = Seen()
    worker = bench.join(observer=seen)
    for _ in range(4):
        worker.step()
    # What comes with the claim is scored in vain: it is read once more, from where the claim says.
    assert (seen.batches, seen.scores) == ([(3, {"wrong-size": 1})], [3, 3])
    assert [seen.stages.count(stage) for stage in ("decode", "score", "commit")] == [2, 2, 1]
    assert seen.stages.count("poll") == 4
    with outage(bench.store):
        make_report_due(worker)
        worker.step()
    bench.drain()
    assert seen.away == [True, False]


def test_a_batch_that_was_begun_ahead_is_not_begun_again(bench):
    """It is scored while the one before it is counted."""
    for row in ROWS[:21]:
        bench.broker.send(TOPIC, row.tobytes(), partition=0)
    seen = Seen()
    bench.join(observer=seen)
    bench.drain()
    assert seen.batches == [(7, {})] * 3
    assert seen.stages.count("decode") == 4


def test_a_worker_reports_under_its_name_at_once_and_then_once_a_second(bench):
    bench.join()
    bench.join(name="another")
    bench.drain()
    assert bench.store.health().workers.keys() == {"worker", "another"}
    reports, report = [], bench.store.report
    bench.store.report = lambda *given: reports.append(given[0]) or report(*given)
    worker = bench.workers[0][0]
    worker.step()
    assert reports == []
    make_report_due(worker)
    worker.step()
    assert reports == ["worker"]


def test_a_poll_waits_as_long_as_the_settings_say_and_only_until_the_batch_in_hand_is_scored():
    bench = Bench(poll_ms=123)
    bench.send(2)
    worker = bench.join()
    asked, read = [], worker._polling.read
    worker._polling.read = lambda *given, **more: asked.append(given[1]) or read(*given, **more)
    timeouts, poll = [], worker._source.poll
    worker._source.poll = lambda *given: timeouts.append(given) or poll(*given)
    worker.step()
    worker.step()
    assert (timeouts, asked) == ([(123, 7)] * 2, [None] * 2)
    scored = worker._in_hand.scored
    worker.step()
    assert asked[2] == scored.done
    assert timeouts[2] == (0, 7)


def test_a_record_without_a_time_is_counted_at_the_time_of_the_store(bench):
    """The clock of the worker is two minutes behind; its first report tells it so."""
    bench.broker.send(TOPIC, ROWS[0].tobytes(), partition=0, timestamp_ms=-1)
    bench.join(clock=lambda: bench.clock() - 120_000)
    bench.drain()
    assert bench.store.pending(-1, 2**50) == [bench.clock() // 1000]


@pytest.mark.parametrize(("why", "said"), [("Redis is full", "Redis is full"), ("", "Redis cannot be reached")])
def test_a_store_that_is_away_is_the_trouble_of_the_worker_until_it_is_back(bench, caplog, why, said):
    worker = bench.join()
    worker.step()
    assert worker.trouble == ""
    report = bench.store.report
    bench.store.report = lambda *_: (_ for _ in ()).throw(StoreUnavailableError(why))
    make_report_due(worker)
    with caplog.at_level(logging.WARNING):
        worker.step()
    assert worker.trouble == said
    assert [r.getMessage() for r in caplog.records] == [f"{why}; partitions are paused, nothing is lost"]
    bench.store.report = report
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert worker.step() == 0
    assert worker.trouble == ""
    assert [r.getMessage() for r in caplog.records] == ["the store answers again, and counting continues"]


def test_while_the_store_is_away_a_worker_polls_without_waiting_and_pauses_for_a_moment_instead(bench):
    pauses, asked = [], []
    worker = bench.join(wait=pauses.append)
    worker.step()
    read = worker._polling.read
    worker._polling.read = lambda *given, **more: asked.append((given[0], more)) or read(*given, **more)
    with outage(bench.store):
        make_report_due(worker)
        worker.step()
        worker._heartbeat._due += 3600
        worker.step()
    assert pauses == [0.2, 0.2]
    assert asked == [(len(worker.owned), {"away": True})]


def test_a_report_tells_of_what_keeps_the_worker_from_reading_and_else_of_what_keeps_it_from_counting(bench):
    worker = bench.join()
    worker.step()
    told = []
    worker._heartbeat.beat = lambda owned, ends, trouble: told.append(trouble.what)
    for counting, reading in (("", ""), ("no leader", ""), ("no leader", "no answer"), ("", "no answer")):
        worker._trouble.what, worker._polling.trouble.what = counting, reading
        make_report_due(worker)
        worker._report()
    assert told == ["", "no leader", "no answer", "no answer"]


def test_what_cannot_be_said_of_a_log_is_logged_with_why(bench, caplog):
    worker = bench.join()
    worker._ownership.accepted = lambda _: (_ for _ in ()).throw(BrokerUnavailableError("no answer"))
    with caplog.at_level(logging.WARNING):
        worker.step()
    (line,) = [r.getMessage() for r in caplog.records]
    assert line.startswith("no answer; the worker tries again")


def test_a_broker_that_cannot_say_where_a_log_goes_on_is_the_trouble_of_the_worker_until_a_batch_is_counted(bench):
    bench.send(10)
    worker = bench.join()
    accepted = worker._ownership.accepted
    worker._ownership.accepted = lambda _: (_ for _ in ()).throw(BrokerUnavailableError("no answer"))
    worker.step()
    assert worker.trouble == "no answer"
    worker._ownership.accepted = accepted
    bench.drain()
    assert worker.trouble == ""


def test_a_worker_that_is_closed_while_the_store_is_away_says_why_and_keeps_what_kafka_knows(bench, caplog):
    bench.send(14)
    worker = bench.join()
    for _ in range(3):
        worker.step()
    offsets = {p: o.next for p, o in worker.owned.items()}
    with outage(bench.store), caplog.at_level(logging.WARNING):
        worker.close()
    (line,) = [r.getMessage() for r in caplog.records if "next worker" in r.getMessage()]
    assert line.endswith("; the current batch is left to the next worker")
    assert not line.startswith(("None", "%s"))
    assert {p: bench.broker.committed[GROUP, p] for p in offsets} == offsets


class Crashes(RuleBasedStateMachine):
    """Any sequence of kills, joins, outages and lost answers leaves the counts as an offline recount has them."""

    @initialize()
    def begin(self):
        self.bench = Bench()
        self.bench.join()

    @precondition(lambda self: not self.bench.broker.away)
    @rule(n=st.integers(1, 30))
    def send(self, n):
        self.bench.send(n)

    @precondition(lambda self: not self.bench.broker.away)
    @rule(bad=st.sampled_from([b"short", b"", ROWS[0].tobytes()[:-4]]))
    def send_bad(self, bad):
        self.bench.broker.send(TOPIC, bad, partition=0)

    @rule(which=st.integers(0, 9))
    def step(self, which):
        if self.bench.workers:
            self.bench.workers[which % len(self.bench.workers)][0].step()

    @precondition(lambda self: len(self.bench.workers) < 4)
    @rule()
    def join(self):
        self.bench.join()

    @precondition(lambda self: self.bench.workers)
    @rule(which=st.integers(0, 9))
    def kill(self, which):
        self.bench.kill(which % len(self.bench.workers))

    @rule()
    def a_second_passes(self):
        for worker, _ in self.bench.workers:
            make_report_due(worker)

    @rule()
    def wipe_the_store(self):
        self.bench.store.wipe()

    @rule()
    def lose_the_next_answer(self):
        self.bench.store.lose_replies = 1

    @rule(away=st.booleans())
    def store(self, away):
        self.bench.store.away = away

    @rule(away=st.booleans())
    def brokers(self, away):
        self.bench.broker.away = away

    @invariant()
    def never_more_than_was_sent(self):
        if hasattr(self, "bench"):
            assert sum(self.bench.store._totals.values()) <= self.bench.sent

    def teardown(self):
        if not hasattr(self, "bench"):
            return
        self.bench.store.away = self.bench.broker.away = False
        self.bench.store.lose_replies = 0
        if not self.bench.workers:
            self.bench.join()
        self.bench.drain()
        assert self.bench.store.totals() == self.bench.recounted()
        bad = len(self.bench.broker.records(TOPIC)) - self.bench.sent
        assert sum(self.bench.store.rejected().values()) == bad
        assert set(self.bench.store.rejected()) <= set(REASONS)


Crashes.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCrashes = Crashes.TestCase
