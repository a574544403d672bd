"""Each sink is told by a thread of its own: in order, at least once, whatever the other sinks and Redis do."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace

import pytest

from monitor.alerts.delivery import Delivery
from monitor.alerts.runners import LONGEST_ASKED, LONGEST_WAIT, Backoff
from monitor.alerts.sink import TAKEN, Outcome
from monitor.alerts.state import StateRunner
from monitor.alerts.transitions import OUTBOX, TransitionRunner
from monitor.config import DeliveryConfig
from monitor.store.verdicts import Notice
from monitor.testing import FakeClock, MemoryDeliveries, MemoryStore, outage
from monitor.testing.receivers import Receiver

TROUBLE = Notice("stalled", "judging", True, "warning", "Nothing has been judged for two minutes.")
AGAIN, REFUSED = Outcome("again", "it answered 500"), Outcome("refused", "it answered 400")


class Scripted:
    """A sink that answers as it is told, and remembers."""

    every, shown = 30.0, "nowhere"

    def __init__(self, mode="transitions", name="scripted"):
        self.name, self.mode = name, mode
        self.answer = lambda alerts: TAKEN
        self.calls, self.taken = [], []

    def send(self, alerts):
        self.calls.append(list(alerts))
        outcome = self.answer(alerts)
        if outcome.status == "taken":
            self.taken.append([(a["subject"], a["change"]) for a in alerts])
        return outcome

    def told(self):
        return [change for call in self.taken for change in call]

    def check(self):
        return ""


class World:
    """A store in memory, and a clock of the threads that moves when told to."""

    def __init__(self, monkeypatch):
        self.clock, self.monotonic = FakeClock(), 1000.0
        self.store = MemoryStore(self.clock)
        self.deliveries = MemoryDeliveries(self.store)
        monkeypatch.setattr(time, "monotonic", lambda: self.monotonic)

    def change(self, subject="judging", **more):
        notice = replace(TROUBLE, subject=subject, **more)
        if not self.store.notice(notice):
            self.store.notice(replace(notice, firing=False))

    def pass_time(self, seconds):
        self.clock.advance(seconds)
        self.monotonic += seconds

    def runner(self, sink, holder="me", **more):
        more.setdefault("uniform", lambda low, high: high)
        kind = TransitionRunner if sink.mode == "transitions" else StateRunner
        arguments = (sink, self.deliveries, holder) if sink.mode == "transitions" else (sink, self.deliveries)
        runner = kind(*arguments, **more)
        runner.turn()
        return runner


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


# -- transitions -------------------------------------------------------------------------------------------------------


def test_each_transition_is_told_once_and_in_order(world):
    sink = Scripted()
    runner = world.runner(sink)
    for subject in "abcba":
        world.change(subject)
    runner.turn()
    runner.turn()
    assert sink.told() == [(s, c) for s, c in zip("abcba", ("raised",) * 3 + ("resolved",) * 2, strict=True)]
    assert all(len(call) == 1 for call in sink.calls)


def test_what_is_not_taken_is_sent_again_after_a_while_and_nothing_overtakes_it(world):
    sink = Scripted()
    runner = world.runner(sink)
    for subject in "ab":
        world.change(subject)
    sink.answer = lambda alerts: AGAIN
    runner.turn()
    runner.turn()  # not yet
    assert [c[0]["subject"] for c in sink.calls] == ["a"]
    world.pass_time(1.1)
    sink.answer = lambda alerts: TAKEN
    runner.turn()
    assert sink.told() == [("a", "raised"), ("b", "raised")]
    assert (runner.status.failed, runner.status.delivered, runner.status.why) == (1, 2, "")


def test_what_is_refused_is_dropped_told_counted_and_kept(world, caplog):
    sink = Scripted()
    runner = world.runner(sink)
    for subject in "ab":
        world.change(subject)
    sink.answer = lambda alerts: REFUSED if alerts[0]["subject"] == "a" else TAKEN
    runner.turn()
    assert sink.told() == [("b", "raised")]
    assert runner.status.dropped == 1
    assert "scripted at nowhere refuses the alert MonitorStalled (a, raised): it answered 400" in caplog.text
    record = world.deliveries.record("scripted")
    assert (record["dropped"], record["dropped_why"]) == ("1", "it answered 400")


@pytest.mark.parametrize("subjects", ["a", "abc"])
def test_a_receiver_that_is_down_loses_nothing_however_long(world, subjects):
    sink = Scripted()
    runner = world.runner(sink)
    for subject in subjects:
        world.change(subject)
    sink.answer = lambda alerts: AGAIN
    for _ in range(300):
        runner.turn()
        world.pass_time(30)
    sink.answer = lambda alerts: TAKEN
    world.pass_time(61)
    runner.turn()
    assert sink.told() == [(subject, "raised") for subject in subjects]
    assert runner.status.dropped == 0


def test_one_transition_that_always_fails_does_not_hold_back_the_others_for_good(world):
    """A name that a sender chose breaks the receiver: it answers 500 to that one, and takes all others."""
    sink = Scripted()
    runner = world.runner(sink)
    sink.answer = lambda alerts: AGAIN if alerts[0]["subject"].startswith("poison") else TAKEN
    for subject in ("poison", *"abc", "poison too", *"defghi"):
        world.change(subject)
    for _ in range(40):
        runner.turn()
        world.pass_time(15)
    assert {subject for subject, _ in sink.told()} == set("abcdefghi")
    assert len(sink.told()) == 9
    assert runner.status.dropped == 2


def test_a_failure_is_blamed_on_a_transition_only_after_several_later_ones_were_taken(world):
    sink = Scripted()
    runner = world.runner(sink)
    for subject in "abcdef":
        world.change(subject)
    sink.answer = lambda alerts: AGAIN
    for _ in range(20):
        runner.turn()
        world.pass_time(15)
    attempts = iter([AGAIN, TAKEN] * 2)  # the receiver comes and goes
    sink.answer = lambda alerts: next(attempts, TAKEN)
    for _ in range(10):
        world.pass_time(61)
        runner.turn()
    assert {subject for subject, _ in sink.told()} == set("abcdef")
    assert runner.status.dropped == 0


def test_another_process_is_let_try_while_this_one_fails(world):
    """Its network may reach the receiver."""
    cut_off, connected = Scripted(), Scripted()
    cut_off.answer = lambda alerts: AGAIN
    first, second = world.runner(cut_off, "first"), world.runner(connected, "second")
    world.change("a")
    first.turn()
    second.turn()
    assert connected.told() == [("a", "raised")]


def test_two_processes_tell_each_transition_once_between_them(world):
    sinks = [Scripted(), Scripted()]
    first, second = (world.runner(sink, str(n)) for n, sink in enumerate(sinks))
    for subject in "abc":
        world.change(subject)
        first.turn()
        second.turn()
    assert sorted(sinks[0].told() + sinks[1].told()) == [("a", "raised"), ("b", "raised"), ("c", "raised")]


def test_a_process_that_was_replaced_while_it_sent_does_not_move_the_place_of_the_sink(world, caplog):
    caplog.set_level(logging.INFO)
    slow, other = Scripted(), Scripted()
    first = world.runner(slow, "slow")
    world.change("a")

    def hang(alerts):
        world.pass_time(60)  # its right to send is over
        world.deliveries.lease("scripted", "other", 60_000)
        return TAKEN

    slow.answer = hang
    first.turn()
    assert (
        "another process sends to scripted now; the alert MonitorStalled (a, raised) may reach it twice" in caplog.text
    )
    world.runner(other, "other").turn()
    assert other.told() == [("a", "raised")]


def test_a_slow_receiver_is_not_told_twice_by_two_processes(world):
    """Its calls take longer than the right to send usually lasts."""
    sinks = [Scripted(), Scripted()]
    config = DeliveryConfig(timeout_seconds=60)
    first, second = (
        Delivery(config, "g", world.deliveries, str(n), sinks=[sink])._runners[0] for n, sink in enumerate(sinks)
    )
    first.turn()
    world.change("a")

    def slow(alerts):
        world.pass_time(59)
        second.turn()
        return TAKEN

    sinks[0].answer = slow
    first.turn()
    assert (len(sinks[0].calls), len(sinks[1].calls)) == (1, 0)


def test_a_receiver_that_asks_to_wait_is_obeyed_within_bounds(world):
    sink = Scripted()
    runner = world.runner(sink)
    world.change("a")
    for asked, waited in ((120.0, 120.0), (10**9, LONGEST_ASKED)):
        sink.answer = lambda alerts, asked=asked: Outcome("again", "it answered 429", asked)
        before = len(sink.calls)
        runner.turn()
        world.pass_time(waited - 1)
        runner.turn()
        assert len(sink.calls) == before + 1
        world.pass_time(2)
    sink.answer = lambda alerts: TAKEN
    runner.turn()
    assert sink.told() == [("a", "raised")]


def test_waits_grow_have_jitter_and_a_bound():
    asked = []
    backoff = Backoff(uniform=lambda low, high: asked.append((low, high)) or high)
    assert [backoff.fail() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert asked[3] == (4, 8)
    for _ in range(100_000):
        assert backoff.fail() == LONGEST_WAIT
    backoff.succeed()
    assert backoff.fail() == 1


def test_a_sink_that_raises_is_tried_again_and_its_error_hides_addresses(world, caplog):
    sink = Scripted()
    runner = world.runner(sink)
    world.change("a")

    def broken(alerts):
        raise RuntimeError("cannot post to https://hooks.example/hunter2")

    sink.answer = broken
    runner.turn()
    assert "it raised RuntimeError: cannot post to https://hooks.example/..." in caplog.text
    assert "hunter2" not in caplog.text
    sink.answer = lambda alerts: TAKEN
    world.pass_time(2)
    runner.turn()
    assert sink.told() == [("a", "raised")]


def test_a_long_failure_is_said_now_and_then_and_so_is_its_end(world, caplog):
    caplog.set_level(logging.INFO)
    sink = Scripted()
    runner = world.runner(sink)
    world.change("a")
    sink.answer = lambda alerts: AGAIN
    for _ in range(120):
        runner.turn()
        world.pass_time(10)
    assert 2 <= caplog.text.count("did not accept the alert MonitorStalled (a, raised): it answered 500") <= 5
    assert world.deliveries.record("scripted")["failing_why"] == "it answered 500"
    assert runner.status.oldest_seconds >= 1100
    sink.answer = lambda alerts: TAKEN
    world.pass_time(61)
    runner.turn()
    assert "scripted at nowhere takes alerts again" in caplog.text
    assert world.deliveries.record("scripted")["failing_since"] == ""
    runner.turn()
    assert runner.status.oldest_seconds == 0


def test_a_history_that_was_trimmed_is_told_and_delivery_goes_on(world, caplog):
    sink = Scripted()
    world.store._history_length = 3
    world.change("a")
    runner = world.runner(sink)
    for subject in "bcdef":
        world.change(subject)
    runner.turn()
    assert sink.told() == [("d", "raised"), ("e", "raised"), ("f", "raised")]
    assert "some alerts were trimmed from the history before scripted took them" in caplog.text
    assert world.deliveries.record("scripted")["trimmed_at"]


# -- without Redis -----------------------------------------------------------------------------------------------------


def direct(subject="redis", status="firing", severity="critical"):
    notice = Notice("stalled", subject, True, severity, "Redis cannot be reached: bring it back.")
    fields = {
        **notice.fields(),
        "fingerprint": notice.fingerprint(""),
        "status": status,
        "started_at": "",
        "ended_at": "",
    }
    return {**fields, "change": "raised" if status == "firing" else "resolved"}


def test_an_alert_is_told_directly_while_redis_is_away(world):
    sink, state = Scripted(), Scripted("state", "state")
    runner, standing = world.runner(sink), world.runner(state)
    with outage(world.store):
        for each in (runner, standing):
            each.tell(direct())
        with pytest.raises(Exception, match="the store cannot be reached"):
            [runner.turn() for _ in range(3)]
        with pytest.raises(Exception, match="the store cannot be reached"):
            standing.turn()
    assert sink.told() == [("redis", "raised")]
    assert state.told() == [("redis", "raised")]


def test_redis_away_resolves_nothing_that_was_firing(world):
    state = Scripted("state")
    runner = world.runner(state)
    world.change("a")
    runner.turn()
    with outage(world.store):
        for _ in range(40):
            world.pass_time(31)
            with pytest.raises(Exception, match="the store cannot be reached"):
                runner.turn()
    assert len(state.taken) >= 41
    assert all(call == [("a", "raised")] for call in state.taken[1:])


def test_an_alert_told_directly_is_posted_again_until_it_is_over_and_has_one_identity_with_that_of_redis(world):
    state = Scripted("state")
    runner = world.runner(state)
    runner.tell(direct())
    runner.turn()
    world.pass_time(31)
    runner.turn()
    world.store.notice(Notice("stalled", "redis", True, "critical", "As Redis has it."))
    runner.turn()
    assert state.taken[-3:] == [[("redis", "raised")]] * 3
    runner.tell(direct(status="resolved"))
    runner.turn()
    assert [a["status"] for a in state.calls[-1]] == ["firing"]  # Redis says so
    world.store.notice(Notice("stalled", "redis", False))
    runner.turn()
    assert [a["status"] for a in state.calls[-1]] == ["resolved"]
    world.pass_time(901)
    runner.turn()
    assert state.calls[-1] == []


def test_a_repeat_of_what_was_told_is_no_second_transition(world):
    sink = Scripted()
    delivery = Delivery(DeliveryConfig(), "g", world.deliveries, "me", sinks=[sink])
    (runner,) = delivery._runners
    for alert in (
        direct(status="resolved"), direct(), direct(), direct(severity="warning"), direct(status="resolved"),
        direct(status="resolved"), direct(),
    ):  # fmt: skip
        delivery.tell(alert)
    runner.turn()
    assert [(c[0]["status"], c[0]["severity"]) for c in sink.calls] == [
        ("firing", "critical"), ("firing", "warning"), ("resolved", "critical"), ("firing", "critical"),
    ]  # fmt: skip


def test_alerts_that_wait_without_redis_are_bounded_and_the_oldest_go_first(world, caplog):
    sink = Scripted()
    runner = world.runner(sink)
    for n in range(OUTBOX + 5):
        runner.tell(direct(subject=str(n)))
    runner.turn()
    assert [subject for subject, _ in sink.told()] == [str(n) for n in range(5, OUTBOX + 5)]
    assert runner.status.dropped == 5
    assert "scripted never gets the alert MonitorStalled (0, raised)" in caplog.text


# -- alerts as they stand ----------------------------------------------------------------------------------------------


def test_everything_is_told_at_once_if_something_changes_and_again_and_again(world):
    state = Scripted("state")
    runner = world.runner(state)
    world.change("a")
    world.pass_time(1)
    runner.turn()
    assert state.taken[-1] == [("a", "raised")]
    calls = len(state.calls)
    for _ in range(60):
        world.pass_time(1)
        runner.turn()
    assert len(state.calls) == calls + 2
    world.change("a")
    runner.turn()
    assert state.taken[-1] == [("a", "resolved")]


def test_a_resolved_alert_is_told_for_a_quarter_of_an_hour(world):
    state = Scripted("state")
    runner = world.runner(state)
    world.change("a")
    world.change("a")
    world.pass_time(890)
    runner.turn()
    assert state.taken[-1] == [("a", "resolved")]
    world.pass_time(60)
    runner.turn()
    assert state.taken[-1] == []


def test_a_change_that_was_not_taken_is_told_within_one_interval_of_the_receivers_return(world):
    state = Scripted("state")
    runner = world.runner(state)
    world.change("a")
    state.answer = lambda alerts: AGAIN
    for _ in range(600):
        runner.turn()
        world.pass_time(1)
    assert runner.status.oldest_seconds >= 599
    state.answer = lambda alerts: TAKEN
    for _ in range(31):
        runner.turn()
        world.pass_time(1)
    assert state.told() == [("a", "raised")] * len(state.told())
    assert state.told()
    assert runner.status.oldest_seconds == 0


def test_a_refused_alert_is_said_once_while_the_reason_stays(world, caplog):
    state = Scripted("state")
    runner = world.runner(state)
    world.change("a")
    state.answer = lambda alerts: REFUSED
    for _ in range(20):
        world.pass_time(31)
        runner.turn()
    assert caplog.text.count("refuses an alert: it answered 400") == 1
    assert world.deliveries.record("scripted")["failing_why"] == "it answered 400"


# -- an alert that is over before anybody could hear of it ------------------------------------------------------------


def status_of(state, subject="a"):
    return [a["status"] for a in state.calls[-1] if a["subject"] == subject]


def test_an_alert_that_is_over_at_once_is_told_as_firing_until_people_can_have_heard_of_it(world):
    state = Scripted("state")
    runner = world.runner(state, keep_seconds=330)
    world.pass_time(1)
    world.change("a")
    world.change("a")  # raised and resolved between two turns
    world.pass_time(1)
    told = {"firing": 0, "resolved": 0}
    for _ in range(1300):
        runner.turn()
        for status in status_of(state):
            told[status] += 1
        world.pass_time(1)
    assert 330 <= told["firing"] <= 361
    assert 900 <= told["resolved"] <= 931
    assert status_of(state) == []


def test_an_alert_that_fired_for_long_is_resolved_at_once(world):
    state = Scripted("state")
    runner = world.runner(state, keep_seconds=330)
    world.change("a")
    for _ in range(12):
        runner.turn()
        world.pass_time(30)
    world.change("a")
    runner.turn()
    assert status_of(state) == ["resolved"]


def test_what_came_and_went_while_the_receiver_was_away_is_told_when_it_is_back(world):
    state = Scripted("state")
    runner = world.runner(state, keep_seconds=330)
    state.answer = lambda alerts: AGAIN
    world.change("a")
    for n in range(120):
        if n == 10:
            world.change("a")
        runner.turn()
        world.pass_time(60)
    state.answer = lambda alerts: TAKEN
    world.pass_time(60)
    runner.turn()
    assert status_of(state) == ["firing"]
    for _ in range(6):
        world.pass_time(60)
        runner.turn()
    assert status_of(state) == ["resolved"]


def test_a_process_that_has_just_started_neither_cuts_short_nor_repeats_what_was_told(world):
    first, second, third = Scripted("state"), Scripted("state"), Scripted("state")
    runner = world.runner(first, keep_seconds=330)
    world.change("a")
    runner.turn()
    world.change("a")
    world.pass_time(200)
    world.runner(second, keep_seconds=330)
    assert status_of(second) == ["firing"]
    world.pass_time(200)
    world.runner(third, keep_seconds=330)
    assert status_of(third) == ["resolved"]


def test_what_was_over_before_the_receiver_was_switched_on_is_not_told_as_firing(world):
    world.change("a")
    world.change("a")
    world.pass_time(60)
    state = Scripted("state")
    world.runner(state, keep_seconds=330)
    assert status_of(state) == ["resolved"]


def test_the_next_alert_of_the_same_kind_is_kept_as_long_as_the_first(world):
    state = Scripted("state")
    runner = world.runner(state, keep_seconds=330)
    for _ in range(2):
        world.change("a")
        runner.turn()
        world.pass_time(400)
        world.change("a")
        runner.turn()
        assert status_of(state) == ["resolved"]
        world.change("a")
        world.change("a")
        runner.turn()
        assert status_of(state) == ["firing"]
        world.pass_time(400)
        runner.turn()


def test_an_alert_that_was_told_without_redis_is_kept_too(world):
    state = Scripted("state")
    runner = world.runner(state, keep_seconds=330)
    fields = {"fingerprint": "f", "subject": "redis", "kind": "stalled", "started_at": "2026-11-24T12:00:00.000Z"}
    with outage(world.store):
        for change in ({"status": "firing", "change": "raised"}, {"status": "resolved", "change": "resolved"}):
            runner.tell({**fields, **change})
            with pytest.raises(Exception, match="the store cannot be reached"):
                runner.turn()
        assert status_of(state, "redis") == ["firing"]
        world.pass_time(331)
        with pytest.raises(Exception, match="the store cannot be reached"):
            runner.turn()
    assert status_of(state, "redis") == ["resolved"]


# -- the threads -------------------------------------------------------------------------------------------------------


class Hanging(Scripted):
    """A sink that never comes back."""

    def __init__(self, mode, name):
        super().__init__(mode, name)
        self.entered, self.release = threading.Event(), threading.Event()

    def send(self, alerts):
        self.entered.set()
        self.release.wait()
        return TAKEN


class Signalling(Scripted):
    """A sink that tells when it was told."""

    def __init__(self, name):
        super().__init__("transitions", name)
        self.came = threading.Event()

    def send(self, alerts):
        self.came.set()
        return super().send(alerts)


def test_a_sink_that_hangs_delays_neither_the_others_nor_the_end():
    store = MemoryStore(FakeClock())
    deliveries = MemoryDeliveries(store)
    hangs, good = [Hanging(m, m) for m in ("transitions", "state", "pulse")], Signalling("good")
    for name in ("transitions", "good"):
        deliveries.begin(name)
    store.notice(TROUBLE)
    delivery = Delivery(DeliveryConfig(), "g", deliveries, "me", sinks=[*hangs, good])
    delivery.start()
    try:
        assert all(sink.entered.wait(10) for sink in hangs)
        assert good.came.wait(10)
        began = time.monotonic()
        delivery.tell(direct())
        assert time.monotonic() - began < 0.5
        began = time.monotonic()
        delivery.close(timeout=1.0)
        assert time.monotonic() - began < 2.0
    finally:
        for h in hangs:
            h.release.set()


def test_what_changed_just_before_the_end_is_told_before_it():
    store, good = MemoryStore(FakeClock()), Signalling("good")
    deliveries = MemoryDeliveries(store)
    deliveries.begin("good")
    delivery = Delivery(DeliveryConfig(), "g", deliveries, "me", sinks=[good])
    store.notice(TROUBLE)
    good.came.clear()
    delivery.start()
    assert good.came.wait(10)
    store.notice(replace(TROUBLE, subject="the last word"))
    delivery.close(timeout=5)
    assert good.told()[-1] == ("the last word", "raised")


def test_a_process_without_receivers_starts_no_thread():
    before = threading.active_count()
    delivery = Delivery(DeliveryConfig(), "g", MemoryDeliveries(MemoryStore()), "me")
    delivery.start()
    delivery.tell(direct())
    assert threading.active_count() == before
    delivery.close()


def test_the_settings_switch_on_the_webhook_alertmanager_and_the_heartbeat():
    with Receiver() as hook, Receiver() as manager, Receiver() as beat:
        config = DeliveryConfig(webhook_url=hook.url, alertmanager_url=manager.url, heartbeat_url=beat.url)
        store = MemoryStore(FakeClock())
        deliveries = MemoryDeliveries(store)
        deliveries.begin("webhook")
        delivery = Delivery(config, "g", deliveries, "me")
        store.notice(TROUBLE)
        delivery.start()
        (told,) = hook.wait(lambda requests: len(requests) == 1)
        assert told.json["alerts"][0]["labels"]["alertname"] == "MonitorStalled"
        posted = manager.wait(lambda requests: any(len(r.json) == 2 for r in requests))[-1]
        assert posted.path == "/api/v2/alerts"
        assert {a["labels"]["alertname"] for a in posted.json} == {"MonitorStalled", "MonitorHeartbeat"}
        beat.wait(lambda requests: len(requests) == 1)
        delivery.close()


# -- information -------------------------------------------------------------------------------------------------------

DRIFT = Notice("drift", "s", True, "info", "The last 20000 inputs differ from what the artifact was calibrated on.")


@pytest.mark.parametrize(("asked_for", "told"), [(False, [("judging", "raised")]), (True, None)])
def test_information_reaches_no_receiver_unless_it_is_asked_for(world, asked_for, told):
    sinks = [Scripted(), Scripted("state", "standing")]
    config = DeliveryConfig(information=asked_for, keep_firing_seconds=0)
    delivery = Delivery(config, "g", world.deliveries, "me", sinks=sinks)
    for runner in delivery._runners:
        runner.turn()
    world.store.notice(DRIFT)
    world.store.notice(TROUBLE)
    world.store.notice(replace(DRIFT, firing=False))
    for runner in delivery._runners:
        world.pass_time(1)
        runner.turn()
    expected = told or [("s", "raised"), ("judging", "raised"), ("s", "resolved")]
    assert sinks[0].told() == expected
    assert sorted(sinks[1].told()) == sorted(e for e in expected if e != ("s", "raised"))
    assert world.deliveries.backlog("scripted").events == ()
    assert len(world.store.history()) == 3
