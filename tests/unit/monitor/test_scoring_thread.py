"""Batches are scored one after the other, whatever their size: on a GPU they share the memory they are joined in."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from monitor.counting.scoring import Scored, ScoringThread


class SharedMemory:
    """A scorer that joins its rows in memory it keeps, as on a GPU, and is slow to read them back."""

    def __init__(self):
        self.rows = np.zeros(100, np.float32)
        self.joined, self.read_on = threading.Event(), threading.Event()

    def score(self, batch):
        self.rows[: len(batch)] = batch
        self.joined.set()
        if len(batch) > 10:
            assert self.read_on.wait(30)
        confidence = self.rows[: len(batch)].copy()
        nothing = np.zeros(len(batch), np.int64)
        good = np.isfinite(confidence)
        return Scored(confidence, nothing, nothing, good, good)


def test_a_small_batch_that_comes_while_a_large_one_is_read_back_leaves_it_as_it_is():
    scorer = SharedMemory()
    thread = ScoringThread(scorer.score)
    thread.begin([1.0] * 3).result(30)
    large = thread.begin([7.0] * 50)
    assert scorer.joined.wait(30)
    while scorer.rows[49] != 7.0:  # the large batch is in the shared memory
        assert not large.done()
    small = thread.begin([2.0] * 5)
    scorer.read_on.set()
    assert set(large.result(30).confidence) == {7.0}
    assert set(small.result(30).confidence) == {2.0}
    thread.close()


def test_what_scoring_raises_is_raised_where_the_scores_are_asked_for_and_the_next_batch_is_scored():
    def score(batch):
        if not batch:
            raise RuntimeError("the device is lost")
        return batch

    thread = ScoringThread(score)
    failed, good = thread.begin([]), thread.begin([1.0])
    with pytest.raises(RuntimeError, match="the device is lost"):
        failed.result(30)
    assert good.result(30) == [1.0]
    thread.close()


def test_every_batch_is_scored_by_the_same_thread_which_is_not_the_caller_s():
    thread = ScoringThread(lambda batch: threading.get_ident())
    seen = {thread.begin([1.0] * n).result(30) for n in (0, 1, 10, 1000)}
    assert len(seen) == 1
    assert threading.get_ident() not in seen
    assert ScoringThread(lambda batch: threading.current_thread().name).begin([]).result(30).startswith("scoring")
    thread.close()


def test_closing_finishes_the_batch_that_is_being_scored_and_drops_those_that_wait():
    begun, dropped = threading.Event(), threading.Event()

    def score(batch):
        begun.set()
        assert dropped.wait(5)
        return batch

    thread = ScoringThread(score)
    first, second = thread.begin([1.0]), thread.begin([2.0])
    second.add_done_callback(lambda _: dropped.set())
    assert begun.wait(30)
    thread.close()
    assert first.result(0) == [1.0]
    assert second.cancelled()
