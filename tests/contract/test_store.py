"""One suite for the store's double and for real servers: what exactly-once counting and alerting stand on."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from monitor.errors import StoreError, StoreUnavailableError
from monitor.messages.record import Partition
from monitor.store.connection import connect
from monitor.store.counts import FORGOTTEN, OVERFLOW, Batch, Example
from monitor.store.keys import Keys
from monitor.store.partitions import Move, Progress, Seen
from monitor.store.redis import RedisStore
from monitor.store.verdicts import AlertWrite, Fold, Notice, Promotion
from monitor.testing import FakeClock, MemoryStore
from tests.redis_servers import SERVERS

P0, P1 = Partition("requests", 0), Partition("requests", 1)
_groups = itertools.count()


@pytest.fixture(params=["double", *SERVERS])
def store(request):
    if request.param == "double":
        yield MemoryStore(FakeClock())
        return
    client = connect(request.getfixturevalue(SERVERS[request.param]))
    yield RedisStore(client, f"group-{next(_groups)}")
    client.close()


@pytest.fixture(params=["double", *SERVERS])
def limited_store(request):
    """A store that knows at most so many streams by name."""
    if request.param == "double":
        yield lambda limit: MemoryStore(FakeClock(), streams=limit)
        return
    client = connect(request.getfixturevalue(SERVERS[request.param]))
    yield lambda limit: RedisStore(client, f"group-{next(_groups)}", streams=limit)
    client.close()


def batch(epoch, start, following, counts, *, partition=P0, **more):
    bucket = max(counts, default=-1)
    return Batch([Progress(partition, epoch, start, following, bucket)], counts, **more)


CELLS = {("a:b", 1, 0): 2, ("a:b", 2, 6): 3}


def test_a_first_claim_begins_where_told_and_a_later_one_where_the_counts_end(store):
    first = store.claim({P0: 7})[P0]
    assert (first.next, first.bucket, first.fresh) == (7, -1, True)
    assert store.commit(batch(first.epoch, 7, 12, {4: CELLS})).status == "ok"
    again = store.claim({P0: 0})[P0]
    assert (again.next, again.bucket, again.fresh) == (12, 4, False)
    assert again.epoch > first.epoch


def test_where_windows_began_is_kept_by_stream_until_the_stream_is_gone(store):
    assert store.windows() == {}
    store.keep_windows({"a:b": "1", "c": "2"})
    store.keep_windows({"a:b": "3"}, gone=["c", "never"])
    assert store.windows() == {"a:b": "3"}
    store.keep_windows({})
    assert store.windows() == {"a:b": "3"}


def test_totals_of_many_streams_are_all_read(store):
    first = store.claim({P0: 0})[P0]
    counts = {(f"stream-{n}", n % 3, n % 7): n + 1 for n in range(2500)}
    assert store.commit(batch(first.epoch, 0, 9, {4: counts})).status == "ok"
    assert store.totals() == counts


def test_the_share_of_bad_records_comes_back_with_the_next_claim(store):
    first = store.claim({P0: 0, P1: 0})
    assert (first[P0].read, first[P0].bad) == (0.0, 0.0)
    moves = [Progress(P0, first[P0].epoch, 0, 9, -1, 8.25, 3.125), Progress(P1, first[P1].epoch, 0, 1, -1, 1.0, 0.0)]
    assert store.commit(Batch(moves)).status == "ok"
    assert store.commit(Batch([replace(moves[0], read=99.0, bad=99.0)])).status == "repeat"
    again = store.claim({P0: 0, P1: 0})
    assert [(again[p].read, again[p].bad) for p in (P0, P1)] == [(8.25, 3.125), (1.0, 0.0)]


def test_a_claim_is_dated_by_the_clock_of_the_store(store):
    before = store.now_ms()
    store.claim({P0: 7})
    assert before <= store.partitions()[P0].at_ms <= store.now_ms()


def test_the_topic_is_noted_with_the_first_claim_of_a_partition_and_not_changed_by_later_ones(store):
    assert store.claim({P0: 7}, "a", 3)[P0].topic_ids == ("a",)
    assert store.claim({P0: 7}, "b", 3)[P0].topic_ids == ("a",)
    assert store.claim({P1: 0}, "", 3)[P1].topic_ids == ()


def test_the_number_of_partitions_is_the_one_of_the_first_claim(store):
    assert store.partitions_at_start("requests") == 0
    store.claim({P1: 0}, "a", 3)
    store.claim({P0: 0}, "a", 6)
    assert store.partitions_at_start("requests") == 3
    assert store.partitions_at_start("other") == 0


def test_a_move_sets_offset_and_topic_together_and_remembers_what_was_left(store):
    epoch = store.claim({P0: 7}, "a", 3)[P0].epoch
    move = Move(P0, epoch, 7, 2, "b", (4, 6))
    assert store.move(move) is True
    assert store.move(move) is True  # a retry, since the answer was not heard
    again = store.claim({P0: 0}, "b", 3)[P0]
    assert (again.next, again.topic_ids, again.skip) == (2, ("b", "a"), (4, 6))
    assert store.move(Move(P0, again.epoch, 2, 5, "c")) is True
    last = store.claim({P0: 0})[P0]
    assert (last.next, last.topic_ids, last.skip) == (5, ("c", "b", "a"), (0, 0))


def test_equal_partitions_of_two_topics_have_offsets_ids_skips_and_owners_of_their_own(store):
    other = Partition("requests-2", 0)
    store.claim({P0: 0}, "id-1", 3)
    store.claim({other: 7}, "id-2", 5)
    assert (store.partitions_at_start("requests"), store.partitions_at_start("requests-2")) == (3, 5)
    assert store.commit(batch(1, 0, 4, {3: {("s", 0, 6): 4}})).status == "ok"
    assert store.commit(batch(1, 7, 9, {3: {("s", 0, 6): 2}}, partition=other)).status == "ok"
    assert store.move(Move(other, 1, 9, 2, "id-3", (3, 5)))
    assert {p: s.next for p, s in store.partitions().items()} == {P0: 4, other: 2}
    again = store.claim({P0: 0})[P0]
    assert (again.epoch, again.next, again.topic_ids, again.skip) == (2, 4, ("id-1",), (0, 0))
    assert store.commit(batch(1, 2, 3, {3: {("s", 0, 6): 1}}, partition=other)).status == "ok"  # still its owner
    assert store.claim({other: 0})[other].topic_ids == ("id-3", "id-2")
    assert sum(store.totals().values()) == 7


def test_a_move_by_an_old_owner_or_from_another_offset_is_refused(store):
    old = store.claim({P0: 7}, "a", 3)[P0].epoch
    new = store.claim({P0: 7}, "a", 3)[P0].epoch
    assert store.move(Move(P0, old, 7, 2, "b")) is False
    assert store.move(Move(P0, new, 8, 2, "b")) is False
    assert store.move(Move(P1, new, 0, 2, "b")) is False
    claim = store.claim({P0: 0})[P0]
    assert (claim.next, claim.topic_ids) == (7, ("a",))


def test_partitions_that_a_topic_made_again_does_not_have_are_gone_until_somebody_claims_them(store):
    other = Partition("requests-2", 1)
    store.claim({P0: 7, P1: 7}, "a", 2)
    store.claim({other: 0}, "x", 2)
    store.note_topic("requests", "a", 1)  # an answer of before the topic grew: it never shrinks
    assert set(store.partitions()) == {P0, P1, other}
    store.note_topic("requests", "b", 2)
    assert set(store.partitions()) == {P0, P1, other}
    store.note_topic("requests", "b", 1)
    store.note_topic("requests", "b", 1)
    assert set(store.partitions()) == {P0, other}
    assert store.claim({P1: 0}, "b", 2)[P1].next == 7  # nothing is forgotten
    assert set(store.partitions()) == {P0, P1, other}


def test_only_so_many_topics_that_were_left_are_remembered(store):
    claim = store.claim({P0: 0}, "t0", 3)[P0]
    for n in range(20):
        assert store.move(Move(P0, claim.epoch, n, n + 1, f"t{n + 1}"))
    assert store.claim({P0: 0})[P0].topic_ids == tuple(f"t{n}" for n in range(20, 12, -1))


def test_counts_and_offsets_are_written_together(store):
    epoch = store.claim({P0: 0})[P0].epoch
    store.commit(batch(epoch, 0, 5, {4: CELLS, 5: {("c", 0, 6): 1}}, rejected={"wrong-width": 1}))
    assert store.counts(4) == CELLS
    assert store.totals() == {**CELLS, ("c", 0, 6): 1}
    assert store.rejected() == {"wrong-width": 1}
    assert set(store.streams()) == {"a:b", "c"}
    assert all(abs(at - store.now_ms()) < 60_000 for at in store.streams().values())
    state = store.partitions()[P0]
    assert (state.next, state.bucket) == (5, 5)
    assert abs(state.at_ms - store.now_ms()) < 60_000


def test_names_of_any_characters_come_back_as_they_went(store):
    names = ["\0", "\0a:b", "\u2028\x1b[2J\n", "größe 😀", "{}", "~__overflow__", '"\\', "\\ud800", "None", "#header"]
    counts = {(name, n, 0): n + 1 for n, name in enumerate(names)}
    examples = {(4, name): [Example(0.5, name, 1, P0, 3)] for name in names}
    epoch = store.claim({P0: 0})[P0].epoch
    assert store.commit(batch(epoch, 0, 5, {4: counts}, examples=examples)).status == "ok"
    assert store.counts(4) == store.totals() == counts
    assert set(store.streams()) == set(names)
    assert [store.examples(4, name)[0].id for name in names] == names


def test_a_batch_sent_twice_is_counted_once(store):
    epoch = store.claim({P0: 0})[P0].epoch
    assert store.commit(batch(epoch, 0, 5, {4: CELLS})).status == "ok"
    assert store.commit(batch(epoch, 0, 5, {4: CELLS})).status == "repeat"
    assert store.totals() == CELLS


def test_offsets_below_the_stored_one_are_refused_and_nothing_is_written(store):
    epoch = store.claim({P0: 0})[P0].epoch
    store.commit(batch(epoch, 0, 5, {4: CELLS}))
    reply = store.commit(batch(epoch, 3, 9, {4: CELLS}))
    assert (reply.status, reply.partition, reply.why) == ("refused", P0, "moved")
    assert store.totals() == CELLS
    assert store.partitions()[P0].next == 5


def test_offsets_above_the_stored_one_are_refused_as_records_would_be_lost(store):
    epoch = store.claim({P0: 0})[P0].epoch
    assert store.commit(batch(epoch, 3, 9, {4: CELLS})).why == "moved"
    assert store.totals() == {}


def test_an_old_owner_is_fenced_even_at_the_right_offset(store):
    old = store.claim({P0: 0})[P0].epoch
    new = store.claim({P0: 0})[P0].epoch
    assert store.commit(batch(old, 0, 5, {4: CELLS})).why == "fenced"
    assert store.commit(batch(new, 0, 5, {4: CELLS})).status == "ok"


def test_one_refused_partition_refuses_the_whole_batch(store):
    claims = store.claim({P0: 0, P1: 0})
    stale = store.claim({P1: 0})[P1].epoch - 1
    progress = [Progress(P0, claims[P0].epoch, 0, 5, 4), Progress(P1, stale, 0, 5, 4)]
    assert store.commit(Batch(progress, {4: CELLS})).partition == P1
    assert store.totals() == {}
    assert store.partitions()[P0].next == 0


def test_a_partition_that_was_never_claimed_is_refused_as_wiped(store):
    assert store.commit(batch(1, 0, 5, {4: CELLS})).why == "wiped"


def test_large_offsets_and_buckets_stay_exact(store):
    offset, bucket = 2**52 + 1, 17_000_000_000_001
    epoch = store.claim({P0: offset})[P0].epoch
    assert store.commit(batch(epoch, offset, offset + 3, {bucket: CELLS})).status == "ok"
    state = store.partitions()[P0]
    assert (state.next, state.bucket) == (offset + 3, bucket)
    assert store.counts(bucket) == CELLS


def test_the_most_ood_examples_are_kept_the_worst_first(store):
    epoch = store.claim({P0: 0})[P0].epoch
    found = [Example(c, f"id {c}", 1, P0, n) for n, c in enumerate([3.5, -1.25, 9.0, 2.0])]
    store.commit(batch(epoch, 0, 4, {4: CELLS}, examples={(4, "a:b"): found}))
    more = [Example(c, f"id {c}", 1, P0, 10 + n) for n, c in enumerate([0.5, 1.0, 4.0])]
    store.commit(batch(epoch, 4, 8, {4: CELLS}, examples={(4, "a:b"): more}))
    kept = store.examples(4, "a:b")
    assert [e.confidence for e in kept] == [-1.25, 0.5, 1.0, 2.0, 3.5]
    assert kept[0] == found[1]
    assert store.examples(4, "other") == []


def test_counts_and_examples_of_several_experts_are_kept_apart(store):
    epoch = store.claim({P0: 0})[P0].epoch
    cells = {("a:b", 1, 0): 2, ("a:b", 1, 13): 2, ("a:b", 2, 6): 1, ("a:b", 2, 7): 1}
    found = [Example(-2.0, "x", 1, P0, 0, "angle"), Example(-1.0, "y", 2, P0, 1)]
    assert store.commit(batch(epoch, 0, 3, {4: cells}, examples={(4, "a:b"): found})).status == "ok"
    assert store.commit(batch(epoch, 0, 3, {4: cells})).status == "repeat"
    assert store.counts(4) == store.totals() == cells
    assert store.examples(4, "a:b") == found


def test_one_holder_has_the_lease_and_a_new_one_gets_a_higher_token(store):
    first = store.lease("a", 60_000)
    assert first > 0
    assert store.lease("b", 60_000) == 0
    assert store.lease("a", 60_000) == first
    assert store.lease("a", 0) == 0
    assert store.lease("b", 60_000) > first


def test_a_closed_bucket_takes_no_more_counts_and_the_next_one_does(store):
    epoch = store.claim({P0: 0})[P0].epoch
    store.commit(batch(epoch, 0, 5, {4: CELLS}))
    token = store.lease("a", 60_000)
    assert store.close(token, 4) == (4, -1)
    late = batch(epoch, 5, 9, {4: CELLS})
    reply = store.commit(late)
    assert (reply.status, reply.bucket) == ("closed", 4)
    assert store.commit(late.within(5, 2**62)).status == "ok"
    assert store.counts(4) == CELLS
    assert store.counts(5) == CELLS
    assert store.health().sums["late"] == 5
    assert store.partitions()[P0].bucket == 4  # its own time stands where it stood ...
    assert store.partitions()[P0].late_ms  # ... and it is known to bring only what is closed already
    store.commit(batch(epoch, 9, 10, {6: CELLS}))
    assert not store.partitions()[P0].late_ms


def test_buckets_never_open_again(store):
    token = store.lease("a", 60_000)
    store.close(token, 9)
    assert store.close(token, 4) == (9, -1)


def test_only_closed_buckets_with_counts_are_pending_in_order(store):
    epoch = store.claim({P0: 0})[P0].epoch
    store.commit(batch(epoch, 0, 5, {12: CELLS, 4: CELLS, 9: CELLS}))
    assert store.pending(-1, 9) == [4, 9]
    assert store.pending(4, 20) == [9, 12]


def alert(status, fingerprint="f1"):
    fields = {"status": status, "stream": "a", "detail": json.dumps({"x": 1})}
    return AlertWrite(fingerprint, fields, ttl_ms=60_000, now_ms=1000)


def test_a_fold_writes_state_and_transitions_together_and_once(store):
    epoch = store.claim({P0: 0})[P0].epoch
    store.commit(batch(epoch, 0, 5, {4: CELLS}, examples={(4, "a:b"): [Example(1.0, "x", 1, P0, 0)]}))
    token = store.lease("a", 60_000)
    store.close(token, 4)
    fold = Fold(token, 4, -1, {"all": "{}"}, [alert("firing")], ["a:b"])
    assert store.apply(fold) == "ok"
    assert store.apply(fold) == "repeat"
    assert store.state() == {"all": "{}"}
    assert [a["status"] for a in store.alerts()] == ["firing"]
    assert [h["status"] for h in store.history()] == ["firing"]
    assert store.pending(-1, 9) == []
    assert store.close(token, 4) == (4, 4)


def test_examples_of_a_judged_bucket_go_long_before_its_counts(redis_url):
    """A key for each stream and bucket that lived for a day would fill Redis: 86,400 keys a stream."""
    client = connect(redis_url)
    store = RedisStore(client, f"group-{next(_groups)}", retention_ms=86_400_000, examples_ms=600_000)
    epoch = store.claim({P0: 0})[P0].epoch
    store.commit(batch(epoch, 0, 5, {4: CELLS}, examples={(4, "a:b"): [Example(1.0, "x", 1, P0, 0)]}))
    counts, examples = store.keys.counts(4), store.keys.examples(4, "a:b")
    assert (client.ttl(counts), client.ttl(examples)) == (-1, -1), "kept until it is judged, however long that takes"
    token = store.lease("a", 60_000)
    store.close(token, 4)
    assert store.apply(Fold(token, 4, -1, {}, [], ["a:b"])) == "ok"
    assert 500 < client.ttl(examples) <= 600
    assert 86_000 < client.ttl(counts) <= 86_400
    short = RedisStore(client, f"group-{next(_groups)}", retention_ms=60_000)
    assert short._examples_ms == 60_000, "and never longer than the counts"
    client.close()


def test_a_fold_out_of_order_is_refused(store):
    token = store.lease("a", 60_000)
    assert store.apply(Fold(token, 5, 3, {"all": "x"}, [alert("firing")])) == "refused"
    assert store.state() == {}
    assert store.alerts() == []


def test_a_lease_of_a_clock_that_was_set_back_is_no_lease(store):
    """It would outlive its holder, who cannot renew it, by as much as the clock was set back."""
    old = store.lease("dead", 3_600_000)
    assert store.lease("b", 1_000_000) == 0
    token = store.lease("b", 15_000)
    assert token > old
    assert store.lease("b", 15_000) == token
    assert store.lease("dead", 15_000) == 0


def test_a_holder_that_lost_the_lease_writes_nothing(store):
    old = store.lease("a", 60_000)
    store.lease("a", 0)
    store.lease("b", 60_000)
    assert store.close(old, 4) is None
    assert store.apply(Fold(old, 4, -1, {"all": "x"}, [alert("firing")])) == "refused"
    assert store.alerts() == []


def test_an_alert_is_replaced_whole_and_its_history_kept(store):
    token = store.lease("a", 60_000)
    store.apply(Fold(token, 4, -1, {}, [alert("firing")]))
    store.apply(Fold(token, 5, 4, {}, [AlertWrite("f1", {"status": "resolved"}, 60_000, 2000), alert("firing", "f2")]))
    store.apply(Fold(token, None, 5, {}, [AlertWrite("f1", {"status": "silent"}, 60_000, 3000)]))
    assert store.alerts()[0] == {"fingerprint": "f1", "status": "silent"}
    assert store.alert("f1") == {"fingerprint": "f1", "status": "silent"}
    assert store.alert("f3") == {}
    assert {a["fingerprint"] for a in store.alerts()} == {"f1", "f2"}
    assert store.history()[0]["status"] == "silent"
    assert len(store.history()) == 4


def test_a_group_is_tied_to_the_settings_that_came_first(store):
    assert store.bind("one", "{}", 1000, "abc") == ("one", "{}")
    assert store.bind("two", "{1}", 2000, "abc") == ("one", "{}")
    epoch = store.claim({P0: 0})[P0].epoch
    reply = store.commit(batch(epoch, 0, 5, {4: CELLS}))  # this one believes in the other settings
    assert (reply.status, reply.why) == ("refused", "rebound")
    assert store.lease("me", 60_000) == 0
    assert store.report("me", "{}", {}) == 0
    assert store.totals() == {}
    store.bind("one", "{}", 1000, "abc")
    assert store.commit(batch(epoch, 0, 5, {4: CELLS})).status == "ok"
    assert store.lease("me", 60_000)


def test_nothing_is_counted_ahead_of_the_clock_of_the_store(store):
    store.bind("one", "{}", 1000, "abc")
    epoch, now = store.claim({P0: 0})[P0].epoch, store.now_ms() // 1000
    ahead = batch(epoch, 0, 5, {now: CELLS, now + 3000: CELLS})
    reply = store.commit(ahead)
    assert reply.status == "ahead"
    assert now <= reply.bucket <= now + 60
    moved = ahead.within(-1, reply.bucket)
    assert store.commit(moved).status == "ok"
    assert store.partitions()[P0].bucket <= now + 60
    assert store.health().sums["ahead"] == 5
    assert sum(store.totals().values()) == 10


def test_a_clock_that_goes_back_leaves_the_bucket_behind_what_is_closed_open(store):
    store.bind("one", "{}", 1000, "abc")
    epoch, now = store.claim({P0: 0})[P0].epoch, store.now_ms() // 1000
    assert store.close(store.lease("me", 60_000), now + 500) == (now + 500, -1)  # as by another server's clock
    reply = store.commit(batch(epoch, 0, 5, {now + 501: CELLS}))
    assert reply.status == "ok"


def test_streams_beyond_the_limit_are_named_and_count_together(limited_store):
    store = limited_store(2)
    epoch = store.claim({P0: 0})[P0].epoch
    store.commit(batch(epoch, 0, 1, {4: {("a", 0, 6): 1}}))
    more = batch(epoch, 1, 9, {4: {(s, 0, 6): 2 for s in "abcd"}})
    reply = store.commit(more)
    assert reply.status == "streams"
    assert set(reply.streams) == {"c", "d"}
    assert store.commit(more.overflowed(set(reply.streams))).status == "ok"
    assert store.totals() == {("a", 0, 6): 3, ("b", 0, 6): 2, (OVERFLOW, 0, 6): 4}
    assert store.health().sums["overflow"] == 4
    assert store.health().times["overflow_at"]
    # The stream for the rest takes no place, and those that are known stay.
    assert store.commit(batch(epoch, 9, 12, {5: {("b", 0, 6): 1, (OVERFLOW, 0, 6): 2}})).status == "ok"


def test_a_retired_stream_leaves_its_place_and_its_part_of_the_totals(store):
    epoch = store.claim({P0: 0})[P0].epoch
    store.commit(batch(epoch, 0, 6, {4: {("a", 0, 6): 1, ("b", 0, 6): 2, ("b", 1, 6): 3}}))
    token = store.lease("me", 60_000)
    store.apply(Fold(token, 4, -1, {"s:a": "x", "s:b": "y"}))
    assert store.retire(token, ["a", "b"], 0, []) == []  # both were heard since
    store.ask_to_retire("b")
    assert store.retire(token, ["b"], 0, store.asked_to_retire()) == ["b"]
    assert store.asked_to_retire() == set()
    assert set(store.streams()) == {"a"}
    assert store.state() == {"s:a": "x"}
    assert store.totals() == {("a", 0, 6): 1, (FORGOTTEN, 0, 6): 2, (FORGOTTEN, 1, 6): 3}
    assert store.retire(token + 1, ["a"], 2**52, []) is None


def test_a_promotion_starts_afresh_and_fences_everybody(store):
    store.bind("one", "{}", 1000, "abc")
    epoch, now = store.claim({P0: 0})[P0].epoch, store.now_ms() // 1000
    store.commit(batch(epoch, 0, 5, {now - 9: CELLS, now - 5: CELLS}))
    token = store.lease("me", 60_000)
    store.close(token, now - 8)
    store.apply(Fold(token, now - 9, -1, {"#header": "h", "s:a": "x"}, [alert("firing")]))
    new = Promotion("two", "{2}", 2000, 0.5, "h", [AlertWrite("f1", {"status": "resolved"}, 60_000, 1)])
    assert store.promote(replace(new, header="other")) is None
    assert store.promote(new) == (1, 1)
    assert store.state() == {}
    assert store.pending(-1, 2**50) == []
    assert store.alerts()[0]["status"] == "resolved"
    assert sum(store.totals().values()) == 10  # what is counted stays counted
    stood = store.partitions()[P0]
    assert stood.next == 5
    assert (stood.bucket + 1) * 2000 >= (now - 4) * 1000  # the new buckets begin where the old ones end
    reply = store.commit(batch(epoch, 5, 6, {now: CELLS}))
    assert (reply.status, reply.why) == ("refused", "rebound")
    assert store.apply(Fold(token, now, now - 9, {})) == "refused"
    store.bind("two", "{2}", 2000, "def")
    again = store.claim({P0: 0})[P0]
    assert store.commit(batch(again.epoch, 5, 6, {now // 2: CELLS})).status == "ok"


def test_a_report_is_of_its_owner_only(store):
    epoch = store.claim({P0: 0})[P0].epoch
    store.report("w1", '{"trouble": ""}', {P0: Seen(epoch, 7000, behind=True)})
    first = store.partitions()[P0]
    assert min(first.seen_ms, first.behind_ms) > 0
    assert first.lag == 7000
    store.report("w2", "{}", {P0: Seen(epoch - 1, 0, behind=False)})
    assert store.partitions()[P0] == first
    store.report("w1", "{}", {P0: Seen(epoch, 3, behind=False)})
    assert (store.partitions()[P0].lag, store.partitions()[P0].behind_ms) == (3, 0)
    assert set(store.health().workers) == {"w1", "w2"}


def test_workers_that_ended_long_ago_are_forgotten_when_another_comes(store):
    """Each start of a process has a name of its own: what starts again and again would fill Redis."""
    for name, ago in (("old", 3_600_001), ("late", 3_500_000)):
        at = store.now_ms() - ago
        if isinstance(store, RedisStore):
            store._client.hset(store.keys.workers, name, f"{at} {{}}")
        else:
            store._workers[name] = (at, "{}")
    store.report("new", "{}", {})
    assert set(store.health().workers) == {"late", "new"}


def test_who_leads_and_since_when_is_known_while_it_is_open(store):
    epoch = store.claim({P0: 0})[P0].epoch
    assert store.leads(2**45) == (-1, -1)
    store.commit(batch(epoch, 0, 5, {4: CELLS, 7: CELLS}))
    assert store.leads(2**45) == (7, 7)
    assert store.leads(1) == (-1, 7)
    store.close(store.lease("me", 60_000), 7)
    assert store.leads(2**45) == (-1, -1)


def test_thousands_of_examples_in_one_bucket_are_written(store):
    epoch = store.claim({P0: 0})[P0].epoch
    many = {(4, "a"): [Example(float(n), f"r{n}", 0, P0, n) for n in range(9000)]}
    assert store.commit(batch(epoch, 0, 9000, {4: {("a", 0, 0): 9000}}, examples=many)).status == "ok"
    assert [e.id for e in store.examples(4, "a")] == [f"r{n}" for n in range(5)]


def test_a_server_that_is_gone_is_an_error_that_trying_again_may_help():
    store = RedisStore(connect("redis://127.0.0.1:1/0", retries=0), "gone")
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        store.ping()


def test_keys_of_another_schema_are_refused(redis_server):
    client = connect(f"redis://{redis_server.address}/0")
    store = RedisStore(client, "schema")
    client.hset(store.keys.meta, "schema", "99")
    with pytest.raises(StoreError, match="schema 99"):
        store.ping()
    client.close()


def test_all_keys_of_a_group_share_one_cluster_slot():
    keys = Keys("slot")
    names = [keys.partitions, keys.counts(3), keys.examples(3, "st{r}eam"), keys.alert("f"), keys.history, keys.lease]
    # What a cluster hashes: the first braces that hold something.
    assert {n[n.index("{") + 1 : n.index("}")] for n in names} == {"slot"}


def test_a_refresh_leaves_no_trace_in_the_history(store):
    token = store.lease("a", 60_000)
    store.apply(Fold(token, 4, -1, {}, [alert("firing")]))
    store.apply(Fold(token, 5, 4, {}, [AlertWrite("f1", {"status": "firing", "rate": "0.5"}, 60_000, 2, event=False)]))
    assert store.alerts()[0]["rate"] == "0.5"
    assert len(store.history()) == 1


def test_what_no_bucket_caused_is_written_once(store):
    token = store.lease("a", 60_000)
    silence = Fold(token, None, -1, {"header": "new"}, [alert("firing")], guard=("header", ""))
    assert store.apply(silence) == "ok"
    assert store.apply(silence) == "repeat"
    other = Fold(token, None, -1, {"header": "other"}, [alert("firing")], guard=("header", "not this"))
    assert store.apply(other) == "refused"
    assert len(store.history()) == 1
    assert store.state() == {"header": "new"}


@pytest.mark.parametrize("name", SERVERS.values())
def test_a_watcher_gets_each_transition_once(name, request):
    client = connect(request.getfixturevalue(name))
    store = RedisStore(client, f"watch-{next(_groups)}")
    assert store.wait("0-0", 10) == []
    token = store.lease("a", 60_000)
    store.apply(Fold(token, 4, -1, {}, [alert("firing")]))
    store.apply(Fold(token, 5, 4, {}, [alert("resolved")]))
    seen = store.wait("0-0", 1000)
    assert [e["status"] for e in seen] == ["firing", "resolved"]
    assert store.wait(seen[-1]["id"], 10) == []
    client.close()


TROUBLE = Notice("stalled", "group", True, "warning", "Nothing has been judged for two minutes.", {"seconds": "120"})


def test_a_notice_is_told_once_while_it_fires_and_once_if_it_is_over(store):
    assert store.notice(replace(TROUBLE, firing=False)) is False  # nothing fired, so nothing is over
    assert store.notice(TROUBLE) is True
    assert store.notice(replace(TROUBLE, summary="Nothing has been judged for three minutes.")) is False
    assert store.notice(replace(TROUBLE, severity="critical")) is True
    assert store.notice(replace(TROUBLE, firing=False)) is True
    assert store.notice(replace(TROUBLE, firing=False)) is False
    assert [e["change"] for e in reversed(store.history())] == ["raised", "updated", "resolved"]
    assert len({e["episode"] for e in store.history()}) == 1


def test_what_is_over_is_told_with_the_words_it_fired_with(store):
    store.notice(replace(TROUBLE, severity="critical"))
    store.notice(replace(TROUBLE, severity="critical", summary="Nothing has been judged for three minutes."))
    assert store.notice(Notice("stalled", "group", firing=False)) is True
    for over in (store.alerts()[0], store.history()[0]):
        assert (over["status"], over["severity"]) == ("resolved", "critical")
        assert over["summary"] == "Nothing has been judged for three minutes."
        assert json.loads(over["details"]) == {"seconds": "120"}


def test_details_of_the_end_take_the_place_of_those_of_the_beginning(store):
    store.notice(TROUBLE)
    assert store.notice(Notice("stalled", "group", firing=False, details={"judged": "7"})) is True
    over = store.history()[0]
    assert (over["severity"], over["summary"]) == (TROUBLE.severity, TROUBLE.summary)
    assert json.loads(over["details"]) == {"judged": "7"}


def test_a_notice_of_another_subject_is_another_alert(store):
    store.notice(TROUBLE)
    store.notice(replace(TROUBLE, subject="requests/0"))
    assert len({a["fingerprint"] for a in store.alerts()}) == 2
    assert all(a["status"] == "firing" and json.loads(a["details"]) == {"seconds": "120"} for a in store.alerts())


def test_a_notice_raised_again_is_a_new_episode(store):
    store.notice(TROUBLE)
    first = store.alerts()[0]["episode"]
    store.notice(replace(TROUBLE, firing=False))
    if isinstance(store, MemoryStore):
        store._clock.advance(1)
    store.notice(TROUBLE)
    assert store.alerts()[0]["status"] == "firing"
    assert first in {e["episode"] for e in store.history()}
