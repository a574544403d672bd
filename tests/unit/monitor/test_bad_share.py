"""The share of bad records of a partition: how it fades, when it is told, and that a restart forgets nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.counting.bad_share import AGAIN_SECONDS, QUIET_SECONDS, BadShares, Share
from monitor.errors import BadShareError
from monitor.messages.record import Partition, Record
from monitor.store.partitions import Progress

P, Q = Partition("t", 0), Partition("t", 1)


class Seconds:
    now = 0.0

    def __call__(self):
        return self.now


class Told:
    """Batches through a :class:`BadShares`, as the worker does it."""

    def __init__(self, **settings):
        self.clock = Seconds()
        self.shares = BadShares(**{"limit": 0.1, "window": 100, "clock": self.clock} | settings)
        self.held, self.epoch = {P: Share(), Q: Share()}, 1

    def batch(self, read, bad, partition=P):
        share = self.held[partition] = self.held[partition].after(read, bad, 100)
        progress = [Progress(partition, self.epoch, 0, read, 0, share.read, share.bad)]
        self.shares.check(progress)
        record = Record(partition.topic, partition.number, 5, 0, None, b"")
        notices = self.shares.notices(progress, [(record, "wrong-width", "x")] * bad)
        for notice in notices:
            self.shares.note_stored(notice)
        return [(n.subject, n.firing, n.severity if n.firing else "") for n in notices]

    def report(self, owned=(P,)):
        notices = self.shares.quiet(dict.fromkeys(owned, self.epoch))
        for notice in notices:
            self.shares.note_stored(notice)
        return [(n.subject, n.firing) for n in notices]


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1)), max_size=20))
def test_recent_records_are_never_more_than_the_window_nor_fewer_than_the_bad_ones(batches):
    share = Share()
    for read, part in batches:
        share = share.after(read, round(read * part), 100)
        assert 0 <= share.bad <= share.read + 1e-9
        assert share.read <= 100 + 1e-9


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 1))
def test_it_does_not_matter_how_records_of_one_kind_are_cut_into_batches(a, b, part):
    once = Share().after(a + b, 0, 100)
    twice = Share().after(a, 0, 100).after(b, 0, 100)
    assert once.read == pytest.approx(twice.read)
    assert Share().after(a, a, 100).bad == pytest.approx(Share().after(a, a, 100).read)


def test_few_records_count_about_one_each():
    share = Share().after(10, 4, 2000)
    assert (round(share.read, 1), round(share.bad, 1)) == (10.0, 4.0)


def test_an_alert_is_raised_above_the_limit_and_resolved_below_half_of_it():
    told = Told()
    assert told.batch(100, 0) == [("t/0", False, "")]  # another worker may have raised one
    assert told.batch(50, 0) == []
    assert told.batch(50, 20) == [("t/0", True, "warning")]
    assert told.batch(70, 0) == []  # 8 %: over half of the limit
    assert told.batch(200, 0) == [("t/0", False, "")]
    assert told.batch(200, 0) == []


def test_a_partition_that_cannot_be_seen_at_all_is_critical_and_stays_so_while_it_fires():
    told = Told()
    assert told.batch(12, 12) == [("t/0", True, "critical")]
    assert told.batch(30, 0) == []
    told.clock.now += AGAIN_SECONDS
    assert told.batch(1, 0) == [("t/0", True, "critical")]


def test_one_bad_sender_is_not_hidden_by_the_others_and_does_not_hide_them():
    told = Told()
    told.batch(100_000, 0, Q)
    assert told.batch(20, 20, P) == [("t/0", True, "critical")]
    assert told.batch(100_000, 0, Q) == []


def test_a_handful_of_bad_records_says_nothing_yet():
    assert Told().batch(9, 9) == []


def test_the_smallest_window_can_raise_an_alert_too():
    shares, share = BadShares(0.1, 10, clock=Seconds()), Share().after(30, 30, 10)
    assert shares.notices([Progress(P, 1, 0, 9, 0, share.read, share.bad)], [])


def test_an_alert_that_goes_on_gets_its_numbers_once_a_minute():
    told = Told()
    raised = [told.batch(50, 30)]
    for _ in range(10):
        told.clock.now += AGAIN_SECONDS / 4
        raised.append(told.batch(50, 30))
    assert [bool(r) for r in raised] == [True, False, False, False, True, False, False, False, True, False, False]


def test_under_a_new_claim_what_fires_is_told_again_and_what_does_not_is_resolved():
    told = Told()
    told.batch(100, 50)
    told.epoch = 2
    assert told.batch(1, 1) == [("t/0", True, "critical")]
    told.batch(1000, 0)
    told.epoch = 3
    assert told.batch(1, 0) == [("t/0", False, "")]


def test_the_summary_says_which_partition_why_and_what_to_do():
    shares = BadShares(0.1, 100, topic="dead", clock=Seconds())
    record = Record("t", 0, 5, 0, None, b"")
    (notice,) = shares.notices([Progress(P, 1, 0, 9, 0, 40.0, 20.0)], [(record, "wrong-width", "x")])
    assert notice.summary.startswith("50% of the last 40 records of partition t/0 cannot be scored")
    assert "model.artifact" in notice.summary
    assert "topic dead" in notice.summary
    assert notice.details["reason"] == "wrong-width"


def said(read, bad, rejected=(), **settings):
    """What is said of a partition of which so many recent records were read and were bad."""
    shares = BadShares(**{"limit": 0.1, "window": 100, "clock": Seconds()} | settings)
    return shares.notices([Progress(P, 1, 0, 9, 0, read, bad)], rejected)


def test_the_numbers_are_given_apart_from_the_sentence_too():
    records = [
        (Record("t", n, 5, 0, None, b""), why, "x") for n, why in [(0, "no-key"), (0, "not-finite"), (1, "no-key")]
    ]
    records.append((Record("t", 0, 6, 0, None, b""), "not-finite", "x"))
    (notice,) = said(40.4, 20.0, records)
    assert notice.details == {"read": "40", "bad": "20", "reason": "not-finite", "offset": "9"}


def test_no_reason_is_named_if_none_of_this_partition_is_known():
    of_another = [(Record("t", 1, 5, 0, None, b""), "wrong-width", "x")]
    (notice,) = said(40.0, 20.0, of_another)
    assert notice.summary.endswith("a surge in them would not be noticed.")
    assert notice.details["reason"] == ""


def test_bounds_belong_to_the_calm_side_but_for_the_least_number():
    assert [n.firing for n in said(100.0, 10.0)] == [], "10 of 100 are not over a limit of 10 %"
    assert [n.firing for n in said(100.0, 10.1)] == [True]
    assert [n.firing for n in said(90.0, 10.0)] == [True], "ten bad records are enough"
    assert [n.firing for n in said(90.0, 9.9)] == [], "fewer say nothing yet"
    assert [n.firing for n in said(100.0, 5.0)] == [False], "half of the limit is over"
    BadShares(0.1, 100, "stop", clock=Seconds()).check([Progress(P, 1, 0, 9, 0, 100.0, 10.0)])


def test_an_alert_goes_on_above_half_of_the_limit_and_gets_its_numbers():
    told = Told()
    told.batch(50, 20)
    told.clock.now += AGAIN_SECONDS
    assert told.batch(70, 0) == [("t/0", True, "warning")]  # 8 %


def test_what_is_over_is_over_for_the_alert_that_was_raised():
    (raised,), (over,) = said(40.0, 20.0), said(100.0, 1.0)
    assert (raised.kind, raised.subject) == (over.kind, over.subject) == ("bad-records", "t/0")


def test_the_error_says_all_three_ways_out():
    shares = BadShares(0.1, 100, "stop", clock=Seconds())
    with pytest.raises(BadShareError) as raised:
        shares.check([Progress(P, 1, 0, 9, 0, 100.0, 50.0)])
    assert str(raised.value) == (
        "t/0: 50 of the last 100 records cannot be scored, over the limit of 10% of 100: this batch was not taken. "
        "Check the publisher and the artifact, raise dead_letters.max_share, or set dead_letters.at_limit to continue"
    )


def test_stop_ends_the_worker_before_the_batch_is_written_and_tells_nothing():
    told = Told(at_limit="stop")
    assert told.batch(50, 9) == []
    with pytest.raises(BadShareError, match=r"t/0: 1\d of the last .* over the limit of 10% of 100.*at_limit"):
        told.batch(50, 9)


def test_the_alert_of_a_partition_that_brings_nothing_more_is_over():
    told = Told()
    told.batch(100, 50)
    told.clock.now += QUIET_SECONDS - 1
    assert told.report() == []
    told.clock.now += 1
    assert told.report() == [("t/0", False)]
    assert told.report() == []
    assert told.batch(10, 5) == [("t/0", True, "warning")]  # and begins again with the next bad records


def test_what_another_worker_told_of_a_quiet_partition_is_over_too():
    told = Told()
    assert told.report((P, Q)) == []  # just claimed
    told.clock.now += QUIET_SECONDS
    told.batch(10, 0, Q)
    assert told.report((P, Q)) == [("t/0", False)]
    told.epoch = 2
    assert told.report((P,)) == []


def test_a_worker_that_stops_at_the_limit_resolves_nothing():
    told = Told(at_limit="stop")
    told.report()
    told.clock.now += 2 * QUIET_SECONDS
    assert told.report() == []


def test_a_partition_that_goes_on_bringing_bad_records_stays_told_however_long():
    told = Told()
    told.batch(100, 50)
    for _ in range(30):
        told.clock.now += QUIET_SECONDS / 10
        told.batch(1, 1)
        assert told.report() == []
