"""One suite for the double and for real servers: mutes, acknowledgements, and what mutes keep from receivers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest

from monitor.errors import HandlingError
from monitor.store.connection import connect
from monitor.store.deliveries import DeliveryStore
from monitor.store.handling import LONGEST_MUTE_MS, MOST_MUTES, Mute
from monitor.store.protocol import Store
from monitor.store.redis import RedisStore, handling
from monitor.store.redis.deliveries import RedisDeliveries
from monitor.store.verdicts import Notice
from monitor.testing import FakeClock, MemoryDeliveries, MemoryStore
from tests.redis_servers import SERVERS

_groups, _names = itertools.count(), itertools.count()
TROUBLE = Notice("stalled", "judging", True, "warning", "Nothing has been judged for two minutes.")
HOUR = 3_600_000
UNTIMELY = (
    '{"id": "m", "reason": "r", "author": "a", "begun_ms": 0, "ends_ms": "soon", "kind": "stalled", "stream": null, '
    '"episode": "e", "at_ms": "now"}'
)


@dataclass
class Bench:
    store: Store
    deliveries: DeliveryStore

    def wish(self, begins: int = 0, lasts: int = HOUR, **about) -> Mute:
        """A mute that begins so long from now."""
        now = self.store.now_ms() + begins
        about = about or {"stream": "a"}
        return Mute(f"m{next(_names)}", "deploying", "anna", now, now + lasts, **about)

    def raised(self, subject: str = "judging") -> dict[str, str]:
        self.store.notice(replace(TROUBLE, subject=subject))
        return next(a for a in self.store.alerts() if a["subject"] == subject)


@pytest.fixture(params=["double", *SERVERS])
def bench(request):
    if request.param == "double":
        store = MemoryStore(FakeClock())
        yield Bench(store, MemoryDeliveries(store))
        return
    client = connect(request.getfixturevalue(SERVERS[request.param]))
    group = f"handling-{next(_groups)}"
    yield Bench(RedisStore(client, group), RedisDeliveries(client, group))
    client.close()


def test_at_first_nothing_is_muted_and_nothing_acknowledged(bench):
    found = bench.store.handling()
    assert (found.mutes, found.acknowledged) == ((), {})
    assert abs(found.now_ms - bench.store.now_ms()) < 5000
    assert bench.store.health().mutes == 0


def test_a_mute_is_seen_by_every_process_as_it_was_set_the_earliest_end_first(bench):
    strange = 'the "ends_ms": 5 \\ of ü \N{SNOWMAN}'
    late = bench.store.mute(replace(bench.wish(lasts=2 * HOUR, kind="gap"), reason=strange))
    soon = bench.store.mute(bench.wish(stream=""))
    assert bench.store.handling().mutes == (soon, late)
    assert bench.deliveries.handling().mutes == (soon, late)
    assert bench.store.health().mutes == 2


def test_setting_the_same_mute_again_changes_nothing(bench):
    first = bench.store.mute(bench.wish())
    bench.store.mute(replace(first, reason="another"))
    assert bench.store.handling().mutes == (first,)


def test_a_mute_that_is_ended_is_in_force_no_more_and_is_remembered_with_its_end_and_its_words(bench):
    mute = bench.store.mute(replace(bench.wish(), reason='"ends_ms": 7'))
    assert bench.store.unmute(mute.id)
    found = bench.store.handling()
    assert found.in_force() == ()
    (kept,) = found.mutes
    assert kept.ends_ms <= found.now_ms < mute.ends_ms
    assert replace(kept, ends_ms=mute.ends_ms) == mute
    assert bench.store.health().mutes == 0
    assert not bench.store.unmute(mute.id), "it is over"
    assert not bench.store.unmute("never")


def test_there_are_only_so_many_mutes_in_force_and_an_ended_one_makes_room(bench):
    held = [bench.store.mute(bench.wish()) for _ in range(MOST_MUTES)]
    with pytest.raises(HandlingError, match=f"{MOST_MUTES} mutes are in force"):
        bench.store.mute(bench.wish())
    bench.store.unmute(held[0].id)
    bench.store.mute(bench.wish())
    assert len(bench.store.handling().in_force()) == MOST_MUTES


def test_mutes_that_have_long_been_over_are_forgotten_with_the_next_one(bench):
    bench.store.mute(bench.wish(begins=-100 * HOUR))
    recent = bench.store.mute(bench.wish(begins=-2 * HOUR))
    new = bench.store.mute(bench.wish())
    assert [m.id for m in bench.store.handling().mutes] == [recent.id, new.id]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reason": " "}, "reason"),
        ({"author": ""}, "author"),
        ({"reason": "x" * 501}, "reason"),
        ({"reason": "two\nlines"}, "reason"),
        ({"author": "\udcff"}, "author"),
        ({"stream": None}, "name a stream"),
        ({"alert": "x" * 201}, "alert has 201 characters"),
        ({"ends_ms": 0}, "which is over"),
        ({"ends_ms": 10**30}, "7 days at most"),
    ],
)
def test_a_mute_that_may_not_be_is_refused_in_words_and_leaves_nothing(bench, wrong, said):
    with pytest.raises(HandlingError, match=said):
        bench.store.mute(replace(bench.wish(), **wrong))
    assert bench.store.handling().mutes == ()


def test_the_longest_mute_is_seven_days(bench):
    bench.store.mute(bench.wish(lasts=LONGEST_MUTE_MS))
    with pytest.raises(HandlingError, match="7 days"):
        bench.store.mute(bench.wish(lasts=LONGEST_MUTE_MS + 1))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"id": "m"}', '{"ends_ms": "soon"}', "null", UNTIMELY])
def test_an_entry_that_cannot_be_read_mutes_nothing_and_blinds_nobody(bench, text):
    if isinstance(bench.store, MemoryStore):
        pytest.skip("the double keeps no text that could be unreadable")
    alert = bench.raised()
    kept = bench.store.mute(bench.wish(kind="stalled"))
    bench.store.client.hset(bench.store.keys.mutes, "odd", text)
    bench.store.client.hset(bench.store.keys.acknowledged, alert["fingerprint"], text)
    assert [m.id for m in bench.deliveries.handling().mutes] == [kept.id]
    assert bench.deliveries.handling().annotated(alert) == alert
    assert bench.store.health().mutes == 1


def test_what_a_later_release_adds_to_a_mute_is_left_out(bench):
    if isinstance(bench.store, MemoryStore):
        pytest.skip("the double keeps no text that a later release could have written")
    kept = bench.store.mute(bench.wish())
    text = kept.text().replace("{", '{"colour": "red", ', 1)
    bench.store.client.hset(bench.store.keys.mutes, kept.id, text)
    assert bench.deliveries.handling().mutes == (kept,)


def test_an_acknowledgement_can_be_taken_back(bench):
    alert = bench.raised()
    assert not bench.store.unacknowledge(alert["fingerprint"])
    bench.store.acknowledge(alert["fingerprint"], "anna", "looking")
    assert bench.store.unacknowledge(alert["fingerprint"])
    assert bench.deliveries.handling().annotated(alert) == alert


def test_an_acknowledgement_is_an_annotation_of_this_episode_and_ends_with_it(bench):
    alert = bench.raised()
    reason = 'looking; "quotes" / ü'
    bench.store.acknowledge(alert["fingerprint"], "anna", reason)
    shown = bench.deliveries.handling().annotated(alert)
    assert (shown["acknowledged_by"], shown["acknowledged_reason"]) == ("anna", reason)
    assert shown["acknowledged_at"].endswith("Z")
    assert {k: v for k, v in shown.items() if not k.startswith("acknowledged")} == alert
    bench.store.notice(replace(TROUBLE, firing=False))
    next_one = {**alert, "episode": "another"}
    assert bench.store.handling().annotated(next_one) == next_one


def test_an_acknowledgement_survives_that_the_alert_is_written_anew(bench):
    alert = bench.raised()
    bench.store.acknowledge(alert["fingerprint"], "anna", "looking")
    bench.store.notice(replace(TROUBLE, severity="critical"))
    (now,) = bench.store.alerts()
    assert now["severity"] == "critical"
    assert bench.store.handling().annotated(now)["acknowledged_by"] == "anna"


def test_only_an_alert_that_fires_can_be_acknowledged_and_only_with_a_name_and_a_reason(bench):
    with pytest.raises(HandlingError, match="is not known"):
        bench.store.acknowledge("nothing", "anna", "looking")
    alert = bench.raised()
    for author, reason in (("", "looking"), ("anna", ""), ("anna", "a\x1b[2J")):
        with pytest.raises(HandlingError, match="expected 1 to"):
            bench.store.acknowledge(alert["fingerprint"], author, reason)
    bench.store.notice(replace(TROUBLE, firing=False))
    with pytest.raises(HandlingError, match="fires no more"):
        bench.store.acknowledge(alert["fingerprint"], "anna", "looking")
    assert bench.store.handling().acknowledged == {}


def test_acknowledgements_of_what_is_over_do_not_pile_up(bench, monkeypatch):
    monkeypatch.setattr(handling, "TIDY_AT", 20)
    for n in range(25):
        alert = bench.raised(f"redis/{n}")
        bench.store.acknowledge(alert["fingerprint"], "anna", "looking")
        bench.store.notice(replace(TROUBLE, subject=f"redis/{n}", firing=False))
    assert len(bench.store.handling().acknowledged) <= 20


def test_what_is_kept_from_a_receiver_is_kept_for_each_receiver(bench):
    bench.deliveries.hold_back("webhook", {"a": "1", "b": "2"})
    bench.deliveries.hold_back("webhook", {"c": "3"}, ["a"])
    bench.deliveries.hold_back("pager", {"a": "4"})
    assert bench.deliveries.held_back("webhook") == {"b": "2", "c": "3"}
    assert bench.deliveries.held_back("pager") == {"a": "4"}
    bench.deliveries.hold_back("pager", {}, [])
    assert bench.deliveries.held_back("nobody") == {}


def test_transitions_are_read_on_from_any_of_them_the_earliest_first(bench):
    for _ in range(3):
        bench.store.notice(TROUBLE)
        bench.store.notice(replace(TROUBLE, firing=False))
    ids = [e["id"] for e in reversed(bench.store.history(100))]
    assert [e["id"] for e in bench.store.since("0-0")] == ids
    assert [e["id"] for e in bench.store.since(ids[1], 2)] == ids[2:4]
    assert bench.store.since(ids[-1]) == []
