"""One suite for the double and for real servers: how far each sink is, who may send to it, and what it must be told."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest

from monitor.store.connection import connect
from monitor.store.deliveries import MOST_TOLD, SWITCHED_OFF_MS, DeliveryStore
from monitor.store.protocol import Store
from monitor.store.redis import RedisStore
from monitor.store.redis.deliveries import RedisDeliveries
from monitor.store.verdicts import Notice
from monitor.testing import FakeClock, MemoryDeliveries, MemoryStore
from tests.redis_servers import SERVERS

_groups = itertools.count()
TROUBLE = Notice("stalled", "judging", True, "warning", "Nothing has been judged for two minutes.")
MINUTE = 60_000


@dataclass
class Bench:
    """A store with room for few transitions, and what delivery sees of it."""

    store: Store
    deliveries: DeliveryStore

    def change(self, subject: str = "judging", times: int = 1) -> list[str]:
        """Raise and resolve in turns; ids of the transitions, the earliest first."""
        for _ in range(times):
            notice = replace(TROUBLE, subject=subject)
            if not self.store.notice(notice):
                self.store.notice(replace(notice, firing=False))
        return [e["id"] for e in reversed(self.store.history(times))]


@pytest.fixture(params=["double", *SERVERS])
def bench(request):
    if request.param == "double":
        store = MemoryStore(FakeClock(), history_length=120)
        yield Bench(store, MemoryDeliveries(store))
        return
    client = connect(request.getfixturevalue(SERVERS[request.param]))
    group = f"deliveries-{next(_groups)}"
    yield Bench(RedisStore(client, group, history_length=120), RedisDeliveries(client, group))
    client.close()


def ids(backlog):
    return [e["id"] for e in backlog.events]


def test_a_sink_that_is_switched_on_for_the_first_time_is_told_nothing_old(bench):
    bench.change(times=4)
    bench.deliveries.begin("hook")
    assert bench.deliveries.backlog("hook").events == ()
    new = bench.change()
    bench.deliveries.begin("hook")  # said again while it is on: it changes nothing
    assert ids(bench.deliveries.backlog("hook")) == new


def test_a_sink_switched_on_before_the_first_transition_is_told_it(bench):
    bench.deliveries.begin("hook")
    new = bench.change(times=2)
    backlog = bench.deliveries.backlog("hook")
    assert (ids(backlog), backlog.trimmed, backlog.passed) == (new, False, frozenset())


def test_each_sink_has_a_place_of_its_own(bench):
    for sink in ("hook", "file"):
        bench.deliveries.begin(sink)
    first, second = bench.change(times=2)
    assert bench.deliveries.advance("hook", bench.deliveries.lease("hook", "a", MINUTE), first, "delivered")
    assert ids(bench.deliveries.backlog("hook")) == [second]
    assert ids(bench.deliveries.backlog("file")) == [first, second]


def test_only_the_holder_of_the_lease_moves_the_place_of_a_sink(bench):
    bench.deliveries.begin("hook")
    first, second = bench.change(times=2)
    old = bench.deliveries.lease("hook", "a", MINUTE)
    assert bench.deliveries.lease("hook", "b", MINUTE) == 0
    assert bench.deliveries.lease("hook", "a", 0) == 0
    assert not bench.deliveries.advance("hook", old, first, "delivered")  # given back
    new = bench.deliveries.lease("hook", "b", MINUTE)
    assert new > old
    assert not bench.deliveries.advance("hook", old, first, "delivered")
    assert ids(bench.deliveries.backlog("hook")) == [first, second]
    assert bench.deliveries.advance("hook", new, first, "delivered")


def test_a_place_never_moves_back_and_a_repeat_counts_once(bench):
    bench.deliveries.begin("hook")
    first, second = bench.change(times=2)
    token = bench.deliveries.lease("hook", "a", MINUTE)
    assert bench.deliveries.advance("hook", token, first, "delivered")
    assert bench.deliveries.advance("hook", token, second, "dropped", "it answered 400")
    assert bench.deliveries.advance("hook", token, second, "dropped", "it answered 400")
    assert not bench.deliveries.advance("hook", token, first, "delivered")
    record = bench.deliveries.record("hook")
    assert (record["delivered"], record["dropped"], record["dropped_why"]) == ("1", "1", "it answered 400")
    assert bench.deliveries.backlog("hook").events == ()


def test_a_history_that_was_trimmed_past_a_sink_says_so_and_goes_on(bench):
    bench.deliveries.begin("hook")
    bench.change(times=350)
    backlog = bench.deliveries.backlog("hook")
    assert backlog.trimmed
    token = bench.deliveries.lease("hook", "a", MINUTE)
    assert bench.deliveries.advance("hook", token, backlog.events[0]["id"], "delivered")
    following = bench.deliveries.backlog("hook")
    assert not following.trimmed
    assert ids(following)[0] == backlog.events[1]["id"]
    bench.change(times=350)
    assert bench.deliveries.backlog("hook").trimmed


def pretend_it_was_off_until_now(bench, sink):
    """The last that any process said of the sink is ten minutes and a moment old, and that moment is later than every
    transition so far. The clock of a real server cannot be moved, so the record is."""
    newest = int(bench.deliveries.newest().split("-")[0])
    clock = getattr(bench.store, "_clock", None)
    if isinstance(clock, FakeClock):
        clock.advance(0.01)
    while bench.store.now_ms() <= newest + 2:  # a real clock leaves this millisecond by itself
        pass
    bench.deliveries.note(sink, {"on_ms": str(newest + 1 - SWITCHED_OFF_MS)})


def test_what_was_written_while_nobody_had_the_sink_switched_on_is_passed_over(bench):
    bench.deliveries.begin("hook")
    waiting = bench.change()
    pretend_it_was_off_until_now(bench, "hook")
    missed = bench.change(times=2)
    newest = int(missed[-1].split("-")[0])
    if isinstance(bench.store, MemoryStore):
        bench.store._clock.advance(1)
    while bench.store.now_ms() <= newest:
        pass
    bench.deliveries.begin("hook")
    later = bench.change()
    backlog = bench.deliveries.backlog("hook")
    assert ids(backlog) == [*waiting, *missed, *later]
    assert backlog.passed == set(missed)


def test_a_sink_whose_processes_were_away_is_told_what_was_waiting(bench):
    bench.deliveries.begin("hook")
    waiting = bench.change(times=2)
    pretend_it_was_off_until_now(bench, "hook")
    bench.deliveries.begin("hook")
    backlog = bench.deliveries.backlog("hook")
    assert (ids(backlog), backlog.passed) == (waiting, frozenset())


def test_a_snapshot_holds_what_fires_and_what_was_resolved_lately(bench):
    bench.change("a")
    bench.change("b", times=2)
    bench.change("c", times=3)  # resolved once, and fires again
    seen = bench.deliveries.snapshot(MINUTE)
    assert {a["subject"] for a in seen.firing} == {"a", "c"}
    assert [a["subject"] for a in seen.resolved] == ["b"]
    assert all(a["status"] == "resolved" and a["ended_at"] for a in seen.resolved)
    newest = int(bench.deliveries.newest().split("-")[0])
    if isinstance(bench.store, MemoryStore):
        bench.store._clock.advance(1)
    while bench.store.now_ms() <= newest + 5:
        pass
    later = bench.deliveries.snapshot(2)
    assert ({a["subject"] for a in later.firing}, later.resolved) == ({"a", "c"}, ())


def test_the_newest_transition_has_another_id_after_each_one(bench):
    before = bench.deliveries.newest()
    (first,) = bench.change()
    assert before == "0-0"
    assert bench.deliveries.newest() == first


def test_when_a_sink_was_first_told_of_an_episode_is_remembered_for_every_process(bench):
    asked = bench.deliveries.told("manager", ["a"], note=False)
    assert asked.episodes == {}
    noted = bench.deliveries.told("manager", ["a", "b"], note=True)
    assert noted.since == asked.since <= noted.episodes["a"] == noted.episodes["b"] <= noted.now
    if isinstance(bench.store, MemoryStore):
        bench.store._clock.advance(1)
    while bench.store.now_ms() <= noted.now:
        pass
    again = bench.deliveries.told("manager", ["a", "c"], note=True)
    assert again.episodes["a"] == noted.episodes["a"] < again.episodes["c"]
    assert again.since == asked.since
    assert bench.deliveries.told("other", ["a"], note=False).episodes == {}


def test_of_very_many_episodes_the_oldest_are_forgotten(bench):
    since = bench.deliveries.told("manager", ["first"], note=True).since
    if isinstance(bench.store, MemoryStore):
        bench.store._clock.advance(1)
    while bench.store.now_ms() <= since:
        pass
    for n in range(0, MOST_TOLD, 2000):
        bench.deliveries.told("manager", [f"episode-{k:05d}" for k in range(n, n + 2000)], note=True)
    kept = bench.deliveries.told("manager", ["first", "episode-00000", "episode-09999"], note=False)
    assert set(kept.episodes) == {"episode-00000", "episode-09999"}
    assert kept.since == since
