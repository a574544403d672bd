"""`openood fit` and `openood eval` with settings that are chosen, published or given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from line_plugin import LINe
from line_plugin.cli import main
from tests.integration.small_world import make_world


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    """Data and network; the YAML file has settings for another network only."""
    path = make_world(tmp_path / "data")
    write(path, published={"line": {"network": "lenet", "settings": {"p_w": 1, "p_a": 1, "clip": 0.1}}})
    network = ["--id-data", str(path), "--data-root", str(tmp_path / "data"), "--device", "cpu", "--num-workers", "0"]
    return [*network, "--model", "tests.integration.small_world:small_net", "--cache-dir", str(tmp_path / "cache")]


def write(path: Path, **sections: object) -> None:
    """The benchmark with these sections instead of ``methods``."""
    raw = yaml.safe_load(path.read_text())
    raw.pop("methods", None)
    path.write_text(yaml.safe_dump(raw | sections))


def fit(tmp_path: Path, flags: list[str], *more: str) -> LINe:
    assert main(["fit", "--output", str(tmp_path / "line.safetensors"), *flags, *more]) == 0
    return LINe.load(tmp_path / "line.safetensors")


def test_fit_chooses_prints_its_table_and_keeps_it_in_the_artifact(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fit(tmp_path, flags)
    printed = capsys.readouterr().out
    assert line.choice is not None
    assert line.settings.clip == line.choice.clip
    because = "line: no settings were published for this network, only for lenet, so its clip"
    assert f"{because} {line.choice.clip:.4g} was chosen from 60 training images alone" in printed
    assert "fold 3" in printed
    for candidate in line.choice.candidates:
        assert f"{100 * candidate.mean:.2f}" in printed
    assert "3 classes, fewer than 5" in printed
    assert "60 training rows were used" in printed


def test_auto_wins_over_the_settings_of_the_yaml_file(flags: list[str], tmp_path: Path) -> None:
    line = fit(tmp_path, flags)
    write(Path(flags[1]), methods={"line": {"p_w": 33, "p_a": 33, "clip": 0.3}})
    assert fit(tmp_path, flags).settings.clip == 0.3
    again = fit(tmp_path, flags, "--auto")
    assert again.choice == line.choice
    assert again.settings == line.settings


def test_a_preset_and_settings_win_and_leave_no_record(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fit(tmp_path, flags, "--preset", "cifar10-densenet", "--set", "p_w=10")
    assert (line.settings.p_w, line.settings.p_a, line.settings.clip) == (10, 90, 1.0)
    assert line.choice is None
    assert "left-out" not in capsys.readouterr().out
    mixed = fit(tmp_path, flags, "--auto", "--set", "p_w=90")
    assert mixed.settings.p_w == 90
    assert mixed.choice is not None


def test_contradictions_are_one_line(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *flags, "--auto", "--set", "clip=2"]) == 1
    assert "--auto chooses the clip and --set clip=2 names one" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fit", *flags, "--auto", "--preset", "cifar10-densenet"])


def test_eval_chooses_as_fit_does_and_says_so_in_text_and_json(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fit(tmp_path, flags)
    capsys.readouterr()
    assert line.choice is not None
    assert main(["eval", *flags, "--postprocessor", "line,line-paper,ebo"]) == 0
    printed = capsys.readouterr().out
    assert "Clips that line tried on left-out classes" in printed
    assert printed.count("training images alone") == 1
    assert "line-paper (p_w=90, p_a=90, clip=1" in printed
    assert main(["eval", *flags, "--postprocessor", "line", "--brief"]) == 0
    printed = capsys.readouterr().out
    assert "left-out classes" not in printed
    assert "training images alone" in printed
    assert main(["eval", *flags, "--postprocessor", "line,ebo", "--json"]) == 0
    methods = json.loads(capsys.readouterr().out)["methods"]
    (record,) = methods["line"]["choice"]
    assert record == {"clip_choice": line.provenance.extra["clip_choice"]}
    assert methods["line"]["settings"][0]["clip"] == line.settings.clip
    assert methods["ebo"]["choice"] == [{}]


def test_a_search_on_the_validation_sets_is_not_called_a_choice_of_the_rule(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *flags, "--postprocessor", "line", "--sweep"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "chosen on the validation sets" in printed
    assert "training images alone" not in printed
    assert "published" not in printed
