"""Whatever a record holds: spoiled messages of every decoder through the boundary (`python -m tests.fuzz` for more)."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("msgpack", reason="msgpack is not installed")
pytest.importorskip("google.protobuf", reason="protobuf is not installed")

from tests.fuzz import corpus
from tests.fuzz.judge import Judge
from tests.fuzz.messages import KINDS, spoil, valid

ROOT = Path(__file__).parents[3]
COUNTED = {
    "ce-dim-other-digits": "bad-header", "id-of-any-length": "counted", "json-id-escape-sequence": "counted",
    "json-id-lone-surrogate": "counted", "key-of-any-length": "counted", "key-reserved": "counted",
    "no-timestamp": "counted", "timestamp-beyond-int64": "counted", "timestamp-minus-one": "counted",
    "vector-minus-3e38": "out-of-range", "msgpack-many-empty-maps": "counted",
    "arrow-zstd-a-million-rows": "undecodable", "arrow-column-twice": "undecodable", "json-strings": "undecodable",
    "json-booleans": "undecodable", "json-nested-deep": "too-complex", "ce-time-superscript": "bad-time",
}  # fmt: skip


@pytest.fixture(scope="module")
def judge():
    return Judge()


def in_a_process(*arguments):
    """A process of its own: a decoder that ends it by a signal fails the test, and takes along no other."""
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_no_spoiled_message_raises_is_lost_or_takes_much_memory():
    seen = in_a_process("--inputs", "20000", "--seed", "0")
    assert "20000 records" in seen
    for name in ("counted", "undecodable", "too-complex", "bad-header", "out-of-range", "wrong-size"):
        assert f"{name} " in seen  # it does not pass by looking at one thing only


@pytest.mark.slow
def test_records_that_once_did_harm_do_none():
    assert f"{len(corpus.load())} records" in in_a_process("--corpus")


@pytest.mark.parametrize("name", COUNTED)
def test_what_becomes_of_a_record_that_once_did_harm(judge, name):
    assert judge.judge([corpus.load()[name]]) == [COUNTED[name]]


@pytest.mark.parametrize("kind", KINDS)
def test_messages_that_nobody_spoiled_are_counted(judge, kind):
    rng = random.Random(kind)
    assert set(judge.judge([valid(kind, rng, n) for n in range(300)])) == {"counted"}


@settings(deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.lists(st.integers(0, 2**32), min_size=1, max_size=6))
def test_any_sequence_of_changes_leaves_a_record_one_fate(judge, kind, seed, changes):
    record = valid(kind, random.Random(seed))
    for change in changes:
        record = spoil(record, random.Random(change))
    judge.judge([record])


@settings(deadline=None)
@given(
    st.sampled_from([kind.encode() for kind in KINDS]),
    st.one_of(st.none(), st.binary(max_size=300)),
    st.one_of(st.none(), st.binary(max_size=30)),
    st.one_of(st.none(), st.integers(-(2**70), 2**70)),
    st.lists(st.tuples(st.sampled_from(["ce_id", "ce_time", "ce_dim", "ce_dtype", "x"]), st.binary(max_size=40))),
)
def test_any_bytes_anywhere_leave_a_record_one_fate(judge, kind, value, key, stamp, headers):
    from monitor.messages import Record

    judge.judge([Record("t", 0, 0, stamp, key, value, (("content-type", kind), *headers))])
