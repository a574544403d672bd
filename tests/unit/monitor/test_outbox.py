"""The queue between a served model and Kafka: every row is sent, dropped or pending, and never two of them."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.publishing.messages import Encoder
from monitor.publishing.outbox import Outbox

ENCODER = Encoder("here", "")


def offer(box, n, width=2):
    return box.offer(np.ones((n, width), "f4"), "s", (), [0] * n)


def take_all(box):
    return list(iter(lambda: box.take(ENCODER), None))


def test_the_first_rows_that_fit_are_taken_and_the_rest_is_dropped():
    box = Outbox(max_rows=5, max_bytes=10**6)
    assert [offer(box, 3), offer(box, 4), offer(box, 1)] == [3, 2, 0]
    assert (box.pending, box.dropped) == (5, 3)
    assert len(take_all(box)) == 5


def test_bytes_are_bounded_too():
    box = Outbox(max_rows=100, max_bytes=100)
    assert offer(box, 100, width=5) == 5
    assert offer(box, 1, width=1) == 0


def test_what_is_acknowledged_makes_room():
    box = Outbox(max_rows=1, max_bytes=10**6)
    offer(box, 1)
    assert offer(box, 1) == 0
    box.acknowledge(box.take(ENCODER))
    assert offer(box, 1) == 1


def test_the_array_of_the_caller_may_be_overwritten_at_once():
    box, rows = Outbox(10, 10**6), np.ones((2, 3), "f4")
    box.offer(rows, "s", (), [0, 0])
    rows[:] = 7
    assert [m.value for m in take_all(box)] == [np.ones(3, "f4").tobytes()] * 2


def test_a_row_with_a_time_that_no_calendar_holds_is_handed_out_with_why_and_the_others_are_not_hurt():
    box = Outbox(10, 10**6)
    box.offer(np.ones((3, 2), "f4"), "s", (), [0, 10**17, 5])
    good, bad, other = take_all(box)
    assert (good.timestamp_ms, other.timestamp_ms) == (0, 5)
    assert "100000000000000000 ms since 1970" in bad.why
    box.discard(bad)
    assert (box.pending, box.dropped) == (2, 1)


def test_what_is_abandoned_is_dropped_once_whatever_is_answered_later():
    box = Outbox(10, 10**6)
    offer(box, 4)
    taken = [box.take(ENCODER), box.take(ENCODER)]
    assert box.abandon() == 4
    box.acknowledge(taken[0])
    box.put_back(taken[1])
    assert (box.sent, box.dropped, box.pending) == (0, 4, 0)
    assert box.take(ENCODER) is None
    assert box.finished


@given(
    st.lists(st.sampled_from(["offer", "take", "acknowledge", "discard", "put back"]), max_size=60), st.integers(1, 9)
)
def test_every_row_is_sent_dropped_or_pending_whatever_happens(steps, room):
    box, flying, offered = Outbox(room, 10**6), [], 0
    for step in steps:
        if step == "offer":
            offer(box, 2)
            offered += 2
        elif step == "take":
            message = box.take(ENCODER)
            flying += [message] if message else []
        elif flying:
            message = flying.pop(0)
            if step == "acknowledge":
                box.acknowledge(message)
            elif step == "discard":
                box.discard(message)
            else:
                box.put_back(message)
        assert box.sent + box.dropped + box.pending == offered
        assert box.in_flight == len(flying)
        assert 0 <= box.pending <= room
    assert len(take_all(box)) + len(flying) == box.pending


def test_threads_that_offer_at_once_never_exceed_the_bound_or_lose_count():
    box, begin, taken = Outbox(500, 10**6), threading.Barrier(8), [0] * 8

    def run(k):
        begin.wait()
        for _ in range(200):
            taken[k] += offer(box, 1)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sum(taken) == box.pending == 500
    assert box.dropped == 8 * 200 - 500
    assert len(take_all(box)) == 500
