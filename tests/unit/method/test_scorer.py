"""Artifacts that are read and scored without torch: the bits of the torch objects, and the same refusals."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from line_plugin import LINe, Panel
from line_plugin.errors import ArtifactCorruptError, ArtifactError, NonFiniteError, WidthError
from line_plugin.kernels import cpu
from line_plugin.method.artifact_file import read_arrays, write_arrays
from line_plugin.method.scorer import LineScorer, PanelScorer, load_scorer
from tests.monitor_support import WITHOUT_TORCH, small_line, small_panel

pytestmark = pytest.mark.skipif(not cpu.installed(), reason="numba is not installed")

ROOT = Path(__file__).parents[3]
PERCENTILES = st.one_of(st.none(), st.sampled_from([0, 10, 90, 100]))


def fitted(k: int, d: int, seed: int, p_w: float | None, p_a: float | None, clip: float | None) -> LINe:
    g = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(k, d, generator=g), torch.randn(k, generator=g)
    line = LINe(p_w, p_a, clip).fit_features(torch.rand(3 * k, d, generator=g), torch.arange(3 * k) % k, weight, bias)
    line.calibrate(torch.rand(50, d, generator=g))
    return line


@settings(deadline=None, max_examples=40)
@given(
    k=st.sampled_from([1, 2, 10, 16, 70, 260]),
    d=st.integers(1, 200),
    n=st.integers(0, 130),
    seed=st.integers(0, 999),
    p_w=PERCENTILES,
    p_a=PERCENTILES,
    clip=st.one_of(st.none(), st.sampled_from([0.2, 1.0])),
)
def test_an_artifact_scored_without_torch_has_the_bits_of_line(
    tmp_path_factory: pytest.TempPathFactory, k: int, d: int, n: int, seed: int, p_w: float, p_a: float, clip: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "line.safetensors"
    line = fitted(k, d, seed, p_w, p_a, clip)
    line.save(path)
    scorer, x = load_scorer(path), torch.randn(n, d, generator=torch.Generator().manual_seed(seed + 1))
    assert isinstance(scorer, LineScorer)
    classes, confidence = scorer.predict(x.numpy())
    for other in (line, LINe.load(path)):
        expected_classes, expected = other.predict(x)
        assert classes.tolist() == expected_classes.tolist()
        assert confidence.tobytes() == expected.numpy().tobytes()
    assert line.calibration is not None
    assert scorer.calibration is not None
    assert scorer.calibration.limits() == line.calibration.limits()
    assert scorer.calibration.cells(confidence).tolist() == line.calibration.cells(expected).tolist()
    assert (repr(scorer), scorer.content_sha256) == (repr(line), line.content_sha256)


@pytest.mark.parametrize("experts", [("line", "angle", "prototypes", "virtual_logit"), ("line", "angle"), ("angle",)])
@pytest.mark.parametrize(("k", "d"), [(3, 8), (10, 61), (70, 300)])
def test_a_panel_scored_without_torch_has_the_bits_of_panel(
    experts: tuple[str, ...], k: int, d: int, tmp_path: Path
) -> None:
    g = torch.Generator().manual_seed(k)
    rows = torch.rand(20 * k, d, generator=g)
    panel = Panel(experts).fit_features(rows, torch.arange(20 * k) % k, torch.randn(k, d, generator=g), None)
    panel.calibrate(torch.rand(60, d, generator=g))
    panel.save(tmp_path / "panel.safetensors")
    scorer, x = load_scorer(tmp_path / "panel.safetensors"), 1.2 * torch.rand(150, d, generator=g)
    assert isinstance(scorer, PanelScorer)
    for n in (0, 1, 150):
        found = scorer.predict_experts(x[:n].numpy())
        for got, expected in zip(found, panel.predict_experts(x[:n]), strict=True):
            assert got.tobytes() == expected.numpy().tobytes()
    assert list(scorer.evidence_calibrations) == list(panel.evidence_calibrations)
    for name, held in panel.evidence_calibrations.items():
        assert scorer.evidence_calibrations[name].threshold == held.threshold
    assert (repr(scorer), scorer.content_sha256) == (repr(panel), panel.content_sha256)


def test_the_file_has_the_bytes_and_the_hash_that_torch_s_safetensors_give(tmp_path: Path) -> None:
    line = small_line()
    line.save(tmp_path / "line.safetensors")
    blob = (tmp_path / "line.safetensors").read_bytes()
    tensors = load(blob)
    length = int.from_bytes(blob[:8], "little")
    text = json.loads(blob[8 : 8 + length])["__metadata__"]["line_plugin"]
    assert save(tensors, metadata={"line_plugin": text}) == blob
    metadata = json.loads(text)
    stored = metadata.pop("content_sha256")
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(tensors):
        digest.update(f"\0{name}\0{tensors[name].dtype}\0{tuple(tensors[name].shape)}\0".encode())
        digest.update(tensors[name].numpy().tobytes())
    assert digest.hexdigest() == stored == line.content_sha256


def test_features_that_cannot_be_scored_are_refused_as_line_refuses_them(tmp_path: Path) -> None:
    line = small_line()
    line.save(tmp_path / "line.safetensors")
    scorer = load_scorer(tmp_path / "line.safetensors")
    assert isinstance(scorer, LineScorer)
    with pytest.raises(WidthError, match="expected"):
        scorer.predict(np.zeros((2, line.width + 1), np.float32))
    with pytest.raises(NonFiniteError, match="1 NaN or Inf"):
        scorer.predict(np.array([[np.nan, *[0.0] * (line.width - 1)]], np.float32))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("line", "bias"), ("line", "sums"), ("line", "counts"), ("panel", "prototypes"), ("panel", "basis")],
)
def test_an_array_of_another_shape_is_refused_before_compiled_code_reads_it(
    kind: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "artifact.safetensors"
    (small_line() if kind == "line" else small_panel()).save(path)
    arrays, metadata = read_arrays(path)
    write_arrays(path, {**arrays, name: arrays[name][..., :1]}, metadata)
    with pytest.raises(ArtifactCorruptError, match=name):
        load_scorer(path)


def test_another_kind_of_artifact_is_refused_and_a_missing_file_too(tmp_path: Path) -> None:
    write_arrays(tmp_path / "other.safetensors", {}, {"kind": "other"})
    with pytest.raises(ArtifactError, match="kind 'other'"):
        load_scorer(tmp_path / "other.safetensors")
    with pytest.raises(ArtifactError, match="cannot read"):
        load_scorer(tmp_path / "nowhere")


def test_without_numba_nothing_is_scored_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_line().save(tmp_path / "line.safetensors")
    monkeypatch.setattr(cpu, "installed", lambda: False)
    assert load_scorer(tmp_path / "line.safetensors") is None


def test_a_process_in_which_torch_cannot_be_imported_scores_with_the_same_bits(tmp_path: Path) -> None:
    for made in (small_line(), small_panel()):
        made.save(tmp_path / f"{type(made).__name__}.safetensors")
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).random((300, 8), np.float32))
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TORCH)
    code = (
        "import sys, numpy as np\n"
        "from line_plugin.kernels.cpu import set_threads\n"
        "from line_plugin.method.scorer import load_scorer\n"
        "rows = np.load('rows.npy'); line, panel = (load_scorer(n + '.safetensors') for n in ('LINe', 'Panel'))\n"
        "for threads in (1, 3):\n"
        "    set_threads(threads)\n"
        "    print(line.predict(rows)[1].tobytes().hex(), panel.predict_experts(rows)[1].tobytes().hex())\n"
        "assert 'torch' not in sys.modules\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = torch.from_numpy(np.load(tmp_path / "rows.npy"))
    expected = [made.predict(rows)[1].numpy().tobytes().hex() for made in (small_line(), small_panel())]
    assert [line.split() for line in done.stdout.splitlines()] == [expected, expected]
