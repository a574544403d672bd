"""Which model a record belongs to, and that each model's rows come back in the places of their records."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from monitor.counting.models import Model, Models, named_model
from monitor.counting.routing import Router
from monitor.counting.scoring import Scored
from monitor.errors import ConfigError
from monitor.messages import Contract
from monitor.messages.limits import Limits
from monitor.messages.record import Record
from monitor.messages.rows import Rows

VECTOR = np.ones(2, "<f4").tobytes()


class Scorer:
    """Scores the first number of a row, and says which rows it was given."""

    experts = ("one", "other")

    def __init__(self, name, tpr=0.95, n=100):
        self.artifact, self.calibration, self.asked = f"hash of {name}", SimpleNamespace(tpr=tpr, n=n), []
        self.name_expert = lambda expert: f"{name}'s {expert}"

    def score(self, vectors, magnitude):
        self.asked.append((len(vectors), magnitude))
        first = np.array([np.frombuffer(v, "<f4")[0] for v in vectors], np.float32)
        whole = first.astype(np.int64)
        return Scored(
            first,
            whole + (100 if self.artifact[-1] == "b" else 1),
            np.stack([whole, whole + 2], 1),
            first != 3,
            first != 4,
            whole % 2,
        )


def model(name="", takes=(), topics=(), scorer=None, **contract) -> Model:
    contract = Contract(2, limits=Limits(batch_rows=contract.pop("room", 1000)), **contract)
    return Model(scorer or Scorer(name), contract, name, frozenset(takes), frozenset(topics))


def record(offset, named="", topic="t", at=5000, first=1.0, value=None):
    headers = (("ce_model", named.encode()),) if named else ()
    return Record(
        topic, 0, offset, at, b"s", np.array([first, 0], "<f4").tobytes() if value is None else value, headers
    )


def two(**more) -> Models:
    return Models([model("a", takes=["a"], **more), model("b", takes=["b"], **more)])


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("takes", "topics", "takes_all"), [((), (), True), (["a"], (), False), ((), ["t"], False)])
def test_a_single_model_takes_all_unless_it_names_what_it_takes(takes, topics, takes_all):
    assert Models([model(takes=takes, topics=topics)]).takes_all is takes_all
    assert not Models([model("a", takes, topics), model("b", ["b"])]).takes_all
    assert not Models([model("a"), model("b", ["b"])]).takes_all


def test_a_record_is_of_the_first_model_that_takes_its_topic_and_its_header():
    models = Models([model("a", ["x", "y"], ["t"]), model("b", (), ["t", "u"]), model("c", ["x"])])
    given = [("x", "t"), ("y", "t"), ("z", "t"), ("", "t"), ("x", "u"), ("x", "v"), ("z", "v"), ("", "v")]
    assert [models.index_of(record(0, *one)) for one in given] == [0, 0, 1, 1, 1, 2, -1, -1]
    scorer, contract = Scorer("a"), Contract(2)
    single = Models.single(scorer, contract)
    assert single.index_of(record(0, "x")) == 0
    assert (single.first.scorer, single.first.contract) == (scorer, contract)


def test_the_last_of_several_model_headers_counts():
    headers = (("ce_model", b"a"), ("model", b"b"), ("ce_model", None))
    assert two().index_of(record(0)._replace(headers=headers)) == 1


def test_a_header_that_is_no_text_names_no_model():
    assert two().index_of(record(0)._replace(headers=(("ce_model", b"a\xff"),))) == -1
    assert named_model(record(0)._replace(headers=(("ce_model", b"a\xff"),))) == "a\ufffd"


def test_a_stream_is_of_the_model_that_its_name_begins_with():
    models = two()
    assert [models.of_stream(name) for name in ("a/x", "b/x/y", "c/x", "a", "__canary")] == [*models, None, None, None]
    assert two().of_stream("b/x").name == "b"
    alone = Models([model("a")])
    assert alone.of_stream("anything") is alone.first


def test_one_model_has_its_own_hash_and_several_have_one_that_depends_on_names_and_hashes():
    assert Models([model("a")]).artifact == "hash of a"
    assert two().artifact == hashlib.sha256(b"a hash of a\nb hash of b").hexdigest()
    assert two().sizes == (100, 100)
    assert (len(two()), two()[1].name) == (2, "b")


def test_models_that_cannot_be_counted_together_are_refused_with_what_to_do():
    with pytest.raises(ConfigError) as refused:
        Models([])
    assert str(refused.value) == "no model given, expected at least one"
    other = Scorer("c")
    other.experts = ("one",)
    for scorer, what, option in (
        (other, "experts one, other, c one", "--evidence"),
        (Scorer("c", tpr=0.9), "a threshold at a TPR of 0.95, c 0.9", "--tpr"),
    ):
        with pytest.raises(ConfigError) as refused:
            Models([model("a"), model("c", scorer=scorer)])
        assert str(refused.value) == (
            f"models a and c cannot share evidence: a has {what}. Calibrate them alike (`openood calibrate {option}`), "
            "or give each a worker and a group of its own"
        )


# -- reading -----------------------------------------------------------------------------------------------------------


def read(models, records, now_ms=None, room=1000) -> tuple[Rows, list]:
    rows = Rows()
    return rows, Router(models).read(records, rows, now_ms, room)


def test_all_runs_of_records_are_read_in_their_order_with_the_model_of_each_row():
    rows, rejected = read(two(), [record(n, name) for n, name in enumerate("aabba")])
    assert ([r.offset for r in rows.records], rows.model_of, rows.taken) == ([0, 1, 2, 3, 4], [0, 0, 1, 1, 0], 5)
    assert rejected == []


def test_reading_stops_where_there_is_no_more_room_whatever_comes_after():
    """A record of no model needs no room, and is not read before those that come before it."""
    records = [record(0, "a"), record(1, "a"), record(2, "b"), record(3, "stranger"), record(4, "a")]
    for room, taken in ((1, 1), (2, 2), (3, 3), (4, 5)):
        rows, rejected = read(two(), records, room=room)
        assert (rows.taken, len(rows), len(rejected)) == (taken, min(room, 4), int(taken == 5))


def test_a_single_model_reads_as_much_as_there_is_room_for():
    rows, _ = read(Models([model("a")]), [record(0), record(1), record(2)], room=2)
    assert (rows.taken, rows.model_of) == (2, [])


def test_room_counts_from_what_was_read_before():
    rows = Rows()
    router = Router(two())
    for offset in (0, 2):
        router.read([record(offset, "a"), record(offset + 1, "a"), record(9, "b")], rows, None, 1)
    assert ([r.offset for r in rows.records], rows.model_of) == ([0, 2], [0, 0])


@pytest.mark.parametrize("models", [two(), Models([model("a")])], ids=["several", "one"])
def test_a_record_without_a_time_has_that_of_its_reading(models):
    rows, _ = read(models, [record(0, "a", at=-1)], now_ms=7000)
    assert rows.times_ms == [7000]


def test_as_many_rows_are_read_at_once_as_the_narrowest_limit_allows():
    assert Router(Models([model("a", ["a"], room=7), model("b", ["b"], room=5)])).room == 5


def test_what_a_model_refuses_is_refused_beside_what_belongs_to_none():
    bad = [record(0, "a", value=b"short"), record(1, "c"), record(2, "b", value=b"short")]
    rows, rejected = read(two(), bad)
    assert [(r.offset, reason) for r, reason, _ in rejected] == [
        (0, "wrong-size"),
        (1, "wrong-model"),
        (2, "wrong-size"),
    ]
    assert (rows.model_of, rows.taken) == ([], 3)


def test_a_record_of_no_model_is_refused_with_what_it_names_and_what_is_expected():
    long = "x" * 101
    _, rejected = read(two(), [record(0, "c"), record(1), record(2, long)])
    assert [detail for _, _, detail in rejected] == [
        f"{got} was got, expected a model that an entry of models lists (a, b)"
        for got in ("model 'c'", "no model header", f"model '{'x' * 97}...'")
    ]
    _, rejected = read(Models([model("a", topics=["t"]), model("b", ["b"])]), [record(0, topic="u")])
    assert [detail for _, _, detail in rejected] == [
        "no model header in topic u was got, expected what an entry of models lists (a, b)"
    ]


def test_a_record_of_no_model_is_skipped_if_the_settings_say_so():
    rows, rejected = read(two(other_models="skip"), [record(0, "c"), record(1, "d"), record(2, "a")])
    assert ([r.offset for r in rows.skipped], rows.taken, rejected) == ([0, 1], 3, [])


# -- scoring -----------------------------------------------------------------------------------------------------------


def test_each_row_is_scored_by_its_own_model_and_stays_in_its_place():
    models = two()
    firsts = [0, 1, 2, 3, 4, 5]
    rows, _ = read(models, [record(n, "abbaab"[n], first=n) for n in firsts])
    scored = Router(models).score(rows, 50.0)
    assert [m.scorer.asked for m in models] == [[(3, 50.0)], [(3, 50.0)]]
    assert (scored.confidence.tolist(), scored.predicted.tolist()) == (firsts, [1, 101, 102, 4, 5, 105])
    assert scored.cells.tolist() == [[n, n + 2] for n in firsts]
    assert (scored.finite.tolist(), scored.in_range.tolist()) == ([n != 3 for n in firsts], [n != 4 for n in firsts])
    assert scored.expert.tolist() == [n % 2 for n in firsts]
    kinds = [a.dtype for a in (scored.confidence, scored.predicted, scored.cells, scored.expert)]
    assert kinds == [np.float32, np.int64, np.int64, np.int64]
    assert scored.finite.dtype == scored.in_range.dtype == np.bool_


def test_a_single_model_scores_all_rows_at_once():
    models = Models([model("a", ["a"])])
    rows, _ = read(models, [record(0, "a"), record(1, "a")])
    assert Router(models).score(rows, 50.0).confidence.tolist() == [1, 1]
    assert models.first.scorer.asked == [(2, 50.0)]


def test_an_expert_has_the_name_that_the_model_of_its_row_gives_it():
    rows, _ = read(two(), [record(0, "a"), record(1, "b")])
    assert [Router(two()).name_expert(rows, row, 1) for row in (0, 1)] == ["a's 1", "b's 1"]
    rows, _ = read(Models([model("a")]), [record(0), record(1)])
    assert Router(Models([model("a")])).name_expert(rows, 1, 0) == "a's 0"
