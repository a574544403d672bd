"""A log cut into polls and pieces at any places is counted as the whole; pieces that are lost or doubled are found."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from line_plugin.integrations.ray import session
from monitor.counting.counter import Counter
from monitor.counting.models import Models
from monitor.counting.recount import Part, Recount
from monitor.counting.scoring import Scorer
from monitor.errors import ModelError, ReplayError
from monitor.math.flag_order import FlagOrder
from monitor.messages import Contract
from monitor.messages.record import Partition, Record
from monitor.service.replaying import ray_actors, ray_session
from monitor.service.replaying.fleet import Fleet
from monitor.service.replaying.pieces import EmptyOffsets, OffsetSum, Piece, check_offsets, cut
from monitor.service.replaying.ray_actors import ReadPiece
from monitor.service.replaying.tally import TalliedPart
from tests.monitor_support import WIDTH, embeddings, small_line

LINE, ROWS, P = small_line(), embeddings(400, seed=3, ood=0.2), Partition("t", 0)


def log(seed: int, n: int = 60) -> list[Record]:
    """Some cannot be scored, and their timestamps lie far ahead of their neighbours'."""
    rng = np.random.default_rng(seed)
    return [
        Record(
            "t", 0, 3 * k, int(1_000_000 + 100 * k + rng.integers(0, 4000)), b"ab"[k % 2 : k % 2 + 1],
            b"short" if rng.random() < 0.2 else ROWS[rng.integers(0, len(ROWS))].tobytes(),
        )
        for k in range(n)
    ]  # fmt: skip


def counted(records, cuts) -> Recount:
    recount = Recount(Counter(Models.single(Scorer(LINE), Contract(WIDTH)), 1000, 0))
    for a, b in zip([0, *cuts], [*cuts, len(records)], strict=True):
        for _ in recount.add({P: records[a:b]} if b > a else {}):
            pass
    return recount


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(0, 60), max_size=4), st.lists(st.integers(0, 60), max_size=4))
def test_a_log_counts_the_same_however_it_is_cut_into_polls_and_pieces(seed, polls, pieces):
    records = log(seed)
    whole = counted(records, [])
    assert counted(records, sorted(polls)).counts == whole.counts
    joined, cuts = Recount(), sorted(pieces)
    for a, b in zip([0, *cuts], [*cuts, len(records)], strict=True):
        joined.join(P, counted(records[a:b], []).part(P))
    assert joined.counts == whole.counts
    assert (joined.records, joined.rejected, joined.part(P).bucket) == (60, whole.rejected, whole.part(P).bucket)


def test_a_piece_of_another_partition_or_without_records_has_reached_no_bucket():
    records = log(1, n=5)
    assert counted(records, []).part(Partition("t", 1)).bucket == -1
    assert counted([], []).part(P) == Part({}, -1, {}, 0, 0)


def test_pieces_of_the_first_bucket_there_is_stay_in_it_and_partitions_are_joined_apart():
    joined, row = Recount(), {("s", 0, 6): 1}
    for partition, bucket in ((P, 0), (Partition("t", 1), 9), (P, 0)):
        joined.join(partition, Part({bucket: row}, bucket, {"bad-key": 2}, 3, 4))
    assert joined.counts == {0: {("s", 0, 6): 2}, 9: row}
    assert (joined.records, joined.skipped, joined.rejected, joined.samples) == (12, 9, {"bad-key": 6}, 3)
    assert (joined.part(P).bucket, joined.part(Partition("t", 1)).bucket) == (0, 9)


@given(st.lists(st.lists(st.booleans(), max_size=8), max_size=5))
def test_flags_in_pieces_are_in_the_order_of_the_whole(runs):
    joined = FlagOrder()
    for run in runs:
        joined = joined.followed_by(FlagOrder().then(run))
    assert joined == FlagOrder().then([flag for run in runs for flag in run])


def test_two_logs_have_the_pairs_of_each_and_none_between_them():
    both = FlagOrder().then([True, False]).beside(FlagOrder().then([True, True, False]))
    assert (both.pairs, both.first, both.second, both.both) == (3, 3, 1, 1)


@given(st.dictionaries(st.integers(0, 5), st.tuples(st.integers(0, 30_000), st.integers(0, 30_000))), st.integers(1, 9))
def test_pieces_hold_every_pinned_offset_once(ranges, actors):
    pinned = {Partition("t", n): (min(r), max(r)) for n, r in ranges.items()}
    found: dict[Partition, OffsetSum] = {}
    for piece in cut(pinned, actors):
        assert piece.begin < piece.end
        found[piece.partition] = found.get(piece.partition, OffsetSum()) + OffsetSum.over(piece.begin, piece.end)
    check_offsets(pinned, found)


@pytest.mark.parametrize("spoil", [lambda f: f[:-1], lambda f: [*f, f[-1]], lambda f: [f[0], *f[:-1]]])
def test_a_piece_that_was_lost_or_read_twice_is_named_with_what_was_got_and_expected(spoil):
    pinned = {P: (100, 400)}
    read = spoil([OffsetSum.over(100, 200), OffsetSum.over(200, 300), OffsetSum.over(300, 400)])
    with pytest.raises(ReplayError, match=r"t/0: \d+ offsets .* expected 300 with a sum of 74850"):
        check_offsets(pinned, {P: sum(read, OffsetSum())})


def test_offsets_without_a_record_are_those_that_the_broker_went_past():
    empty = EmptyOffsets(Piece(P, 10, 20))
    empty.pass_by([Record("t", 0, o, 0, None, None) for o in (11, 12, 15)], 16)
    empty.pass_by([], 20)
    assert empty.sum == OffsetSum(7, 10 + 13 + 14 + 16 + 17 + 18 + 19)
    with pytest.raises(ReplayError, match=r"t/0: offset 12 came from the broker after offset 19"):
        empty.pass_by([Record("t", 0, 12, 0, None, None)], 20)


class DiedError(Exception):
    pass


class FakeMethod:
    def __init__(self, work):
        self._work = work

    def remote(self, *given):
        return lambda: self._work(*given)


class FakeRay:
    """Actors that answer at once, the last asked first; those that are given a piece of ``deadly`` die."""

    exceptions = SimpleNamespace(RayActorError=DiedError, WorkerCrashedError=DiedError)

    def __init__(self, deadly=(), fault=("", ""), lives=10**9):
        self.deadly, self.fault, self.lives, self.read, self.started = set(deadly), fault, lives, [], 0

    def remote(self, **_):
        return lambda kind: SimpleNamespace(remote=self._actor)

    def _actor(self, *_):
        self.started += 1
        return SimpleNamespace(fault=FakeMethod(lambda: self.fault), read=FakeMethod(self._read))

    def _read(self, piece):
        if piece.begin in self.deadly and self.lives:
            self.lives -= 1
            raise DiedError
        self.read.append(piece)
        part = TalliedPart(Part({}, -1, {}, 0, 0), {})
        return ReadPiece(part, OffsetSum.over(piece.begin, piece.end), OffsetSum())

    def put(self, value):
        return value

    def wait(self, pending, num_returns, timeout):
        return [pending[-1]], list(pending[:-1])

    def get(self, reference):
        return reference()


PIECES = [Piece(P, n, n + 1) for n in range(20)]


def test_pieces_are_joined_in_the_order_of_the_log_however_actors_finish_and_die():
    ray = FakeRay(deadly={3, 7}, lives=2)
    crew = ray_actors._Crew(ray, (), 3)
    assert [piece for piece, _ in crew.read(PIECES)] == PIECES
    assert (crew.died, ray.started, sorted(p.begin for p in ray.read)) == (2, 5, list(range(20)))


def test_a_piece_that_ends_one_actor_after_the_other_is_one_error():
    with pytest.raises(ReplayError, match="offsets 2 to 3 of t/0 ended 3 actors of Ray one after the other"):
        list(ray_actors._Crew(FakeRay(deadly={2}), (), 2).read(PIECES))


def test_what_is_wrong_in_an_actor_is_the_error_of_the_plain_replay():
    with pytest.raises(ModelError, match="no calibration"):
        list(ray_actors._Crew(FakeRay(fault=("ModelError", "no calibration")), (), 2).read(PIECES))


def test_no_more_than_a_few_pieces_wait_to_be_joined():
    ray = FakeRay()
    crew, most = ray_actors._Crew(ray, (), 2), 0
    for joined, _ in enumerate(crew.read(PIECES)):
        most = max(most, len(ray.read) - joined)
    assert most <= ray_actors.AHEAD * 2


def test_what_is_left_of_a_ray_that_does_not_start_is_ended_before_each_further_try_and_one_line_says_so(
    monkeypatch,
):
    left: list[subprocess.Popen[bytes]] = []

    def start_half(*, _temp_dir, **_):
        assert all(process.wait(5) == -signal.SIGKILL for process in left)
        command = [sys.executable, "-c", "import signal; signal.pause()", f"{_temp_dir}/session/sockets/raylet"]
        left.append(subprocess.Popen(command))
        raise RuntimeError("The current node timed out during startup.\nmore")

    monkeypatch.setattr(ray_session, "require_ray", lambda: None)
    monkeypatch.setattr(session, "quiet_ray", lambda: SimpleNamespace(init=start_half, shutdown=lambda: None))
    monkeypatch.setattr(session, "fewer_processes", nullcontext)
    with (
        pytest.raises(ReplayError, match=r"^Ray does not start on this machine \(The current node timed out [^\n]*$"),
        ray_session.open_ray(Fleet()),
    ):
        pass
    assert [p.wait(5) for p in left] == [-signal.SIGKILL] * session.STARTS
