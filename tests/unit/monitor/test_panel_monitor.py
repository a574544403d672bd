"""A panel in the monitor: each sample counted once for every expert, judged together, and the alert says who saw it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from line_plugin import Panel
from line_plugin.cli import main as command_line
from line_plugin.errors import ArtifactCorruptError, SettingsError
from line_plugin.math.conformal import CELL_EDGES
from line_plugin.method.artifact import read_tensors, write_tensors
from monitor.alerts import alert as alerts
from monitor.alerts.layout import description, notes
from monitor.config import AlertConfig
from monitor.counting.counter import Counter, Owned
from monitor.counting.models import Models
from monitor.counting.recount import Recount
from monitor.counting.scoring import Scored, Scorer
from monitor.counting.worker import Worker
from monitor.errors import ModelError
from monitor.judging.evaluator import Evaluator
from monitor.judging.rules import rules
from monitor.judging.settings import EvaluatorSettings
from monitor.messages import Contract
from monitor.messages.record import Partition, Record
from monitor.service.canary import find_canary
from monitor.store.counts import CELLS, OVERFLOW, Batch, Example, cell_of, samples_in
from monitor.store.partitions import Progress
from monitor.store.redis.counting import _packed
from monitor.store.verdicts import Promotion
from monitor.testing import MemoryDeadLetters, MemorySource
from tests.monitor_support import WIDTH, embeddings, small_line, small_panel
from tests.oracle.recount import recount_panel
from tests.unit.monitor.test_evaluator import NULL, P0, SURGE, Feed
from tests.unit.monitor.test_worker import GROUP, TOPIC, Bench

PANEL = small_panel(("panel", "line", "prototypes", "virtual_logit"))
EXPERTS = tuple(PANEL.evidence_calibrations)
ROWS = embeddings(400, seed=5, ood=0.2)


# -- scoring -----------------------------------------------------------------------------------------------------------


def test_cells_are_those_of_each_experts_own_calibration_and_the_most_ood_expert_is_named() -> None:
    scorer = Scorer(PANEL)
    scored = scorer.score([r.tobytes() for r in ROWS])
    assert scorer.experts == EXPERTS == ("panel", "line", "prototypes", "virtual_logit")
    said = PANEL.score_experts(torch.from_numpy(ROWS))
    whole = {"panel": PANEL.score(torch.from_numpy(ROWS)), **said}
    for n in range(len(ROWS)):
        own = [float(whole[name][n].float()) for name in EXPERTS]
        bounds = [PANEL.evidence_calibrations[name].cell_bounds() for name in EXPERTS]
        assert scored.cells[n].tolist() == [
            next(k for k, b in enumerate(mine) if s < b) for s, mine in zip(own, bounds, strict=True)
        ]
        assert scorer.name_expert(int(scored.expert[n])) == min(said, key=lambda name: float(said[name][n]))
    assert scored.confidence.tobytes() == PANEL.score(torch.from_numpy(ROWS)).numpy().tobytes()
    assert len(set(scored.expert.tolist())) > 1, "the rows tell experts apart"
    assert (scored.cells != scored.cells[:, :1]).any()


def test_a_row_that_is_not_finite_leaves_the_cells_of_the_others_as_they_are() -> None:
    rows = ROWS[:20].copy()
    rows[3, 2] = np.nan
    scored, whole = (Scorer(PANEL).score([r.tobytes() for r in some]) for some in (rows, ROWS[:20]))
    assert np.flatnonzero(~scored.usable).tolist() == [3]
    kept = np.arange(20) != 3
    assert (scored.cells[kept] == whole.cells[kept]).all()
    assert (scored.expert[kept] == whole.expert[kept]).all()


def test_a_single_expert_has_one_column_of_cells() -> None:
    good = np.ones(3, np.bool_)
    scored = Scored(np.zeros(3, np.float32), np.zeros(3, np.int64), np.array([0, 4, 6]), good, good)
    assert scored.cells.tolist() == [[0], [4], [6]]
    assert scored.cell.tolist() == [0, 4, 6]
    assert Scorer(small_line()).experts == ("line",)


@pytest.mark.parametrize("evidence", [None, ("panel",), ("virtual_logit", "angle"), EXPERTS])
def test_who_gathers_evidence_is_a_setting_of_the_artifact(tmp_path, evidence) -> None:
    panel = small_panel(evidence)
    panel.save(tmp_path / "panel.safetensors")
    scorer = Scorer.load(tmp_path / "panel.safetensors")
    assert scorer.experts == (evidence or ("panel", "line"))
    assert scorer.score([r.tobytes() for r in ROWS]).cells.shape == (400, len(scorer.experts))
    again = Panel.load(tmp_path / "panel.safetensors")
    for name, mine in panel.evidence_calibrations.items():
        kept = again.evidence_calibrations[name]
        assert torch.equal(kept.confidence, mine.confidence)
        assert (kept.tpr, kept.source) == (mine.tpr, mine.source)
    assert again.save(tmp_path / "again.safetensors") == panel.content_sha256


def test_names_that_cannot_gather_evidence_are_refused() -> None:
    with pytest.raises(SettingsError, match="unknown evidence 'angl': did you mean 'angle'"):
        small_panel(("angl",))
    with pytest.raises(SettingsError, match="evidence of line, line given"):
        small_panel(("line", "line"))
    with pytest.raises(SettingsError, match="evidence of nobody given"):
        small_panel(())


def test_openood_calibrate_sets_who_gathers_evidence(tmp_path, capsys) -> None:
    PANEL.save(tmp_path / "panel.safetensors")
    small_line().save(tmp_path / "line.safetensors")
    np.save(tmp_path / "held-out.npy", embeddings(300, seed=4))
    more = ["--features", str(tmp_path / "held-out.npy"), "--evidence", "panel", "angle"]
    assert command_line(["calibrate", str(tmp_path / "panel.safetensors"), *more]) == 0
    assert Scorer.load(tmp_path / "panel.safetensors").experts == ("panel", "angle")
    assert command_line(["calibrate", str(tmp_path / "line.safetensors"), *more]) != 0
    assert "the artifact is of LINe alone: leave it out" in " ".join(capsys.readouterr().err.split())


def test_a_panel_that_does_not_say_who_gathers_evidence_is_refused(tmp_path) -> None:
    PANEL.save(tmp_path / "panel.safetensors")
    tensors, metadata = read_tensors(tmp_path / "panel.safetensors")
    short = {**tensors, "evidence_confidence": tensors["evidence_confidence"][:2]}
    write_tensors(tmp_path / "short.safetensors", short, metadata)
    with pytest.raises(ArtifactCorruptError, match="shorter"):
        Panel.load(tmp_path / "short.safetensors")
    metadata["panel"]["evidence"] = []
    write_tensors(tmp_path / "without.safetensors", tensors, metadata)
    with pytest.raises(ModelError, match="does not name the scores that collect evidence: calibrate"):
        Scorer.load(tmp_path / "without.safetensors")
    with pytest.raises(ModelError, match="holds no calibration"):
        Scorer(PANEL.with_settings(["line", "angle"]))


def test_a_canary_is_found_that_an_expert_takes_for_ood() -> None:
    scorer = Scorer(PANEL)
    assert scorer.score([find_canary(scorer)]).cells.min() == 0


# -- counting ----------------------------------------------------------------------------------------------------------


class PanelBench(Bench):
    """Workers that score with the panel."""

    def join(self):
        source = MemorySource(self.broker, TOPIC, GROUP)
        letters = MemoryDeadLetters(self.broker, f"{TOPIC}.dead-letter")
        worker = Worker(
            source, self.store, Models.single(Scorer(PANEL), self.contract), letters, self.settings,
            clock=self.clock, wait=lambda _: None,
        )  # fmt: skip
        self.workers.append((worker, source))
        return worker

    def recounted(self):
        return recount_panel(PANEL, [(r.key, r.value) for r in self.broker.records(TOPIC)])


def test_the_cells_that_are_counted_are_those_of_the_conformal_edges() -> None:
    assert len(CELL_EDGES) == CELLS
    assert [cell_of(e, k) for e in range(2) for k in range(CELLS)] == list(range(14))


def test_each_record_is_counted_once_for_each_expert_whatever_dies_and_whatever_answer_is_lost() -> None:
    bench = PanelBench()
    bench.send(60)
    worker = bench.join()
    worker.step()
    bench.store.lose_replies = 1
    worker.step()
    bench.kill()
    bench.join()
    bench.send(30)
    bench.store.lose_replies = 1
    bench.drain()
    totals = bench.store.totals()
    assert totals == bench.recounted()
    assert samples_in(totals) == 90
    assert [sum(n for (*_, k), n in totals.items() if k // CELLS == e) for e in range(4)] == [90] * 4


def test_a_recount_of_the_topic_equals_the_oracle_and_its_samples_are_counted_once() -> None:
    recount = Recount(Counter(Models.single(Scorer(PANEL), Contract(WIDTH)), 1000, examples=0))
    values = [r.tobytes() for r in ROWS[:50]]
    records = [Record("t", 0, n, 1000 * n, b"s", v, ()) for n, v in enumerate(values)]
    list(recount.add({Partition("t", 0): records}))
    assert recount.totals() == recount_panel(PANEL, [(b"s", v) for v in values])
    assert recount.samples == 50


def test_samples_that_are_moved_are_counted_once_in_every_sum() -> None:
    cells = {("a", 0, 2): 3, ("a", 0, 9): 1, ("a", 0, 13): 2, ("b", 1, 6): 4, ("b", 1, 7): 4}
    batch = Batch(counts={4: dict(cells), 9: dict(cells)})
    assert batch.samples == 14
    assert batch.within(5, 8).sums == {"late": 7, "ahead": 7}
    assert samples_in(batch.within(5, 8).totals()) == 14
    over = batch.overflowed({"a"})
    assert over.sums == {"overflow": 6}
    assert over.counts[4] == {
        (OVERFLOW, 0, 2): 3,
        (OVERFLOW, 0, 9): 1,
        (OVERFLOW, 0, 13): 2,
        **dict([*cells.items()][3:]),
    }


def test_of_one_expert_redis_holds_what_it_held_before_there_were_several() -> None:
    assert _packed(Example(0.5, "x", 1, P0, 3)) == '["x",1,"t/0",3]'
    assert _packed(Example(0.5, "x", 1, P0, 3, "angle")) == '["x",1,"t/0",3,"angle"]'
    counter = Counter(Models.single(Scorer(small_line()), Contract(WIDTH)), 1000, examples=5)
    recount = Recount(counter)
    (part,) = recount.add({Partition("t", 0): [Record("t", 0, 0, 0, b"s", ROWS[0].tobytes(), ())]})
    batch, _ = counter.count(*part, {Partition("t", 0): Owned(0, 0, -1)})
    assert [e.expert for found in batch.examples.values() for e in found] == [""]
    assert all(cell < CELLS for counts in batch.counts.values() for *_, cell in counts)


# -- judging -----------------------------------------------------------------------------------------------------------


FOUR = rules(AlertConfig(silence_seconds=60), 50_000, experts=EXPERTS)


class PanelFeed(Feed):
    """Draws cells for four experts, of which only ``sees`` sees the surge."""

    sees = 2

    def write(self, buckets: int, masses=NULL, samples: int = 20) -> None:
        for _ in range(buckets):
            self.one(masses, samples)

    def one(self, masses, samples) -> None:
        counts = {}
        for e in range(4):
            drawn = self.rng.multinomial(samples, masses if e == self.sees else NULL)
            counts |= {("a", 0, cell_of(e, k)): int(n) for k, n in enumerate(drawn) if n}
        example = Example(float(-counts.get(("a", 0, cell_of(self.sees, 0)), 0)), f"{self.bucket}", 0, P0, self.next)
        found = {(self.bucket, "a"): [replace(example, expert=EXPERTS[self.sees])]}
        step = Progress(P0, self.epoch, self.next, self.next + samples, self.bucket)
        assert self.store.commit(Batch([step], {self.bucket: counts}, examples=found)).status == "ok"
        self.next, self.bucket = self.next + samples, self.bucket + 1
        self.pass_time(1)

    def evaluator(self, holder="one", silence=60, **more) -> Evaluator:
        return Evaluator(self.store, FOUR, EvaluatorSettings("g", "hash", idle_ms=5000, turn_ms=1e9, **more), holder)


@pytest.mark.parametrize("sees", [0, 2])
def test_an_alert_says_which_expert_holds_its_evidence_and_which_made_an_example_ood(sees: int) -> None:
    feed = PanelFeed()
    feed.sees = sees
    for n, masses in enumerate((NULL, SURGE, NULL)):
        for half in range(10):
            feed.write(10, masses)
            feed.evaluator(f"holder {n} {half}").step()  # each takes over from what the one before wrote
            feed.clock.advance(20)
            feed.pass_time(0)
    changes = feed.changes()
    assert (changes.count("raised"), changes.count("resolved")) == (1, 1)
    raised = next(h for h in feed.store.history() if h["change"] == "raised")
    assert raised["expert"] == EXPERTS[sees]
    assert {e["expert"] for e in json.loads(raised["examples"])} == {EXPERTS[sees]}
    assert alerts.read_examples(raised)[0].expert == EXPERTS[sees]
    assert f"needed, held by expert {EXPERTS[sees]}" in alerts.line(raised)
    assert f"(by {EXPERTS[sees]})" in alerts.line(raised)
    assert notes(raised)["expert"] == EXPERTS[sees]
    assert f"needed, held by the expert {EXPERTS[sees]}." in description(raised)
    assert f"(by {EXPERTS[sees]})" in description(raised)
    assert float(raised["rate"]) > 0.08
    resolved = next(h for h in feed.store.history() if h["change"] == "resolved")
    assert resolved["expert"] == EXPERTS[sees]


def test_counts_of_line_and_of_a_panel_never_meet_in_one_bucket_when_a_group_is_given_a_panel() -> None:
    feed = PanelFeed()
    before = Progress(P0, feed.epoch, 0, 5, feed.bucket)
    assert feed.store.commit(Batch([before], {feed.bucket: {("a", 0, 6): 5}})).status == "ok"
    header = feed.store.state().get("#header", "")
    assert feed.store.promote(Promotion("panel", "{}", 1000, 1.0, header, [])) is not None
    claim = feed.store.claim({P0: 0})[P0]
    feed.epoch, feed.next = claim.epoch, claim.next
    both = {("a", 0, cell_of(e, 6)): 3 for e in range(4)}
    refused = feed.store.commit(Batch([Progress(P0, feed.epoch, 5, 8, feed.bucket)], {feed.bucket: both}))
    assert (refused.status, refused.bucket) == ("closed", feed.bucket)
    feed.bucket += 1
    feed.pass_time(1)
    feed.write(20)
    evaluator = feed.evaluator()
    evaluator.step()
    assert evaluator.state is not None
    assert evaluator.state.samples["stream"] > 0


def test_an_alert_of_one_expert_has_the_fields_it_had_before_there_were_several() -> None:
    feed = Feed()
    evaluator = feed.evaluator()
    for masses in (NULL, SURGE):
        feed.write(60, masses)
        evaluator.step()
    raised = next(h for h in feed.store.history() if h["change"] == "raised")
    assert set(raised) == {
        *("id", "fingerprint", "episode", "event", "status", "change", "kind", "level", "stream", "severity"),
        *("started_at", "onset_at", "updated_at", "ended_at", "evidence", "evidence_needed", "samples", "flagged"),
        *("rate", "rate_low", "rate_high", "classes", "streams", "examples", "artifact", "bucket", "offsets"),
    }
    assert (
        "expert" not in raised["examples"] + alerts.line(raised) + description(raised) + feed.store.state()["#header"]
    )
