"""Windows of counts against the calibration set: what is told, once, and what no restart or reset may tell."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monitor.config import validate
from monitor.errors import ConfigError
from monitor.judging.drift import DriftSettings, DriftWatch, Reference
from monitor.math.drift import Difference, weights_of
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


# -- the very bounds, and the whole of what is said, by given differences ----------------------------------------------

WINDOW = {(0, 0): 300, (0, 6): 700, (1, 6): 200, (2, 6): 800}  # (class, cell): 2,000 inputs
LOW = "15.0% of the scores lie in a range that holds 10.0% of the calibration scores (PSI 0.30)"
OTHER = "the shares of the predicted classes have changed (PSI 0.25; eel 20.0% to 40.0%, dog 30.0% to 10.0%)"
END = (
    " This is information and no surge. If it lasts, find out what has changed in the traffic; if the change is "
    "wanted, calibrate on present inputs and promote the new artifact."
)


@pytest.fixture
def compared(world, monkeypatch):
    """Puts one window, which differs from the calibration set as it is said to, and gives what is told of it."""

    def put(scores, classes, window=WINDOW, stream="s"):
        monkeypatch.setattr("monitor.judging.drift.compare_cells", lambda *_: Difference(*scores, 7))
        monkeypatch.setattr("monitor.judging.drift.compare_classes", lambda *_: Difference(*classes, 3))
        n, world.bucket = sum(window.values()), world.bucket + 1
        progress = Progress(P0, world.epoch, world.offset, world.offset + n, world.bucket)
        counts = {(stream, *key): count for key, count in window.items()}
        assert world.store.commit(Batch([progress], {world.bucket: counts})).status == "ok"
        world.offset += n
        world.clock.advance(1)
        return world.watch.step(world.store.now_ms())

    return put


@pytest.mark.parametrize(
    ("scores", "classes", "parts"),
    [
        ((0.3, 0.0025), (0.25, 0.0026), [LOW]),
        ((0.3, 0.0026), (0.25, 0.0025), [OTHER]),
        ((0.3, 0.001), (0.25, 0.001), [LOW, OTHER]),
        ((0.3, 0.0026), (0.25, 0.0026), []),
        ((0.0999, 0.001), (0.0999, 0.001), []),
        ((0.1, 0.001), (0.0, 1.0), [LOW.replace("0.30", "0.10")]),
    ],
)
def test_what_is_large_enough_and_certain_enough_is_told_and_nothing_else(compared, world, scores, classes, parts):
    said = [f"The last 2000 inputs differ from what the artifact was calibrated on: {' and '.join(parts)}.{END}"]
    assert [n.summary for n in compared(scores, classes)] == (said if parts else [])
    assert [a["summary"] for a in world.told().values()] == (said if parts else [])


def test_the_numbers_of_a_window_are_given_apart_with_when_it_began(compared, world):
    began = world.clock()
    (notice,) = compared((0.3, 0.0012345), (0.25, 1.0))
    expected = {
        "samples": "2000", "since_ms": str(began), "psi_scores": "0.3000", "p_scores": "0.00123",
        "psi_classes": "0.2500", "p_classes": "1",
    }  # fmt: skip
    assert (notice.kind, notice.subject, notice.severity, notice.details) == ("drift", "s", "info", expected)
    (over,) = compared((0.01, 0.5), (0.0, 1.0))
    assert (over.firing, over.details["since_ms"], over.details["psi_scores"]) == (False, str(began + 1000), "0.0100")
    told = world.store.alerts()[0]
    assert (told["severity"], told["summary"]) == ("info", notice.summary)
    assert json.loads(told["details"]) == over.details


def test_a_window_ends_with_as_many_inputs_as_are_stated(compared):
    assert compared((0.3, 0.0), (0.0, 1.0), {(0, 6): 1999}) == []
    (notice,) = compared((0.3, 0.0), (0.0, 1.0), {(0, 6): 1})
    assert notice.details["samples"] == "2000"


def test_at_most_five_classes_are_named_those_that_changed_most(compared, world):
    seven = Reference("d" * 64, REFERENCE.weights, (100,) * 7)
    world.watch = world.watch_of(seven)
    world.watch.step(world.store.now_ms())
    window = {(0, 6): 800, (1, 6): 600, (2, 6): 250, (3, 6): 200, (4, 6): 100, (5, 6): 40, (6, 6): 10, (9, 6): 700}
    (notice,) = compared((0.0, 1.0), (0.25, 0.0), window)
    named = "0 14.3% to 40.0%, 1 14.3% to 30.0%, 6 14.3% to 0.5%, 5 14.3% to 2.0%, 4 14.3% to 5.0%"
    assert f"(PSI 0.25; {named})" in notice.summary  # a class that the artifact does not know is none of them


def test_it_looks_again_when_the_stated_time_is_over(world):
    looked = []
    world.watch.step = lambda now: looked.append(now) or []
    for seconds in (0, 0.999, 0.001, 0.999, 0.001):
        world.clock.advance(seconds)
        world.watch.step_if_due()
    begin = world.clock() - 2000
    assert looked == [begin, begin + 1000, begin + 2000]
