"""Windows of counts against the calibration set: what is told, once, and what no restart or reset may tell."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monitor.config import validate
from monitor.errors import ConfigError
from monitor.judging.drift import DriftSettings, DriftWatch, Reference
from monitor.math.drift import weights_of
from monitor.messages.record import Partition
from monitor.store.counts import Batch
from monitor.store.partitions import Progress
from monitor.testing import FakeClock, MemoryStore

P0 = Partition("embeddings", 0)
SHARES = np.array([0.001, 0.004, 0.005, 0.01, 0.03, 0.05, 0.9])
REFERENCE = Reference(
    "a" * 64, weights_of([5, 25, 50, 100, 250, 500, 5001], 5000), (2500, 1500, 1000), ["cat", "dog", "eel"].__getitem__
)
SETTINGS = DriftSettings(window=2000, size=0.1, budget=400_000, every_ms=1000)


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.epoch = self.store.claim({P0: 0})[P0].epoch
        self.offset = self.bucket = 0
        self.rng = np.random.default_rng(1)
        self.watch = self.watch_of()

    def watch_of(self, reference=REFERENCE):
        return DriftWatch(self.store, lambda _: reference, SETTINGS, np.random.default_rng(2))

    def counts(self, n, stream="s", cells=SHARES, classes=(0.5, 0.3, 0.2), expert=0):
        table = self.rng.multinomial(n, np.outer(classes, cells).ravel() / np.sum(cells)).reshape(len(classes), 7)
        found = {(stream, k, 7 * expert + c): int(m) for (k, c), m in np.ndenumerate(table) if m}
        self.bucket += 1
        batch = Batch([Progress(P0, self.epoch, self.offset, self.offset + n, self.bucket)], {self.bucket: found})
        assert self.store.commit(batch).status == "ok"
        self.offset += n

    def look(self):
        return [(n.subject, n.firing) for n in self.watch.step(self.store.now_ms())]

    def told(self):
        return {a["subject"]: a for a in self.store.alerts() if a["kind"] == "drift" and a["status"] == "firing"}


@pytest.fixture
def world():
    w = World()
    w.counts(10)
    assert w.look() == []  # the first look begins the windows
    return w


def test_traffic_like_the_calibration_set_is_never_told(world):
    for _ in range(20):
        world.counts(2100)
        assert world.look() == []


def test_scores_that_sink_are_told_once_as_information_and_are_over_with_the_next_window(world):
    low = SHARES * [4, 4, 4, 4, 4, 4, 1]
    world.counts(2100, cells=low)
    assert world.look() == [("s", True)]
    world.counts(2100, cells=low)
    assert world.look() == []  # still firing: no second transition
    alert = world.told()["s"]
    assert alert["severity"] == "info"
    assert "of the scores lie in a range that holds 10.0% of the calibration scores" in alert["summary"]
    assert "no surge" in alert["summary"]
    world.counts(2100)
    assert world.look() == [("s", False)]
    assert world.told() == {}


def test_classes_whose_shares_change_are_named(world):
    world.counts(2100, classes=(0.2, 0.3, 0.5))
    assert world.look() == [("s", True)]
    summary = world.told()["s"]["summary"]
    assert "cat 50.0% to 2" in summary
    assert "eel 20.0% to 4" in summary or "eel 20.0% to 5" in summary
    details = json.loads(world.told()["s"]["details"])
    assert float(details["psi_classes"]) > 0.1 > float(details["psi_scores"])


def test_a_certain_but_small_difference_is_not_told(world):
    for _ in range(5):
        world.counts(40_000, classes=(0.48, 0.31, 0.21))
        assert world.look() == []


def test_a_window_that_is_not_full_tells_nothing_and_goes_on(world):
    for _ in range(3):
        world.counts(600, classes=(0, 0, 1))
        assert world.look() == []
    world.counts(600, classes=(0, 0, 1))
    assert world.look() == [("s", True)]


def test_a_window_goes_on_in_another_process(world):
    world.counts(1900, classes=(0, 0, 1))
    world.watch = world.watch_of()
    assert world.look() == []
    world.counts(200, classes=(0, 0, 1))
    assert world.look() == [("s", True)]


def test_streams_are_compared_apart_and_those_of_the_monitor_itself_are_not(world):
    world.counts(10, "other")
    world.counts(10, "__overflow__")
    world.look()
    for name in ("s", "other", "__overflow__"):
        world.counts(2100, name, classes=(0, 0, 1) if name != "other" else (0.5, 0.3, 0.2))
    assert world.look() == [("s", True)]


def test_the_cells_of_other_experts_count_no_input_twice(world):
    world.counts(1500)
    world.counts(1500, expert=1, cells=SHARES[::-1])
    assert world.look() == []
    assert "counts" in json.loads(world.store.windows()["s"])


def test_a_window_that_began_under_another_artifact_begins_again(world):
    world.counts(2100, classes=(0, 0, 1))
    other = Reference("b" * 64, REFERENCE.weights, REFERENCE.class_counts, REFERENCE.class_name)
    world.watch = world.watch_of(other)
    assert world.look() == []
    world.counts(2100)
    assert world.look() == []


def test_counts_that_redis_forgot_begin_the_window_again(world):
    world.counts(2100, classes=(0, 0, 1))
    kept = json.loads(world.store.windows()["s"])
    world.store._totals.clear()
    world.counts(5)
    assert world.look() == []
    assert json.loads(world.store.windows()["s"])["counts"] != kept["counts"]


def test_a_stream_that_is_forgotten_drifts_no_more(world):
    world.counts(2100, classes=(0, 0, 1))
    world.look()
    world.store._totals.clear()
    assert world.look() == [("s", False)]
    assert world.store.windows() == {}


def test_without_class_counts_in_the_artifact_scores_are_compared_alone(world):
    world.watch = world.watch_of(Reference("c" * 64, REFERENCE.weights))
    world.look()
    world.counts(2100, classes=(0, 0, 1))
    assert world.look() == []
    world.counts(2100, cells=SHARES * [5, 5, 5, 5, 5, 5, 1])
    assert world.look() == [("s", True)]


def test_it_looks_no_more_often_than_it_should(world):
    world.watch.step_if_due()
    world.counts(2100, classes=(0, 0, 1))
    assert world.watch.step_if_due() == []
    world.clock.advance(1000)
    assert len(world.watch.step_if_due()) == 1


def test_a_window_too_small_for_its_budget_is_refused_with_what_would_do(tmp_path):
    document = {"model": {"artifact": "a"}, "kafka": {"bootstrap_servers": "h:1", "topic": "t"}}
    assert validate(document | {"drift": {"window": 0}}).drift.window == 0
    with pytest.raises(ConfigError, match="lower requests_per_false_information to 500000"):
        validate(document | {"drift": {"window": 1000}})
