"""One suite for the double and for real servers: what the status page reads, and how much of it at most."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass

import pytest

from monitor.errors import StoreUnavailableError
from monitor.messages.record import Partition
from monitor.store import overviews as module
from monitor.store.connection import connect
from monitor.store.counts import Batch, CountKey, Example
from monitor.store.handling import Mute
from monitor.store.overviews import OverviewStore, RedisOverviews, portions
from monitor.store.partitions import Progress
from monitor.store.protocol import Store
from monitor.store.redis import RedisStore
from monitor.store.verdicts import AlertWrite, Fold, Notice
from monitor.testing import FakeClock, MemoryStore
from monitor.testing.overviews import MemoryOverviews
from tests.redis_servers import SERVERS

P0 = Partition("requests", 0)
STRANGE = ["\0", "\u2028\x1b[2J\n", "größe 😀", "{}", "a:b", "<b>&'\"", "\\ud800", "#header", ""]
_groups = itertools.count()


@dataclass
class Bench:
    store: Store
    overviews: OverviewStore

    def count(self, counts: dict[int, dict[CountKey, int]], **more) -> None:
        claim = self.store.claim({P0: 0})[P0]
        progress = [Progress(P0, claim.epoch, claim.next, claim.next + 1, max(counts))]
        assert self.store.commit(Batch(progress, counts, **more)).status == "ok"

    def judge(self, state: dict[str, str], alerts: tuple[AlertWrite, ...] = (), bucket: int = 5) -> None:
        """Write as the process that judges does."""
        token = self.store.lease("judge", 60_000)
        _, folded = self.store.close(token, bucket)
        assert self.store.apply(Fold(token, bucket, folded, state, alerts)) == "ok"


@pytest.fixture(params=["double", *SERVERS])
def bench(request):
    if request.param == "double":
        store = MemoryStore(FakeClock())
        yield Bench(store, MemoryOverviews(store))
        return
    client = connect(request.getfixturevalue(SERVERS[request.param]))
    store = RedisStore(client, f"overviews-{next(_groups)}")
    yield Bench(store, RedisOverviews(store))
    client.close()


def alert(name: str, at: int, change: str = "raised") -> AlertWrite:
    fields = {"kind": "ood", "status": "firing", "change": change, "episode": "e", "event": f"{name}{change}"}
    return AlertWrite(name, fields, 60_000_000, at)


def test_of_a_group_that_there_is_not_everything_is_empty(bench):
    found = bench.overviews.look(["webhook"])
    assert (found.holder, found.header, found.alerts_known) == ("", "", 0)
    assert (found.partitions, found.streams, found.rejected) == ({}, {}, {})
    assert (list(found.alerts), list(found.history), found.handling.mutes) == ([], [], ())
    assert found.receivers == {"webhook": {}}
    assert abs(found.health.now_ms - bench.store.now_ms()) < 5000
    assert bench.overviews.counts([1, 2], 100) == {1: {}, 2: {}}
    assert bench.overviews.evidence(["a"], 100) == {"a": ""}
    assert bench.overviews.examples("a", [1, 2]) == []


def test_a_look_tells_who_judges_what_was_counted_and_what_was_rejected(bench):
    bench.count({4: {("a", 0, 0): 1, ("b", 0, 6): 2}}, rejected={"wrong-width": 3}, sums={"late": 2})
    bench.judge({"#header": '{"format": 3}'})
    found = bench.overviews.look()
    assert (found.holder, found.header) == ("judge", '{"format": 3}')
    assert set(found.streams) == {"a", "b"}
    assert found.streams == bench.store.streams()
    assert found.partitions == bench.store.partitions()
    assert (found.rejected, found.health.sums["late"]) == ({"wrong-width": 3}, 2)


def test_alerts_come_with_the_latest_transition_first_and_with_what_people_did_about_them(bench):
    bench.judge({}, [alert("f1", 1000), alert("f2", 2000)])
    bench.store.acknowledge("f1", "anna", "looking")
    now = bench.store.now_ms()
    mute = bench.store.mute(Mute("m", "deploying", "anna", now, now + 60_000, stream="a"))
    found = bench.overviews.look()
    assert [a["fingerprint"] for a in found.alerts] == ["f2", "f1"]
    assert [h["fingerprint"] for h in found.history] == ["f2", "f1"]
    assert found.alerts_known == 2
    assert found.handling.in_force() == (mute,)
    assert found.handling.annotated(found.alerts[1])["acknowledged_by"] == "anna"
    assert [a["fingerprint"] for a in bench.overviews.alerts(["f1", "none"])] == ["f1"]


def test_of_very_many_alerts_those_that_changed_last_are_read(bench, monkeypatch):
    monkeypatch.setattr(module, "MOST_ALERTS", 3)
    monkeypatch.setattr("monitor.testing.overviews.MOST_ALERTS", 3)
    bench.judge({}, [alert(f"f{n}", 1000 + n) for n in range(7)])
    found = bench.overviews.look(history=2)
    assert [a["fingerprint"] for a in found.alerts] == ["f6", "f5", "f4"]
    assert (found.alerts_known, len(found.history)) == (7, 2)


def test_an_alert_of_the_monitor_about_itself_is_read_like_any_other(bench):
    bench.store.notice(Notice("stalled", "judging", True, "critical", "Nobody judges."))
    assert [a["subject"] for a in bench.overviews.look().alerts] == ["judging"]


def test_counts_of_buckets_are_what_was_counted_and_an_empty_bucket_is_told_from_one_that_was_not_read(bench):
    cells = {("a:b", 1, 0): 2, ("a:b", 2, 6): 3}
    bench.count({4: cells, 5: {("c", 0, 6): 1}, 7: {("c", 0, 6): 9}})
    assert bench.overviews.counts([7, 6, 5, 4], 100) == {7: {("c", 0, 6): 9}, 6: {}, 5: {("c", 0, 6): 1}, 4: cells}
    assert bench.overviews.counts([7, 6, 5, 4], 2) == {7: {("c", 0, 6): 9}, 6: {}, 5: {("c", 0, 6): 1}}
    assert bench.overviews.counts([4, 6, 5], 1) == {4: cells, 6: {}}  # the first is read whatever its size


def test_a_bucket_of_very_many_counts_is_read_whole_though_in_parts(bench, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 1000)
    counts = {(f"stream-{n}", n % 3, n % 7): n + 1 for n in range(4000)}
    bench.count({4: counts, 5: {("a", 0, 0): 1}})
    assert bench.overviews.counts([5, 4], 100_000) == {5: {("a", 0, 0): 1}, 4: counts}


def test_very_many_streams_are_all_known(bench):
    bench.count({4: {(f"stream-{n}", 0, 0): 1 for n in range(12_000)}})
    assert len(bench.overviews.look().streams) == 12_000


def test_evidence_is_read_in_the_order_given_until_there_is_enough_of_it(bench, monkeypatch):
    monkeypatch.setattr(module, "EVIDENCE_AT_ONCE", 2)
    monkeypatch.setattr("monitor.testing.overviews.EVIDENCE_AT_ONCE", 2)
    bench.judge({f"s:{name}": json.dumps([[None], name * 10]) for name in "abcdef"})
    some = bench.overviews.evidence(["f", "none", "a", "b", "c"], 50)
    assert list(some) == ["f", "none", "a", "b"]
    assert some["none"] == ""
    assert json.loads(some["f"])[1] == "f" * 10
    assert list(bench.overviews.evidence([*"abcdef"], 10_000)) == [*"abcdef"]
    assert list(bench.overviews.evidence([*"abcdef"], 0)) == ["a", "b"]


def test_examples_of_several_buckets_are_merged_with_the_worst_first(bench):
    examples = {
        (4, "a"): [Example(0.5, "r1", 1, P0, 3), Example(0.7, "r2", 1, P0, 4)],
        (5, "a"): [Example(0.6, "r3", 2, P0, 5)],
        (5, "b"): [Example(0.1, "r4", 2, P0, 6)],
    }
    bench.count({4: {("a", 1, 0): 2}, 5: {("a", 2, 0): 1, ("b", 2, 0): 1}}, examples=examples)
    assert [e.id for e in bench.overviews.examples("a", [5, 4, 3])] == ["r1", "r3", "r2"]


def test_names_of_any_characters_come_back_as_they_went(bench):
    counts = {(name, n, 0): n + 1 for n, name in enumerate(STRANGE)}
    examples = {(4, name): [Example(0.5, name, 1, P0, 3)] for name in STRANGE}
    bench.count({4: counts}, examples=examples)
    bench.judge({f"s:{name}": f'"{n}"' for n, name in enumerate(STRANGE)})
    assert bench.overviews.counts([4], 100) == {4: counts}
    assert set(bench.overviews.look().streams) == set(STRANGE)
    assert bench.overviews.evidence(STRANGE, 1000) == {name: f'"{n}"' for n, name in enumerate(STRANGE)}
    assert [bench.overviews.examples(name, [4])[0].id for name in STRANGE] == STRANGE


def test_nothing_is_written(bench):
    bench.count({4: {("a", 0, 0): 1}})
    before = (bench.store.partitions(), bench.store.totals(), bench.store.state(), bench.store.history())
    bench.overviews.look(["webhook"])
    bench.overviews.counts([3, 4, 5], 100)
    bench.overviews.examples("none", [3])
    assert (bench.store.partitions(), bench.store.totals(), bench.store.state(), bench.store.history()) == before
    assert bench.overviews.look(["webhook"]).receivers == {"webhook": {}}


def test_a_double_that_is_away_says_so_like_a_server():
    store = MemoryStore(FakeClock())
    store.away = True
    with pytest.raises(StoreUnavailableError):
        MemoryOverviews(store).look()
    gone = connect("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailableError):
        RedisOverviews(RedisStore(gone, "g")).look()


def test_what_is_read_in_one_go_is_bounded_and_nothing_is_read_twice():
    sizes = {bucket: bucket % 50 for bucket in range(1000)}
    found = portions(sizes, 10_000, 100)
    read = [b for some in found for b in some]
    assert read == [b for b in range(1000) if b % 50][: len(read)]
    assert 10_000 - 50 < sum(sizes[b] for b in read) <= 10_000
    assert max(sum(sizes[b] for b in some) for some in found) <= 100
    assert portions({1: 500, 2: 3, 3: 4}, 100, 100) == [[1]]
    assert portions({1: 0, 2: 0}, 100, 100) == []
