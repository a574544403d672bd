"""The panel through the commands, and the same scores in the benchmark, in its artifact and in the monitor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from line_plugin import Panel, load_artifact
from line_plugin.cli import main
from monitor.counting.scoring import Scorer
from tests.integration.small_world import make_world


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    path = make_world(tmp_path / "data")
    network = ["--id-data", str(path), "--data-root", str(tmp_path / "data"), "--device", "cpu", "--num-workers", "0"]
    return [*network, "--model", "tests.integration.small_world:small_net", "--cache-dir", str(tmp_path / "cache")]


def same(panel: Panel, rows: np.ndarray, confidence: np.ndarray) -> bool:
    """Whether these cached features are those that have these scores."""
    return len(rows) == len(confidence) and np.array_equal(panel.score(torch.from_numpy(rows)), confidence)


def test_fit_calibrate_eval_and_the_worker_give_the_same_scores(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = tmp_path / "panel.safetensors"
    assert main(["fit", "--postprocessor", "panel", "--output", str(artifact), *flags]) == 0
    assert "Fitted Panel(line + angle + prototypes + virtual_logit; K=3" in capsys.readouterr().out
    assert main(["calibrate", str(artifact), *flags]) == 0
    panel = load_artifact(artifact)
    assert isinstance(panel, Panel)
    assert panel.calibration is not None
    assert panel.provenance.data_sha256
    assert panel.choice is not None
    results = ["--save-score", "--output-dir", str(tmp_path / "results"), "--json"]
    capsys.readouterr()
    assert main(["eval", "--postprocessor", "panel,line", *results, *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["methods"]) == {"panel", "line"}
    scorer, compared = Scorer.load(artifact), 0
    features = [np.load(p) for p in (tmp_path / "cache" / "features").glob("*/features.npy")]
    kept = np.load(tmp_path / "results" / "scores" / "panel.npz")
    for name in (name for name in kept if name.endswith("/confidence")):
        rows = next(x for x in features if same(panel, x, kept[name]))
        scored = scorer.score([row.tobytes() for row in rows])
        assert scored.confidence.tobytes() == kept[name].tobytes()
        assert (scored.cell == panel.calibration.cells(torch.from_numpy(kept[name])).numpy()).all()
        compared += 1
    assert compared >= 3
    assert scorer.artifact == panel.content_sha256


def test_experts_are_chosen_with_set(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--set", "experts=line+angle", "--set", "prototypes=2"]
    artifact = tmp_path / "panel.safetensors"
    assert main(["fit", "--postprocessor", "panel", "--output", str(artifact), *given, *flags]) == 0
    assert Panel.load(artifact).settings.experts == ("line", "angle")
    assert main(["fit", "--postprocessor", "panel", "--set", "experts=line+angel", *flags]) == 1
    assert "unknown expert 'angel': did you mean 'angle'" in capsys.readouterr().err
    assert main(["fit", "--postprocessor", "panel", "--auto", *flags]) == 1
    assert "--auto is for line; the panel always chooses its clip" in capsys.readouterr().err
