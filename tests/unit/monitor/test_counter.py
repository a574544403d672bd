"""From the records of a poll to what a batch adds: what is read at once, what counts, where it counts, who is shown."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from monitor.counting.bad_share import Share
from monitor.counting.counter import Counter, Owned, usable_rows
from monitor.counting.models import Model, Models
from monitor.counting.recount import Recount
from monitor.counting.scoring import Scored
from monitor.messages import Contract
from monitor.messages.accepting import Rule
from monitor.messages.limits import Limits
from monitor.messages.record import Partition, Record
from monitor.messages.rows import Rows
from monitor.store.counts import Example
from monitor.store.partitions import Progress

P0, P1, P2 = (Partition("t", n) for n in range(3))
VECTOR = np.ones(2, "<f4").tobytes()
SCORER = SimpleNamespace(experts=("one",), name_expert=lambda expert: ("", "second")[expert])


def counter(examples=0, *, room=1000, accept=(), **more) -> Counter:
    limits = Limits(batch_rows=room, magnitude=8.0)
    return Counter(Models.single(SCORER, Contract(2, limits=limits, accept=accept)), 1000, examples, **more)


def record(offset, at=5000, partition=0, *, key=b"s", value=VECTOR, headers=()):
    return Record("t", partition, offset, at, key, value, headers)


def scored(n, *, confidence=None, predicted=None, cells=None, finite=None, in_range=None, expert=None) -> Scored:
    return Scored(
        np.arange(n, dtype=np.float32) if confidence is None else np.array(confidence, np.float32),
        np.zeros(n, np.int64) if predicted is None else np.array(predicted),
        np.full(n, 6, np.int64) if cells is None else np.array(cells),
        np.ones(n, np.bool_) if finite is None else np.array(finite),
        np.ones(n, np.bool_) if in_range is None else np.array(in_range),
        np.zeros(n, np.int64) if expert is None else np.array(expert),
    )


def counted(records, told=None, *, by=None, now_ms=None, owned=None):
    """The batch of these records and what is rejected, read by partition in the order given."""
    by, chunks = by or counter(), {}
    for r in records:
        chunks.setdefault(Partition(r.topic, r.partition), []).append(r)
    read = by.read(chunks, now_ms)
    owned = {p: Owned(1, chunk[0].offset, -1) for p, chunk in chunks.items()} | (owned or {})
    return by.count(read, told or scored(len(read.rows)), owned)


# -- what is read at once ----------------------------------------------------------------------------------------------


def test_a_poll_that_memory_has_room_for_is_read_whole():
    chunks = {P0: [record(0), record(1)], P1: [record(7, partition=1)]}
    read = counter().read(chunks, 9000)
    assert read.records == chunks
    assert (len(read.rows), read.rejected, read.left, read.now_ms) == (3, [], {}, 9000)
    assert read.spans == {P1: slice(0, 1), P0: slice(1, 3)}
    assert counter().read(chunks).now_ms is None


def test_a_partition_gets_what_the_others_leave_and_the_rest_is_polled_again():
    long, short = [record(10 + n, partition=1) for n in range(12)], [record(n) for n in range(2)]
    read = counter(room=10).read({P0: short, P1: long})
    assert read.records == {P1: long[:8], P0: short}
    assert read.left == {P1: 18}
    assert read.spans == {P1: slice(0, 8), P0: slice(8, 10)}


def test_memory_is_shared_evenly_if_each_partition_has_more_than_its_share():
    chunks = {P0: [record(n) for n in range(9)], P1: [record(n, partition=1) for n in range(9)]}
    read = counter(room=10).read(chunks)
    assert {p: len(chunk) for p, chunk in read.records.items()} == {P1: 5, P0: 5}
    assert read.left == {P1: 5, P0: 5}


def test_what_does_not_divide_evenly_goes_to_those_that_are_read_last():
    chunks = {p: [record(n, partition=p.number) for n in range(9)] for p in (P0, P1, P2)}
    read = counter(room=10).read(chunks)
    assert {p: len(chunk) for p, chunk in read.records.items()} == {P1: 3, P2: 3, P0: 4}


def test_partitions_without_room_take_turns_to_be_first():
    chunks = {p: [record(n, partition=p.number) for n in range(5)] for p in (P0, P1, P2)}
    by = counter(room=2)
    reads = [by.read(chunks) for _ in range(4)]
    assert [list(read.records) for read in reads] == [[P1, P2], [P2, P0], [P0, P1], [P1, P2]]
    assert reads[0].left == {P1: 1, P2: 1, P0: 0}


def test_a_record_that_holds_nothing_to_score_takes_no_room_and_is_read():
    short = [record(0, value=b"short"), record(1), record(2)]
    read = counter(room=2).read({P0: short, P1: [record(5, partition=1, value=b"short")]})
    assert [r.offset for r in read.records[P0]] == [0, 1, 2]
    assert [(r.partition, r.offset, reason) for r, reason, _ in read.rejected] == [
        (1, 5, "wrong-size"),
        (0, 0, "wrong-size"),
    ]
    read = counter(room=1).read({P0: short})
    assert [r.offset for r in read.records[P0]] == [0, 1]
    assert (read.spans, read.left) == ({P0: slice(0, 1)}, {P0: 2})


def test_rows_are_scored_with_the_largest_number_that_the_contract_allows():
    asked = []
    by = Counter(
        Models.single(
            SimpleNamespace(score=lambda *given: asked.append(given)), Contract(2, limits=Limits(magnitude=8.0))
        ),
        1000,
        0,
    )
    by.score(by.read({P0: [record(0)]}))
    assert asked == [([VECTOR], 8.0)]


# -- what counts, and where --------------------------------------------------------------------------------------------


def test_rows_are_counted_by_bucket_stream_class_and_the_cell_of_each_expert():
    records = [record(0), record(1, 5999), record(2, 5999), record(3, 6000, key=b"other"), record(4, 6000)]
    told = scored(5, predicted=[1, 1, 1, 2, 1], cells=[[0, 3], [0, 3], [0, 4], [6, 6], [6, 6]])
    batch, rejected = counted(records, told)
    assert batch.counts == {
        5: {("s", 1, 0): 3, ("s", 1, 10): 2, ("s", 1, 11): 1},
        6: {("other", 2, 6): 1, ("other", 2, 13): 1, ("s", 1, 6): 1, ("s", 1, 13): 1},
    }
    assert (rejected, batch.rejected, batch.sums, batch.examples) == ([], {}, {}, {})


def test_progress_is_from_where_the_partition_was_to_behind_its_last_record_and_its_highest_bucket():
    """The share of bad records goes with it, of about 2,000 records if nothing else is said."""
    records = [record(3, 8000), record(4, value=b"short"), record(7, 6000), record(9, 5000, partition=1)]
    before = Share(1000.0, 10.0)
    owned = {P0: Owned(4, 2, 1, share=before), P1: Owned(5, 9, 30)}
    batch, _ = counted(records, owned=owned)
    first, second = before.after(3, 1, 2000), Share().after(1, 0, 2000)
    assert batch.progress == [
        Progress(P1, 5, 9, 10, 30, second.read, second.bad), Progress(P0, 4, 2, 8, 8, first.read, first.bad),
    ]  # fmt: skip
    assert batch.rejected == {"wrong-size": 1}


def test_the_share_of_bad_records_covers_the_window_that_is_given():
    batch, _ = counted([record(0), record(1, value=b"short")], by=counter(window=10))
    share = Share().after(2, 1, 10)
    assert (batch.progress[0].read, batch.progress[0].bad) == (share.read, share.bad)


def test_nothing_is_late_within_a_partition_and_partitions_do_not_wait_for_each_other():
    records = [record(0, 5000), record(1, 8000), record(2, 6000), record(0, 6000, partition=1)]
    batch, _ = counted(records, scored(4, predicted=[9, 0, 1, 2]))
    assert batch.counts == {6: {("s", 9, 6): 1}, 5: {("s", 0, 6): 1}, 8: {("s", 1, 6): 1, ("s", 2, 6): 1}}
    assert {step.partition: step.bucket for step in batch.progress} == {P0: 8, P1: 6}


def test_no_row_counts_below_the_bucket_that_its_partition_had_reached():
    batch, _ = counted([record(5, 5000)], owned={P0: Owned(1, 5, 7)})
    assert list(batch.counts) == [7]


def test_what_is_not_scored_moves_its_own_partition_on_from_its_own_place_in_the_log():
    records = [record(0, 5000), record(1, 9000, value=b"short"), record(2, 6000), record(0, 5000, partition=1)]
    batch, _ = counted(records, scored(3, predicted=[0, 1, 2]))
    assert batch.counts == {5: {("s", 0, 6): 1, ("s", 1, 6): 1}, 9: {("s", 2, 6): 1}}
    assert {step.partition: step.bucket for step in batch.progress} == {P0: 9, P1: 5}


def test_a_partition_of_which_nothing_is_scored_moves_on_to_the_latest_of_its_records_and_never_back():
    bad = [record(0, 9000, value=b"short"), record(1, 6000, value=b"short")]
    batch, _ = counted(bad)
    assert (batch.counts, batch.progress[0].bucket) == ({}, 9)
    batch, _ = counted(bad, owned={P0: Owned(1, 0, 12)})
    assert batch.progress[0].bucket == 12


def test_the_first_bucket_there_is_counts_as_any_other():
    batch, _ = counted([record(0, 0), record(1, 0, value=b"short"), record(2, 0)], scored(2))
    assert batch.counts == {0: {("s", 0, 6): 2}}


def test_a_record_without_a_time_moves_its_partition_to_now_and_nowhere_if_there_is_no_now():
    bad = [record(0, -1, value=b"short")]
    assert counted(bad, now_ms=9000)[0].progress[0].bucket == 9
    assert counted(bad)[0].progress[0].bucket == -1
    assert counted([*bad, record(1, 7000, value=b"short")])[0].progress[0].bucket == 7


def test_what_accept_leaves_out_is_no_record_of_the_share_and_moves_its_partition_on():
    rule = Rule.of({"ce_type": "response"})
    wanted = (("ce_type", b"response"),)
    records = [record(0, headers=wanted), record(1, 9000), record(2, 9000), record(3, value=b"x", headers=wanted)]
    batch, rejected = counted(records, by=counter(accept=(rule,)))
    share = Share().after(2, 1, 2000)
    assert batch.progress == [Progress(P0, 1, 0, 4, 9, share.read, share.bad)]
    assert (batch.sums, batch.rejected, len(rejected)) == ({"skipped": 2}, {"wrong-size": 1}, 1)


@pytest.mark.parametrize(("ahead_ms", "sums"), [(999, {}), (1000, {"ahead": 2})])
def test_records_are_told_to_be_ahead_of_the_clock_from_a_bucket_on(ahead_ms, sums):
    records = [record(0, 5000), record(1, 5000 + ahead_ms), record(2, 5001)]
    assert counted(records, now_ms=5000)[0].sums == sums


def test_what_is_rejected_is_logged(caplog):
    counted([record(4, value=b"short")])
    assert [r.getMessage()[:60] for r in caplog.records] == [
        "t/0 offset 4: the record cannot be scored and goes to the dead "[:60]
    ]


# -- rows that cannot be counted ---------------------------------------------------------------------------------------


def test_a_record_with_a_row_that_is_no_number_is_rejected_and_the_rows_of_others_keep_their_places():
    records = [record(0, 5000), record(1, 9000, key=b"bad"), record(2, 6000, key=b"other")]
    told = scored(3, confidence=[3, np.nan, 1], predicted=[0, 1, 2], cells=[0, 1, 2], finite=[True, False, True])
    batch, rejected = counted(records, told, by=counter(examples=5))
    assert batch.counts == {5: {("s", 0, 0): 1}, 9: {("other", 2, 2): 1}}
    assert {key: [e.offset for e in found] for key, found in batch.examples.items()} == {
        (5, "s"): [0],
        (9, "other"): [2],
    }
    assert rejected == [(records[1], "non-finite", "NaN or Inf, expected finite numbers from -8 to 8")]
    assert batch.rejected == {"non-finite": 1}


@pytest.mark.parametrize(
    ("finite", "in_range", "reason", "detail"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], "non-finite", "NaN or Inf in 2 of 3 rows, the first 1"),
        ([1, 1, 0, 1], [1, 0, 1, 1], "non-finite", "NaN or Inf in 1 of 3 rows, the first 1"),
        ([1, 1, 1, 1], [1, 0, 1, 0], "out-of-range", "numbers that are too large in 2 of 3 rows, the first 0"),
    ],
)
def test_a_record_of_several_rows_counts_whole_or_not_at_all_and_says_which_are_bad(finite, in_range, reason, detail):
    records = [record(0), record(1)]
    rows = Rows(records, [0, 1, 1, 1], vectors=[VECTOR] * 4)
    told = scored(4, finite=np.array(finite, np.bool_), in_range=np.array(in_range, np.bool_))
    whole, refused = usable_rows(rows, told, 8.0)
    assert whole.tolist() == [0]
    assert refused == [(records[1], reason, f"{detail}, expected finite numbers from -8 to 8")]


def test_all_rows_count_if_each_can_be_scored():
    whole, refused = usable_rows(Rows([record(0)], [0, 0], vectors=[VECTOR] * 2), scored(2), 8.0)
    assert (whole.tolist(), refused) == ([0, 1], [])


# -- examples ----------------------------------------------------------------------------------------------------------


def test_the_most_ood_rows_of_each_stream_and_bucket_are_kept_with_all_that_is_shown_of_them():
    id_header = (("ce_id", b"request-7"),)
    records = [record(n, 5000 + 500 * (n > 2)) for n in range(4)]
    records += [record(7, 6000, 1, headers=id_header), record(8, 6000, 1, key=b"other")]
    # Partition 1 is read first.
    told = scored(6, confidence=[0.5, 4, 3, 1, 2, 1.5], predicted=[7, 8, 0, 1, 2, 3], expert=[1, 0, 0, 0, 0, 0])
    batch, _ = counted(records, told, by=counter(examples=2))
    assert batch.examples == {
        (6, "s"): [Example(0.5, "request-7", 7, P1, 7, "second")],
        (6, "other"): [Example(4.0, "t:1:8", 8, P1, 8, "")],
        (5, "s"): [Example(1.0, "t:0:1", 1, P0, 1, ""), Example(1.5, "t:0:3", 3, P0, 3, "")],
    }


def test_of_rows_that_are_equally_ood_the_earlier_ones_are_kept():
    batch, _ = counted(
        [record(n) for n in range(300)], scored(300, confidence=[2.0, 1.0] * 150), by=counter(examples=3)
    )
    assert [e.offset for e in batch.examples[5, "s"]] == [1, 3, 5]


def test_the_expert_of_a_row_has_the_name_that_its_own_model_gives_it():
    def model(topic, name):
        calibration = SimpleNamespace(tpr=0.95)
        scorer = SimpleNamespace(experts=("one",), calibration=calibration, name_expert=lambda _: name)
        return Model(scorer, Contract(2), name, topics=frozenset({topic}))

    by = Counter(Models([model("t", "first"), model("u", "second")]), 1000, 5)
    records = [record(0), record(1), record(0)._replace(topic="u"), record(1)._replace(topic="u")]
    batch, _ = counted(records, by=by)
    assert {(e.partition.topic, e.offset, e.expert) for found in batch.examples.values() for e in found} == {
        ("t", 0, "first"), ("t", 1, "first"), ("u", 0, "second"), ("u", 1, "second"),
    }  # fmt: skip


def test_nothing_is_kept_if_no_examples_are_wanted():
    assert counted([record(0)])[0].examples == {}


# -- the same without a store ------------------------------------------------------------------------------------------


def recounting(room=1000, **more) -> Recount:
    scorer = SimpleNamespace(experts=("one",), name_expert=str, score=lambda vectors, _: scored(len(vectors)))
    limits = Limits(batch_rows=room)
    return Recount(Counter(Models.single(scorer, Contract(2, limits=limits, **more)), 1000, 0))


def test_what_memory_has_no_room_for_is_counted_in_further_parts():
    recount = recounting(2, accept=(Rule.of({"ce_type": "response"}),))
    wanted = (("ce_type", b"response"),)
    records = [record(n, headers=wanted) for n in range(5)] + [record(5), record(6, headers=wanted), record(7)]
    assert [len(read.rows) for read, _ in recount.add({P0: records})] == [2, 2, 2, 0]
    assert (recount.samples, recount.skipped, recount.records) == (6, 2, 8)
    assert recount.counts == {5: {("s", 0, 6): 6}}


def test_the_bucket_that_a_partition_reached_lasts_whatever_came_of_others_meanwhile():
    recount = recounting()
    for records in ([record(0, 8000)], [record(0, 0, partition=1)], [record(1, 5000)]):
        list(recount.add({Partition("t", records[0].partition): records}))
    assert recount.counts == {8: {("s", 0, 6): 2}, 0: {("s", 0, 6): 1}}
    assert [recount.part(p).bucket for p in (P0, P1, P2)] == [8, 0, -1]
