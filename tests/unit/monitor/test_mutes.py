"""A mute keeps alerts from receivers, and neither their end from those who know of them, nor anything for longer."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from monitor.alerts.sink import TAKEN, Outcome
from monitor.errors import StoreUnavailableError
from monitor.store.handling import Mute
from monitor.testing import outage
from tests.unit.monitor.test_delivery import TROUBLE, Scripted, World

AGAIN, REFUSED = Outcome("again", "it answered 500"), Outcome("refused", "it answered 400")


class Handling(World):
    def mute(self, seconds=600.0, name="m", **about) -> None:
        now = self.store.now_ms()
        about = about or {"kind": "stalled"}
        self.store.mute(Mute(name, "deploying", "anna", now, now + round(1000 * seconds), **about))

    def turns(self, runner, seconds=2.0) -> None:
        for _ in range(2):
            self.pass_time(seconds / 2)
            runner.turn()

    def fingerprint(self, subject="judging") -> str:
        return next(a["fingerprint"] for a in self.store.alerts() if a["subject"] == subject)


@pytest.fixture
def world(monkeypatch):
    return Handling(monkeypatch)


def shown(sink):
    """What the last post of a state sink told: subject and status."""
    return {a["subject"]: a["status"] for a in sink.calls[-1]}


# -- transitions -------------------------------------------------------------------------------------------------------


def test_what_is_muted_is_told_when_its_mute_is_over_if_it_still_fires(world):
    sink = Scripted()
    runner = world.runner(sink)
    world.mute(60)
    world.change("a")
    world.change("b")
    world.turns(runner)
    assert sink.calls == []
    world.change("b")  # came and went
    world.pass_time(61)
    world.turns(runner)
    assert sink.told() == [("a", "raised")]
    world.change("a")
    world.turns(runner)
    assert sink.told() == [("a", "raised"), ("a", "resolved")]
    assert world.deliveries.held_back("scripted") == {}


def test_a_mute_that_somebody_ends_is_over_at_once(world):
    sink = Scripted()
    runner = world.runner(sink)
    world.mute()
    world.change("a")
    world.turns(runner)
    assert world.store.unmute("m")
    world.turns(runner)
    assert sink.told() == [("a", "raised")]


def test_the_end_of_an_alert_that_was_told_before_its_mute_is_told(world):
    sink = Scripted()
    runner = world.runner(sink)
    world.change("a")
    world.turns(runner)
    world.mute()
    world.change("a")
    world.turns(runner)
    assert sink.told() == [("a", "raised"), ("a", "resolved")]


def test_what_changed_under_a_mute_is_told_as_it_stands_after_it(world):
    sink = Scripted()
    runner = world.runner(sink)
    world.change("a")
    world.turns(runner)
    world.mute(60)
    world.store.notice(replace(TROUBLE, subject="a", severity="critical"))
    assert world.store.history(1)[0]["change"] == "updated"
    world.turns(runner)
    assert sink.told() == [("a", "raised")]
    world.pass_time(60)
    world.turns(runner)
    assert sink.told() == [("a", "raised"), ("a", "updated")]
    assert sink.calls[-1][0]["severity"] == "critical"


def test_what_came_and_went_while_the_receiver_was_away_and_the_mute_in_force_is_never_told(world):
    sink = Scripted()
    runner = world.runner(sink)
    world.mute(60)
    world.change("a")
    world.change("b")
    world.change("a")
    world.pass_time(120)  # nobody looked meanwhile
    world.turns(runner)
    assert sink.told() == [("b", "raised")]


def test_another_process_goes_on_with_what_the_first_one_held_back(world):
    sink, other = Scripted(), Scripted()
    runner = world.runner(sink, "one")
    world.mute(60)
    world.change("a")
    world.turns(runner)
    runner.end()
    second = world.runner(other, "two")
    world.pass_time(61)
    world.turns(second)
    assert (sink.told(), other.told()) == ([], [("a", "raised")])


def test_what_is_held_back_and_not_taken_is_sent_again_and_what_is_refused_is_dropped(world, caplog):
    sink = Scripted()
    runner = world.runner(sink)
    world.mute(10)
    for subject in "ab":
        world.change(subject)
    world.turns(runner)
    world.pass_time(10)
    sink.answer = lambda alerts: AGAIN
    world.turns(runner)
    assert world.deliveries.held_back("scripted").keys() == {world.fingerprint("a"), world.fingerprint("b")}
    sink.answer = lambda alerts: REFUSED if alerts[0]["subject"] == "a" else TAKEN
    world.pass_time(60)
    world.turns(runner)
    assert sink.told() == [("b", "raised")]
    assert "refuses the alert MonitorStalled (a, raised)" in caplog.text
    assert world.deliveries.held_back("scripted") == {}


def test_a_mute_of_one_alert_keeps_no_other_one_back(world):
    sink = Scripted()
    runner = world.runner(sink)
    world.change("a")
    world.turns(runner)
    world.mute(alert=world.fingerprint("a"), kind="stalled")
    world.change("b")
    world.change("a")
    world.change("a")
    world.turns(runner)
    assert sink.told() == [("a", "raised"), ("b", "raised"), ("a", "resolved")]


def test_a_receiver_that_is_stuck_is_not_probed_with_what_is_muted(world):
    sink = Scripted()
    runner = world.runner(sink, stuck_seconds=5.0)
    world.change("a")
    world.pass_time(1)
    world.mute(10_000, alert="x" * 16, kind="stalled")
    world.turns(runner)
    sink.answer = lambda alerts: AGAIN if alerts[0]["change"] == "resolved" else TAKEN
    world.change("a")
    world.turns(runner)
    world.mute(10_000, name="all")
    world.change("b")
    for _ in range(20):
        world.turns(runner, 120)
    assert all(call[0]["subject"] == "a" for call in sink.calls)


def test_who_took_an_alert_on_is_told_with_what_follows(world):
    sink = Scripted()
    runner = world.runner(sink)
    world.change("a")
    world.turns(runner)
    world.store.acknowledge(world.fingerprint("a"), "anna", "looking")
    world.store.notice(replace(TROUBLE, subject="a", severity="critical"))
    world.turns(runner)
    assert sink.calls[-1][0]["acknowledged_by"] == "anna"
    assert "acknowledged_by" not in sink.calls[0][0]


# -- alerts as they stand ----------------------------------------------------------------------------------------------


def test_alerts_as_they_stand_lack_what_is_muted_and_was_not_told(world):
    sink = Scripted("state")
    runner = world.runner(sink)
    world.mute(60)
    world.change("a")
    world.turns(runner)
    assert shown(sink) == {}
    world.pass_time(60)
    world.turns(runner)
    assert shown(sink) == {"a": "firing"}


def test_an_alert_that_was_told_is_told_as_over_while_it_is_muted_and_says_why(world):
    sink = Scripted("state")
    runner = world.runner(sink)
    world.change("a")
    world.turns(runner)
    assert shown(sink) == {"a": "firing"}
    world.mute(3000)
    world.turns(runner)
    assert shown(sink) == {"a": "resolved"}
    (alert,) = sink.calls[-1]
    assert "anna: deploying" in alert["muted"]
    world.turns(runner, 1000)
    assert shown(sink) == {}  # it was told often enough
    world.turns(runner, 2000)
    assert shown(sink) == {"a": "firing"}


def test_a_process_that_has_just_started_tells_the_same(world):
    sink, other = Scripted("state"), Scripted("state")
    runner = world.runner(sink)
    world.change("a")
    world.turns(runner)
    world.mute()
    world.change("b")
    second = world.runner(other)
    world.turns(second)
    assert shown(other) == {"a": "resolved"}


@pytest.mark.parametrize("keep", [0.0, 330.0])
def test_what_came_and_went_under_a_mute_is_not_in_what_stands(world, keep):
    sink = Scripted("state")
    runner = world.runner(sink, keep_seconds=keep)
    world.mute(60)
    world.change("a")
    world.turns(runner)
    world.change("a")
    world.turns(runner)
    world.pass_time(61)
    world.turns(runner)
    assert shown(sink) == {}
    world.change("b")
    world.change("b")
    world.turns(runner)
    assert "b" in shown(sink)


def test_an_acknowledgement_is_told_without_waiting_for_the_next_round(world):
    sink = Scripted("state")
    runner = world.runner(sink)
    world.change("a")
    world.turns(runner)
    posts = len(sink.calls)
    world.store.acknowledge(world.fingerprint("a"), "anna", "looking")
    world.turns(runner)
    assert len(sink.calls) == posts + 1
    assert sink.calls[-1][0]["acknowledged_by"] == "anna"


# -- while Redis is away -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["transitions", "state"])
def test_a_mute_that_was_read_holds_while_redis_is_away_and_ends_in_time(world, mode):
    sink = Scripted(mode)
    runner = world.runner(sink)
    world.mute(60)
    world.pass_time(1)
    runner.turn()
    told = {**TROUBLE.fields(), "fingerprint": "f", "episode": "e", "status": "firing", "change": "raised"}
    with outage(world.store):
        runner.tell(told)
        with pytest.raises(StoreUnavailableError):
            runner.turn()
        assert not any(call for call in sink.calls)
        world.monotonic += 61
        with pytest.raises(StoreUnavailableError):
            runner.turn()
        assert [a["fingerprint"] for a in sink.calls[-1]] == ["f"]


def test_what_comes_and_goes_without_redis_under_a_mute_is_not_told(world):
    sink = Scripted()
    runner = world.runner(sink)
    world.mute(60)
    world.pass_time(1)
    runner.turn()
    told = {**TROUBLE.fields(), "fingerprint": "f", "episode": "e", "status": "firing", "change": "raised"}
    for status, change in (("firing", "raised"), ("resolved", "resolved")):
        runner.tell({**told, "status": status, "change": change})
        runner.turn()
    world.pass_time(61)
    runner.turn()
    assert sink.calls == []
    assert time.monotonic() == world.monotonic
