"""Log lines about records that cannot be scored."""

from __future__ import annotations

import logging

from monitor.counting.telling import Told
from monitor.messages.reasons import ADVICE, REASONS
from monitor.messages.record import Record


def lines(caplog):
    return [r.getMessage() for r in caplog.records]


def test_the_first_of_each_reason_is_told_and_the_rest_are_counted(caplog):
    now = [0.0]
    told = Told(lambda: now[0])
    some = [(Record("t", 2, n, 0, None, b""), "wrong-size", "7 bytes") for n in range(100)]
    with caplog.at_level(logging.WARNING):
        told.rejected([*some, (Record("t", 3, 0, 0, None, b""), "bad-key", "x")])
        now[0] = 59.0
        told.rejected(some)
        assert len(lines(caplog)) == 2
        now[0] = 60.0
        told.rejected(some)
    first, other, again = lines(caplog)
    assert first.startswith("t/2 offset 0: the record cannot be scored and goes to the dead letters (wrong-size:")
    assert "Got: 7 bytes. To do: check ce_dtype and ce_dim" in first
    assert "t/3 offset 0" in other
    assert "199 more were rejected for this reason" in again


def test_faults_that_nobody_foresaw_are_told_by_their_type(caplog):
    told = Told(lambda: 0.0)
    details = ["unforeseen KeyError: a", "unforeseen KeyError: b", "unforeseen TypeError: c"]
    with caplog.at_level(logging.WARNING):
        told.rejected([(Record("t", 0, 0, 0, None, b""), "undecodable", detail) for detail in details])
    assert len(lines(caplog)) == 2


def test_a_line_is_one_line_whatever_a_record_says(caplog):
    with caplog.at_level(logging.WARNING):
        Told(lambda: 0.0).rejected([(Record("t", 0, 0, 0, None, b""), "bad-key", "a\n\x1b[2J\u202e\ud800")])
    assert lines(caplog)[0].isprintable()


def test_a_line_says_where_the_record_is_what_was_got_and_what_to_do(caplog):
    now = [0.0]
    told = Told(lambda: now[0])
    with caplog.at_level(logging.WARNING):
        told.rejected([(Record("t", 2, n, 0, None, b""), "wrong-size", f"{n} bytes") for n in (7, 8, 9)])
        now[0] = 60.0
        told.rejected([(Record("t", 2, n, 0, None, b""), "wrong-size", f"{n} bytes") for n in (10, 11)])
        now[0] = 119.75
        told.rejected([(Record("t", 2, 12, 0, None, b""), "wrong-size", "12 bytes")])
        now[0] = 120.0
        told.rejected([(Record("t", 2, 13, 0, None, b""), "wrong-size", "13 bytes")])
    first, second, third = lines(caplog)
    said = f"the record cannot be scored and goes to the dead letters (wrong-size: {REASONS['wrong-size']})"
    advice = f"To do: {ADVICE['wrong-size']}."
    more = "2 more were rejected for this reason since the last such line."
    assert first == f"t/2 offset 7: {said}. Got: 7 bytes. {advice}"
    assert second == f"t/2 offset 10: {said}. Got: 10 bytes. {advice} {more}"
    assert third == f"t/2 offset 13: {said}. Got: 13 bytes. {advice} {more}"
    told_of = [(r.topic, r.partition, r.offset, r.reason) for r in caplog.records]
    assert told_of == [("t", 2, n, "wrong-size") for n in (7, 10, 13)]


def test_after_a_line_that_counted_the_others_the_next_one_counts_anew(caplog):
    now = [0.0]
    told = Told(lambda: now[0])
    one = [(Record("t", 0, 0, 0, None, b""), "bad-key", "x")]
    with caplog.at_level(logging.WARNING):
        told.rejected(one * 3)
        for now[0] in (60.0, 120.0):
            told.rejected(one)
    assert [" more were rejected" in line for line in lines(caplog)] == [False, True, False]


def test_a_fault_that_nobody_foresaw_is_counted_apart_from_others_of_its_reason(caplog):
    told = Told(lambda: 0.0)
    details = ["unforeseen KeyError: a", "cut short", "unforeseen KeyError: b: c", "cut short"]
    with caplog.at_level(logging.WARNING):
        told.rejected([(Record("t", 0, 0, 0, None, b""), "undecodable", detail) for detail in details])
    assert len(lines(caplog)) == 2


def test_a_reason_that_only_a_decoder_of_ones_own_knows_ends_nothing(caplog):
    with caplog.at_level(logging.WARNING):
        Told(lambda: 0.0).rejected([(Record("t", 0, 5, 0, None, b""), "my-own-reason", "3 bytes")])
    (line,) = lines(caplog)
    assert line.startswith("t/0 offset 5: the record cannot be scored and goes to the dead letters (my-own-reason: ?)")
