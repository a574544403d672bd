"""Several artifacts in one worker: each record is scored by its own, streams are kept apart, one budget covers all."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from line_plugin import LINe, load_artifact
from line_plugin.method.calibration import Calibration
from monitor.config import validate
from monitor.counting.counter import Counter, Owned
from monitor.counting.models import Model, Models
from monitor.counting.recount import Recount
from monitor.counting.scoring import Scorer
from monitor.errors import ConfigError
from monitor.judging.binding import binding_of
from monitor.judging.settings import EvaluatorSettings, Served
from monitor.math import nulls
from monitor.messages.accepting import Rule
from monitor.messages.contract import Contract
from monitor.messages.names import StreamFrom
from monitor.messages.record import Partition, Record
from monitor.service import assembly
from monitor.service.canary import Canary, Target, find_targets
from monitor.testing import FakeClock, MemoryStore
from tests.monitor_support import WIDTH, embeddings, small_line, small_panel
from tests.oracle.recount import recount

NARROW = 5


def narrow_line(tpr: float = 0.95) -> LINe:
    """Two classes in five dimensions: a head of another width, another number of classes, another calibration set."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.arange(400) % 2
    centres = torch.rand(2, NARROW, generator=generator) * 2
    features = (centres[labels] + 0.3 * torch.randn(400, NARROW, generator=generator)).clamp(min=0)
    line = LINe(p_w=10, p_a=10, clip=2.0).fit_features(features, labels, centres - centres.mean(dim=0), None)
    held_out = (centres[torch.arange(1500) % 2] + 0.3 * torch.randn(1500, NARROW, generator=generator)).clamp(min=0)
    line.calibrate(held_out, tpr=tpr)
    return line


def kept(line: LINe) -> LINe:
    """The same, from its file: only then has it a content hash."""
    with tempfile.TemporaryDirectory() as folder:
        line.save(Path(folder) / "line.safetensors")
        return load_artifact(Path(folder) / "line.safetensors")


WIDE, SLIM = kept(small_line()), kept(narrow_line())
WIDE_ROWS = embeddings(300, seed=3, ood=0.3)
SLIM_ROWS = np.abs(np.random.default_rng(4).standard_normal((300, NARROW))).astype("<f4")


def models(other="reject", slim=SLIM):
    def contract(line, name):
        return Contract(line.width, other_models=other, stream_from=StreamFrom(prefix=f"{name}/"))

    return Models(
        [
            Model(Scorer(WIDE), contract(WIDE, "wide"), "wide", frozenset({"wide", "wide-2"})),
            Model(Scorer(slim), contract(slim, "slim"), "slim", frozenset({"slim"})),
        ]
    )


def log(seed: int, n: int = 120) -> list[Record]:
    """Records of both models, and of one that nobody takes, mixed in one partition."""
    rng, records = random.Random(seed), []
    for offset in range(n):
        kind = rng.choice(["wide", "wide-2", "slim", "stranger"])
        key = rng.choice([b"a", b"b", b"wide", None])
        rows = SLIM_ROWS if kind == "slim" else WIDE_ROWS
        headers = ((rng.choice(["ce_model", "model", "CE_Model"]), kind.encode()),)
        records.append(Record("t", 0, offset, 1000 * offset, key, rows[offset].tobytes(), headers))
    return records


def of_model(name: str, records: list[Record]) -> list[tuple[bytes, bytes | None]]:
    """The records that a model takes, by a literal reading of the settings, under the names of its streams."""
    mine = [r for r in records if r.headers[0][1] in ((b"slim",) if name == "slim" else (b"wide", b"wide-2"))]
    return [(f"{name}/{(r.key or b'default').decode()}".encode(), r.value) for r in mine]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32), parts=st.integers(1, 5))
def test_every_record_is_scored_by_its_own_model_whatever_order_they_come_in(seed: int, parts: int) -> None:
    records, found = log(seed), Recount(Counter(models(), 1000, 0))
    for part in np.array_split(np.arange(len(records)), parts):
        list(found.add({Partition("t", 0): [records[n] for n in part]}))
    expected = recount(WIDE, of_model("wide", records)) | recount(SLIM, of_model("slim", records))
    assert found.totals() == expected
    strangers = sum(r.headers[0][1] == b"stranger" for r in records)
    assert found.rejected == ({"wrong-model": strangers} if strangers else {})


def test_a_record_that_no_model_takes_is_skipped_if_the_settings_say_so_and_else_says_what_it_named() -> None:
    records = log(1)
    strangers = [r for r in records if r.headers[0][1] == b"stranger"]
    passed = Recount(Counter(models("skip"), 1000, 0))
    list(passed.add({Partition("t", 0): records}))
    assert (passed.skipped, passed.rejected) == (len(strangers), {})
    counter = Counter(models(), 1000, 0)
    read = counter.read({Partition("t", 0): strangers[:1]})
    _, ((_, reason, detail),) = counter.count(read, counter.score(read), {Partition("t", 0): Owned(0, 0, -1)})
    assert reason == "wrong-model"
    assert "'stranger'" in detail
    assert "wide, slim" in detail


def test_what_accept_leaves_out_is_skipped_and_an_envelope_that_names_no_model_is_refused_loudly() -> None:
    rule = Rule.of({"ce_type": "response"})
    both = Models([Model(m.scorer, replace(m.contract, accept=(rule,)), m.name, m.takes) for m in models()])
    headers = [
        (("ce_type", b"request"),),  # as a model server logs it: no model, no embedding
        (("ce_type", b"request"), ("ce_model", b"wide")),
        (("ce_type", b"response"), ("ce_model", b"wide")),
        (("ce_type", b"response"),),
        (("content-type", b"application/cloudevents+json"),),
        (("ce_type", b"response"), ("ce_model", b"\xff")),
    ]
    records = [Record("t", 0, n, 0, b"a", WIDE_ROWS[n].tobytes(), given) for n, given in enumerate(headers)]
    found = Recount(Counter(both, 1000, 0))
    list(found.add({Partition("t", 0): records}))
    assert (found.samples, found.skipped, found.rejected) == (1, 2, {"wrong-model": 3})


def test_one_poll_stops_where_memory_is_full_and_goes_on_there_with_either_model() -> None:
    records = log(2)
    small = Contract(WIDTH, stream_from=StreamFrom(prefix="wide/"))
    limits = type(small.limits)(batch_rows=7)
    both = Models([Model(m.scorer, Contract(m.contract.width, limits=limits, stream_from=m.contract.stream_from),
                         m.name, m.takes) for m in models()])  # fmt: skip
    found = Recount(Counter(both, 1000, 0))
    assert max(len(read.rows) for read, _ in found.add({Partition("t", 0): records})) <= 7
    expected = recount(WIDE, of_model("wide", records)) | recount(SLIM, of_model("slim", records))
    assert found.totals() == expected


def test_the_canary_keeps_its_stream_and_each_model_has_one_of_its_own() -> None:
    both = models()
    config = validate(
        {
            "models": [
                {"name": "wide", "artifact": "a", "model": ["wide"]},
                {"name": "slim", "artifact": "b", "model": "slim"},
            ],
            "kafka": {"bootstrap_servers": "b:1", "topic": "t"},
        }
    )
    first, second = find_targets(config, both)
    assert (first.topic, first.model, second.topic, second.model) == ("t", "wide", "t", "slim")
    for n, target in enumerate((first, second)):
        headers = (("ce_model", target.model.encode()),)
        record = Record(target.topic, 0, 0, 0, b"__canary__1", target.vector, headers)
        assert both.index_of(record) == n
        found = Recount(Counter(both, 1000, 0))
        list(found.add({Partition(target.topic, 0): [record]}))
        assert [(stream, cell) for stream, _, cell in found.totals()] == [("__canary__1", 0)]


# -- one budget --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["expectation", "simultaneous"])
@pytest.mark.parametrize("sizes", [(300, 300), (300, 4000), (100, 1000, 20_000)])
def test_the_bounds_of_all_models_hold_together_for_95_of_100_calibration_sets(rule, sizes) -> None:
    known, rng, broken = nulls.together(sizes, rule), np.random.default_rng(5), 0
    pays = np.array(nulls.ratios(known.steps)) / known.margin
    for _ in range(400):
        each = []
        for n in sizes:
            calibration = Calibration.from_scores(torch.from_numpy(rng.random(n).astype(np.float32)))
            cuts = np.clip(np.array(calibration.cell_bounds()), 0, 1)  # scores are uniform: a cut is its own mass below
            each.append(np.diff(cuts, prepend=0.0) @ pays)
        broken += max(each) > 1 + 1e-9
    assert broken <= 33  # 20 expected at most, and 3 standard deviations


def test_bounds_of_one_model_are_what_they_were_and_of_equal_ones_only_share_the_risk() -> None:
    assert nulls.together([600]) == nulls.pooled(600)
    assert nulls.together([600, 600], risk=0.05) == nulls.pooled(600, risk=0.025)


# -- settings ----------------------------------------------------------------------------------------------------------

KAFKA = {"bootstrap_servers": "b:1", "topic": "t"}
ONE = {"name": "a", "artifact": "a.safetensors", "model": "a"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "model.artifact is missing"),
        ({"model": {"artifact": "x"}, "models": [ONE]}, "both given: keep one"),
        ({"models": [ONE, ONE]}, "holds a twice"),
        ({"models": [{"name": "a", "artifact": "x"}]}, "models.0.topics: model and topics are missing"),
        ({"models": [{**ONE, "name": "a/b"}]}, "models.0.name"),
        ({"models": [ONE], "messages": {"model": "a"}}, "each entry of models names the model that it takes"),
        ({"models": [ONE], "alerts": {"class_calibration": "c.json"}}, "leave it out"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_with_how_to_go_on(given, words) -> None:
    with pytest.raises(ConfigError, match=words):
        validate({"kafka": KAFKA, **given})


def test_models_that_cannot_share_evidence_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"wide has a threshold at a TPR of 0\.95, slim 0\.9"):
        models(slim=narrow_line(tpr=0.9))
    panel = small_panel(("panel", "line"))
    with pytest.raises(ConfigError, match=r"one has experts line, two panel, line\. Calibrate them alike"):
        Models(
            [
                Model(Scorer(WIDE), Contract(WIDTH), "one", frozenset({"1"})),
                Model(Scorer(panel), Contract(WIDTH), "two", frozenset({"2"})),
            ]
        )


def test_alerts_and_drift_speak_of_the_artifact_behind_the_stream() -> None:
    both = models()
    assert both.of_stream("wide/x").scorer.artifact == WIDE.content_sha256
    assert both.of_stream("slim/x/y").scorer.artifact == SLIM.content_sha256
    assert both.of_stream("x") is None
    assert len({WIDE.content_sha256, SLIM.content_sha256, both.artifact}) == 3
    config = validate({"models": [ONE], "kafka": KAFKA})
    bound = assembly.binding(config, both)
    assert bound.artifact == both.artifact
    assert bound.settings["models"] == f"slim {SLIM.content_sha256[:12]}, wide {WIDE.content_sha256[:12]}"
    assert "models" not in binding_of(config, "a").settings  # of one artifact the binding is what it was


def test_an_alert_on_a_stream_is_of_its_model_and_one_on_all_streams_of_all_models() -> None:
    own = Served("w" * 64, ["cat", "dog"].__getitem__)
    settings = EvaluatorSettings("g", "all", class_name=repr, served={"wide/x": own}.get)
    assert settings.of_stream("wide/x") is own
    assert settings.of_stream("gone/x") == settings.of_stream(None) == Served("all", repr)
    asked: list[str] = []
    settings = EvaluatorSettings("g", "all", served=asked.append)
    assert settings.of_stream(None) == Served("all", str)
    assert asked == []
    assert EvaluatorSettings("g", "one").of_stream("x") == Served("one", str)


# -- by topic ----------------------------------------------------------------------------------------------------------


def by_topic(slim_takes=(), wide_takes=(), **contract):
    def made(line, name):
        stream = StreamFrom.parse(contract.get("stream_from", "key"), f"{name}/")
        return Contract(line.width, stream_from=stream, accept=contract.get("accept", ()))

    return Models(
        [
            Model(Scorer(SLIM), made(SLIM, "slim"), "slim", frozenset(slim_takes), frozenset({"cars"})),
            Model(Scorer(WIDE), made(WIDE, "wide"), "wide", frozenset(wide_takes), frozenset({"birds", "cars"})),
        ]
    )


def in_topic(topic, n, rows, model=None):
    headers = ((("ce_model", model),) if model else ()) + (("ce_type", b"response"),)
    return Record(topic, 0, n, 1000 * n, b"a", rows[n].tobytes(), headers)


def counted(both, records):
    """Samples by stream, and what became of the others; ``records`` of one partition for each topic."""
    found = Recount(Counter(both, 1000, 0))
    for topic in sorted({r.topic for r in records}):
        list(found.add({Partition(topic, 0): [r for r in records if r.topic == topic]}))
    streams: dict[str, int] = {}
    for (stream, _, _), n in found.totals().items():
        streams[stream] = streams.get(stream, 0) + n
    return streams, found.rejected, found.skipped


def test_a_model_takes_the_records_of_its_topics_whatever_their_header_says() -> None:
    records = [in_topic("cars", n, SLIM_ROWS, model) for n, model in enumerate([None, b"any", b"wide"])]
    records += [in_topic("birds", n, WIDE_ROWS, model) for n, model in enumerate([None, b"slim"])]
    assert counted(by_topic(), records) == ({"slim/a": 3, "wide/a": 2}, {}, 0)


def test_a_model_that_names_topics_and_headers_takes_what_fits_both() -> None:
    both = by_topic(slim_takes=["slim"], wide_takes=["wide"])
    records = [in_topic("cars", n, SLIM_ROWS, b"slim") for n in range(3)]
    records += [in_topic("cars", n, WIDE_ROWS, b"wide") for n in range(3, 5)]
    records += [in_topic("birds", n, WIDE_ROWS, b"wide") for n in range(7)]
    records += [in_topic("birds", 7, SLIM_ROWS, b"slim"), in_topic("birds", 8, SLIM_ROWS)]
    assert counted(both, records) == ({"slim/a": 3, "wide/a": 9}, {"wrong-model": 2}, 0)
    counter = Counter(both, 1000, 0)
    read = counter.read({Partition("birds", 0): records[-1:]})
    _, ((_, _, detail),) = counter.count(read, counter.score(read), {Partition("birds", 0): Owned(0, 8, -1)})
    assert detail == "no model header in topic birds was got, expected what an entry of models lists (slim, wide)"


def test_streams_that_are_named_by_topic_and_rules_that_accept_by_topic_hold_for_each_model() -> None:
    records = [in_topic("cars", 0, SLIM_ROWS), *(in_topic("birds", n, WIDE_ROWS) for n in range(2))]
    streams, *_ = counted(by_topic(stream_from="topic"), records)
    assert streams == {"slim/cars": 1, "wide/birds": 2}
    assert counted(by_topic(accept=(Rule.of({"topic": "bi*"}),)), records) == ({"wide/a": 2}, {}, 1)


def test_one_model_alone_takes_only_what_its_entry_lists() -> None:
    alone = Models([Model(Scorer(SLIM), Contract(SLIM.width), "slim", frozenset({"slim"}), frozenset({"cars"}))])
    records = [in_topic("cars", 0, SLIM_ROWS, b"slim"), in_topic("cars", 1, SLIM_ROWS, b"other")]
    assert counted(alone, records) == ({"a": 1}, {"wrong-model": 1}, 0)


def test_every_model_has_a_canary_in_each_topic_that_it_takes_records_of() -> None:
    kafka = {"bootstrap_servers": "b:1", "topics": ["cars", "birds"]}
    served = [{"name": "slim", "artifact": "a", "topics": ["cars"]}, {"name": "wide", "artifact": "b", "model": "wide"}]
    config = validate({"models": served, "kafka": kafka, "dead_letters": {"topic": "d"}})
    targets = find_targets(config, by_topic(slim_takes=["slim-2", "slim-1"]))
    assert [(t.topic, t.model) for t in targets] == [("cars", "slim-1"), ("cars", ""), ("birds", "")]
    assert [(t.topic, t.model) for t in find_targets(config, by_topic())] == [("cars", ""), ("birds", "")]
    one = find_targets(config, Models.single(Scorer(WIDE), Contract(WIDTH)))
    assert [t.topic for t in one] == ["cars", "birds"]


def test_a_topic_that_takes_no_canary_is_passed_over_for_the_next_one(monkeypatch) -> None:
    import kafka
    from kafka.errors import KafkaTimeoutError

    sent: list[tuple[str, int]] = []

    class Producer:
        def __init__(self, **_): ...

        def partitions_for(self, topic):
            if topic == "cars":
                raise KafkaTimeoutError("no such topic")
            return {0, 1}

        def send(self, topic, partition, **_):
            sent.append((topic, partition))

        def flush(self, timeout): ...

        def close(self, timeout): ...

    monkeypatch.setattr(kafka, "KafkaProducer", Producer)
    config = validate(
        {"kafka": TWO["kafka"], "dead_letters": {"topic": "d"}, "model": {"artifact": "a"},
         "canary": {"seconds": 10, "samples": 5}}
    )  # fmt: skip
    clock = FakeClock()
    canary = Canary(config, MemoryStore(clock), "__canary__1", [Target(b"v", "cars"), Target(b"v", "birds")])
    for _ in range(3):
        clock.advance(11)
        assert canary.send_if_due()
    assert [topic for topic, _ in sent] == ["birds"] * 15
    assert {partition for _, partition in sent} == {0, 1}


TWO = {"kafka": {"bootstrap_servers": "b:1", "topics": ["cars", "birds"]}, "dead_letters": {"topic": "d"}}
CARS = {"name": "cars", "artifact": "a", "topics": ["cars"]}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([CARS], "no entry takes records of topic 'birds'"),
        ([{**CARS, "topics": ["trucks"]}, ONE], "cars takes records of topic 'trucks', which is not read"),
        ([CARS, {"name": "b", "artifact": "b", "topics": "cars"}, ONE], "b can never get a record"),
        ([CARS, {"name": "b", "artifact": "b", "topics": "cars", "model": "x"}, ONE], "b can never get a record"),
        ([ONE, {**ONE, "name": "b"}], "b can never get a record"),
        ([{**ONE, "model": [], "topics": []}], "models.0.topics: model and topics are missing, expected one or both"),
    ],
)
def test_entries_that_no_record_can_reach_and_topics_that_no_entry_takes_are_refused(entries, words) -> None:
    with pytest.raises(ConfigError, match=words):
        validate({**TWO, "models": entries})


def test_an_entry_behind_one_of_another_header_or_topic_can_be_reached() -> None:
    given = [{**CARS, "model": ["a"]}, {**CARS, "name": "rest"}, {"name": "b", "artifact": "b", "topics": ["birds"]}]
    assert [m.name for m in validate({**TWO, "models": given}).models] == ["cars", "rest", "b"]
