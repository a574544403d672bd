"""The worker scores as the benchmark does."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from line_plugin import LINe, Panel
from line_plugin.benchmark.methods.base import FeatureSet, FitData
from line_plugin.benchmark.methods.line import LineMethod
from line_plugin.benchmark.methods.panel import PanelMethod
from line_plugin.kernels import cpu
from line_plugin.method.calibration import Calibration
from line_plugin.method.scorer import LineScorer, PanelScorer
from line_plugin.optional import say_missing
from monitor.counting import scoring, tensors
from monitor.counting.members import Members
from monitor.counting.scoring import Scored, Scorer
from monitor.counting.tensors import Staging
from monitor.errors import MissingLibraryError, ModelError
from tests.monitor_support import artifact, embeddings, small_line, small_panel

ROWS = embeddings(300, seed=3, ood=0.3)
LINE = small_line()
WITH_TORCH = say_missing("torch", "scoring by torch", "monitor,torch")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    return Scorer.load(artifact(tmp_path_factory.mktemp("artifact")), threads=1)


def test_scores_are_bit_equal_to_the_method_called_directly(scorer):
    scored = scorer.score([r.tobytes() for r in ROWS])
    classes, confidence = LINE.predict(torch.from_numpy(ROWS))
    assert scored.confidence.tobytes() == confidence.numpy().tobytes()
    assert (scored.predicted == classes.numpy()).all()
    assert (scored.cell == LINE.calibration.cells(confidence).numpy()).all()


def test_on_the_cpu_an_artifact_is_scored_without_torch_and_says_what_it_is(scorer):
    assert isinstance(scorer.line, LineScorer)
    assert scorer.calibration.n == 2000
    assert (scorer.experts, scorer.name_expert(0)) == (("line",), "")
    scored = scorer.score([ROWS[0].tobytes(), np.full(8, np.nan, "<f4").tobytes()])
    kinds = [a.dtype for a in (scored.confidence, scored.predicted, scored.cells, scored.expert)]
    assert kinds == [np.float32, np.int64, np.int64, np.int64]
    assert scored.cells.shape == (2, 1)
    assert np.isnan(scored.confidence[1])


def test_the_cells_of_a_single_expert_may_be_a_row_and_it_is_the_expert_of_each():
    good, nothing = np.ones(3, np.bool_), np.zeros(3, np.int64)
    scored = Scored(np.zeros(3, np.float32), nothing, np.array([4, 5, 6]), good, good)
    assert (scored.cells.tolist(), scored.cell.tolist()) == ([[4], [5], [6]], [4, 5, 6])
    assert (scored.expert.tolist(), scored.expert.dtype) == ([0, 0, 0], np.int64)
    own = Scored(np.zeros(3, np.float32), nothing, np.ones((3, 2), np.int64), good, good, np.array([1, 0, 1]))
    assert (own.cells.shape, own.expert.tolist()) == ((3, 2), [1, 0, 1])


def test_a_class_without_a_name_is_shown_by_its_number(scorer):
    scorer = Scorer(scorer.line)
    scorer.line = SimpleNamespace(provenance=SimpleNamespace(class_names=("cat", "dog")))
    assert [scorer.class_name(k) for k in (-1, 0, 1, 2)] == ["-1", "cat", "dog", "2"]


@pytest.mark.parametrize(("device", "pinned"), [("cuda", [(2, True)]), ("cpu", []), (None, [])])
def test_rows_are_joined_in_pinned_memory_if_the_artifact_lies_on_a_gpu(device, pinned, monkeypatch):
    made = []
    monkeypatch.setattr(scoring, "Staging", lambda width, pinned: made.append((width, pinned)))
    line = SimpleNamespace(width=2, calibration=LINE.calibration, predict=None)
    if device is not None:
        line.device = SimpleNamespace(type=device)
    Scorer(line)
    assert made == pinned


def test_a_number_counts_as_long_as_it_is_not_beyond_the_largest_magnitude(scorer):
    rows = np.zeros((6, 8), np.float32)
    rows[:, 3] = [2, -2, 2.5, -2.5, np.inf, np.nan]
    scored = scorer.score([r.tobytes() for r in rows], 2.0)
    assert scored.finite.tolist() == [True] * 4 + [False] * 2
    assert scored.usable.tolist() == [True, True] + [False] * 4
    assert scorer.score([r.tobytes() for r in rows[:2]], 2.0).usable.all()
    for beyond in rows[2:4]:
        assert not scorer.score([beyond.tobytes()], 2.0).usable.any()


def test_an_expert_is_named_only_if_there_are_several(scorer):
    scorer = Scorer(scorer.line)
    for experts, names in ((("a", "b"), ["a", "b"]), (("a",), [""])):
        scorer._members = SimpleNamespace(experts=experts)
        assert [scorer.name_expert(n) for n in range(len(experts))] == names


def test_as_many_threads_score_as_the_settings_say_torch_s_among_them(tmp_path, monkeypatch):
    """Torch is imported by the loading of an artifact onto a device, so the number is said once more after that."""
    said, path = [], artifact(tmp_path)
    monkeypatch.setattr(cpu, "set_threads", said.append)
    Scorer.load(path)
    Scorer.load(path, threads=3)
    assert said == [0, 3]
    monkeypatch.setattr(tensors, "load", lambda *given: said.append(given) or LINE)
    assert Scorer.load(path, "cuda", 2).line is LINE
    assert said[2:] == [2, (path, "cuda"), 2]


# -- who gathers evidence ----------------------------------------------------------------------------------------------


def test_line_gathers_evidence_alone_with_its_own_calibration_and_confidence():
    members = Members.of(LINE)
    assert (members.names, members.calibrations, members.experts) == (("line",), (LINE.calibration,), ())
    classes, confidence, each = members.predict(ROWS[:5])
    expected = LINE.predict(torch.from_numpy(ROWS[:5]))
    assert (classes.tolist(), confidence.tolist()) == (expected[0].tolist(), expected[1].tolist())
    assert each.tolist() == confidence[:, None].tolist()


def test_the_cells_of_a_member_are_those_of_its_own_score_and_the_panel_s_those_of_the_confidence():
    calibrations = [Calibration(np.arange(1000.0) + start) for start in (0, 2000)]
    members = Members(("panel", "angle"), tuple(calibrations), ("line", "angle"), None)
    confidence, each = (
        np.array([-1.0, 999.0]),
        np.array(
            [
                [5.0, 2999.0],
                [7.0, 2001.0],
            ]
        ),
    )
    cells, lowest = members.place(confidence, each)
    assert cells.tolist() == [[0, 6], [6, 1]]
    assert lowest.tolist() == [0, 0]
    assert members.place(confidence, each[:, ::-1])[1].tolist() == [1, 1]


def test_a_panel_s_members_are_those_that_it_was_calibrated_for(tmp_path):
    panel = small_panel(("panel", "angle"))
    panel.save(tmp_path / "panel.safetensors")
    without_torch = Scorer.load(tmp_path / "panel.safetensors").line
    assert isinstance(without_torch, PanelScorer)
    for kind in (panel, without_torch):
        members = Members.of(kind)
        assert (members.names, members.experts) == (("panel", "angle"), tuple(panel.settings.experts))
        assert members.calibrations == tuple(kind.evidence_calibrations.values())
        classes, confidence, each = members.predict(ROWS[:5])
        assert (classes.shape, confidence.shape, each.shape) == ((5,), (5,), (5, len(members.experts)))
    scored = Scorer(without_torch).score([r.tobytes() for r in ROWS])
    assert scored.expert.tolist() == without_torch.predict_experts(ROWS)[2].argmin(axis=1).tolist()
    assert len(set(scored.expert.tolist())) > 1
    panel.evidence_calibrations = {}
    with pytest.raises(ModelError) as refused:
        Members.of(panel)
    assert str(refused.value) == (
        "the artifact holds a calibration of the panel, but does not name the scores that collect evidence: calibrate "
        "it again with `openood calibrate`"
    )


def test_scores_are_bit_equal_to_those_of_the_benchmark_s_method(tmp_path):
    features, labels = torch.from_numpy(embeddings(600, seed=8)), torch.arange(600) % 3
    one = FeatureSet("train", features, labels.numpy(), labels.numpy(), "")
    weight, bias = torch.randn(3, 8, generator=torch.Generator().manual_seed(1)), torch.zeros(3)
    method = LineMethod()
    method.set({"p_w": 10, "p_a": 10, "clip_percentile": 90})
    method.fit(FitData(one, one, weight, bias))
    method.line.calibrate(features)
    method.line.save(tmp_path / "line.safetensors")
    scored = Scorer.load(tmp_path / "line.safetensors").score([r.tobytes() for r in ROWS])
    assert scored.confidence.tobytes() == method.score(torch.from_numpy(ROWS)).numpy().tobytes()


@given(st.integers(0, 250), st.integers(1, 50))
def test_the_same_batch_gives_the_same_bits_wherever_it_lies(start, size):
    part = ROWS[start : start + size]
    scored = Scorer(LINE).score([r.tobytes() for r in part])
    assert scored.confidence.tobytes() == LINE.predict(torch.from_numpy(part.copy()))[1].numpy().tobytes()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_class_and_cell_do_not_depend_on_how_a_stream_is_cut_into_batches(sizes):
    whole = Scorer(LINE).score([r.tobytes() for r in ROWS])
    at = 0
    for size in sizes:
        part = Scorer(LINE).score([r.tobytes() for r in ROWS[at : at + size]])
        assert (part.predicted == whole.predicted[at : at + size]).all()
        assert (part.cell == whole.cell[at : at + size]).all()
        at += size


def test_a_row_that_is_not_finite_leaves_the_others_as_they_are(scorer):
    rows = ROWS[:20].copy()
    rows[3, 2], rows[11, 0] = np.nan, np.inf
    scored = scorer.score([r.tobytes() for r in rows])
    assert np.flatnonzero(~scored.finite).tolist() == [3, 11]
    kept = LINE.predict(torch.from_numpy(rows[scored.finite]))[1].numpy()
    assert scored.confidence[scored.finite].tobytes() == kept.tobytes()


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_memory_that_is_used_again_holds_the_rows_of_the_batch_alone(sizes):
    staging = Staging(8, pinned=False)
    for at, size in enumerate(sizes):
        part = ROWS[at : at + size]
        assert staging.join([r.tobytes() for r in part]).tobytes() == part.tobytes()


def test_scores_by_way_of_kept_memory_have_the_bits_of_the_plain_way(scorer):
    kept = Scorer(LINE)
    kept._staging = Staging(LINE.width, pinned=False)
    for start, size in ((0, 40), (40, 7), (100, 90)):
        vectors = [r.tobytes() for r in ROWS[start : start + size]]
        assert kept.score(vectors).confidence.tobytes() == scorer.score(vectors).confidence.tobytes()


def test_no_rows_are_no_scores(scorer):
    assert len(scorer.score([]).confidence) == 0


def test_an_artifact_without_calibration_is_refused(tmp_path):
    bare = LINe(10, 10, 2.0).fit_features(torch.rand(30, 8), torch.arange(30) % 3, torch.rand(3, 8), None)
    bare.save(tmp_path / "bare.safetensors")
    with pytest.raises(ModelError) as refused:
        Scorer.load(tmp_path / "bare.safetensors")
    assert str(refused.value) == (
        "the artifact holds no calibration: write it with `openood calibrate` on held-out ID images"
    )


def test_an_artifact_that_is_not_there_is_one_line():
    with pytest.raises(ModelError, match="cannot read nowhere"):
        Scorer.load("nowhere")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_scores_on_cuda_are_bit_equal_to_the_method_on_cuda(tmp_path):
    scorer = Scorer.load(artifact(tmp_path), "cuda")
    scored = scorer.score([r.tobytes() for r in ROWS])
    expected = scorer.line.predict(torch.from_numpy(ROWS).cuda())[1].cpu().numpy()
    assert scored.confidence.tobytes() == expected.tobytes()


def test_a_panel_scores_in_the_worker_as_in_the_benchmark(tmp_path):
    features, labels = torch.from_numpy(embeddings(600, seed=8)), torch.arange(600) % 3
    one = FeatureSet("train", features, labels.numpy(), labels.numpy(), "")
    method = PanelMethod()
    method.fit(FitData(one, one, torch.randn(3, 8, generator=torch.Generator().manual_seed(1)), torch.zeros(3)))
    calibration = method.panel.calibrate(features)
    method.panel.save(tmp_path / "panel.safetensors")
    scorer = Scorer.load(tmp_path / "panel.safetensors")
    whole = method.score(torch.from_numpy(ROWS))
    for size in (1, 7, 64, 300):
        parts = [scorer.score([r.tobytes() for r in ROWS[at : at + size]]) for at in range(0, 300, size)]
        assert b"".join(part.confidence.tobytes() for part in parts) == whole.numpy().tobytes()
        assert (np.concatenate([part.cell for part in parts]) == calibration.cells(whole).numpy()).all()
    assert scorer.width == 8
    assert scorer.artifact == method.panel.content_sha256
    assert (
        np.concatenate([part.predicted for part in parts])
        == method.panel.line.predict(torch.from_numpy(ROWS))[0].numpy()
    ).all()


def test_a_panel_without_calibration_is_refused(tmp_path):
    panel = Panel().fit_features(
        torch.from_numpy(embeddings(600, seed=8)), torch.arange(600) % 3, torch.rand(3, 8), None
    )
    panel.save(tmp_path / "panel.safetensors")
    with pytest.raises(ModelError, match="openood calibrate"):
        Scorer.load(tmp_path / "panel.safetensors")


@pytest.mark.parametrize(
    ("numba", "device", "said"),
    [
        (False, "cpu", say_missing("numba", "scoring on the CPU", "monitor")),
        (True, "cpu", f"numba's kernels cannot be used here (see the log), and {WITH_TORCH}"),
        (True, "cuda", f"model.device is cuda, and {WITH_TORCH}"),
    ],
)
def test_a_scorer_that_has_neither_numba_nor_torch_says_which_extra_brings_one(
    numba, device, said, tmp_path, monkeypatch
):
    path = artifact(tmp_path)
    monkeypatch.setattr(cpu, "installed", lambda: numba)
    monkeypatch.setattr(cpu, "pack", lambda *_: None)
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it raises
    with pytest.raises(MissingLibraryError) as refused:
        Scorer.load(path, device)
    assert str(refused.value) == said


def test_a_device_that_torch_cannot_use_is_named(tmp_path):
    path = artifact(tmp_path)
    with pytest.raises(ModelError, match=r"^device 'nonsense' cannot be used: .*nonsense"):
        tensors.load(path, "nonsense")
    assert tensors.load(path, "meta").device.type == "meta"


def test_memory_for_rows_grows_to_twice_its_size_and_is_kept_as_long_as_they_fit():
    staging, vectors = Staging(8, pinned=False), [r.tobytes() for r in ROWS]
    sizes = []
    for size in (3, 2, 3, 4, 6, 20):
        staging.join(vectors[:size])
        sizes.append(len(staging._rows))
    assert sizes == [3, 3, 3, 6, 6, 20]


def test_rows_go_to_a_gpu_without_waiting_and_stay_where_they_are_otherwise(monkeypatch):
    moved = []

    class Rows:
        def to(self, *given, **how):
            moved.append((*given, how))
            return "moved"

    monkeypatch.setattr(torch, "from_numpy", lambda rows: Rows())
    for kind, found in (("cuda", "moved"), ("cpu", None)):
        device = SimpleNamespace(type=kind)
        features = tensors.TensorScorer(SimpleNamespace(device=device))._moved(ROWS)
        assert features == found or isinstance(features, Rows)
        assert moved == [(device, {"non_blocking": True})] * (kind == "cuda")
        moved.clear()


@pytest.mark.parametrize("pinned", [True, False])
def test_memory_for_rows_is_pinned_if_asked_for(pinned, monkeypatch):
    asked, empty = [], torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **how: asked.append((size, how)) or empty(*size))
    Staging(8, pinned).join([ROWS[0].tobytes()])
    assert asked == [((1, 8), {"dtype": torch.float32, "pin_memory": pinned})]


def test_torch_scores_if_numba_cannot(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "installed", lambda: False)
    scorer = Scorer.load(artifact(tmp_path))
    assert isinstance(scorer.line, LINe)
    found, expected = (s.score([r.tobytes() for r in ROWS]) for s in (scorer, Scorer(LINE)))
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-5)
    assert (found.predicted == expected.predicted).all()
