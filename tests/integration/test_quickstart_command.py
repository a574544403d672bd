"""`openood quickstart`, the way `make demo` runs it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from line_plugin import LINe, Panel, load_artifact
from line_plugin.cli import main
from monitor.demo.material import material

pytestmark = pytest.mark.slow


def test_quickstart_ends_with_a_table_plots_and_a_calibrated_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    assert main(["quickstart", "--output-dir", str(folder)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for command in ("openood fit", "openood calibrate", "openood eval"):
        assert f"$ {command}" in captured.out
    methods = {p.stem for p in (folder / "results/ood").glob("*.csv")}
    assert methods == {"line", "line-paper", "panel", "msp", "ebo", "mls", "react", "dice", "ash", "knn"}
    with (folder / "results/ood/line.csv").open() as file:
        rows = {row[""]: row for row in csv.DictReader(file)}
    assert float(rows["farood"]["AUROC"]) > 98.5
    assert float(rows["farood"]["ACC"]) > 97
    for picture in ("histograms.png", "roc.png"):
        assert (folder / "results" / picture).read_bytes().startswith(b"\x89PNG")
    line = LINe.load(folder / "line.safetensors")
    assert line.calibration is not None
    assert line.calibration.n == 400
    assert line.choice is not None
    assert line.settings.clip == line.choice.clip
    assert captured.out.count("training images alone") == 2, "fit and eval say how the clip was chosen"

    # A second evaluation finds every feature in the cache.
    network = ["--data-root", str(folder / "data"), "--checkpoint", str(folder / "lenet.safetensors")]
    assert main(["eval", "--id-data", "quickstart", *network, "--cache-dir", str(folder / "cache")]) == 0
    assert "Images forwarded: 0;" in capsys.readouterr().out

    # The monitor's demonstration takes what is there, for a panel too, and fits what is not.
    for method, kind in (("line", LINe), ("panel", Panel)):
        (folder / "line.safetensors").unlink(missing_ok=True)
        made = material(folder, method)
        artifact = load_artifact(made.artifact)
        assert isinstance(artifact, kind)
        assert artifact.calibration is not None
        flagged = (artifact.score(made.out_of_distribution) < artifact.calibration.threshold).double().mean()
        assert float(flagged) > 0.9
