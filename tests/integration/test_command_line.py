"""The `openood` command line as a user meets it: what it prints, what it writes, how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from line_plugin import LINe
from line_plugin.cli import main
from tests.integration.small_world import make_world, small_net

FACTORY = f"{Path(__file__).parent / 'small_world.py'}:small_net"


@pytest.fixture
def world(tmp_path: Path) -> list[str]:
    """Flags that name the small world and its network."""
    benchmark = make_world(tmp_path / "data")
    return [
        *("--id-data", str(benchmark), "--data-root", str(tmp_path / "data"), "--model", FACTORY),
        *("--cache-dir", str(tmp_path / "cache"), "--num-workers", "0", "--device", "cpu"),
    ]


def failing(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail with one line; returns that line."""
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    return captured.err


def test_help_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys\nfrom line_plugin.cli import parser\nparser().format_help()\n"
        "print([m for m in ('torch', 'numpy', 'rich', 'pydantic', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_list_names_benchmarks_methods_networks_and_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    for word in ("imagenet200", "line-cifar10", "react", "resnet18_32x32", "cifar10-densenet"):
        assert word in said


def test_eval_prints_a_table_and_saves_openoods_csv(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--output-dir", str(tmp_path / "out"), "--save-csv", "--save-score"]
    assert main(["eval", "--postprocessor", "line,msp", *world, *out]) == 0
    captured = capsys.readouterr()
    assert "nearood" in captured.out
    assert "FPR95 (ID+)" in captured.out
    assert captured.err == ""
    csv = (tmp_path / "out/ood/line.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in csv] == ["", "near_a", "nearood", "far_a", "far_b", "farood"]
    with np.load(tmp_path / "out/scores/line.npz", allow_pickle=False) as scores:
        assert scores["far_a/confidence"].shape == (16,)
        assert set(scores["far_a/label"]) == {-1}


def test_json_is_all_that_stdout_holds(world: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--postprocessor", "ebo,react", *world, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["images_forwarded"] == 60 + 24 + 30 + 20 + 18 + 16 + 14
    assert set(result["methods"]["react"]["rows"]["farood"]) == {
        *("FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC", "FPR95_ID_positive")
    }
    assert len(result["methods"]["react"]["sweep"][0]) == 4


def test_a_folder_of_runs_gives_mean_and_std(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(2):
        (tmp_path / f"runs/s{i}").mkdir(parents=True)
        torch.save(small_net(i).state_dict(), tmp_path / f"runs/s{i}/best.ckpt")
    assert main(["eval", "--postprocessor", "ebo", *world, "--root", str(tmp_path / "runs")]) == 0
    assert "±" in capsys.readouterr().out


def test_fit_calibrate_and_load_give_one_artifact(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = tmp_path / "line.safetensors"
    assert main(["fit", "--output", str(artifact), "--set", "p_a=20", *world]) == 0
    assert main(["calibrate", str(artifact), "--fpr", "0.1", *world]) == 0
    said = capsys.readouterr().out
    assert "24 samples" in said
    line = LINe.load(artifact)
    assert line.settings.p_a == 20
    assert line.calibration is not None
    assert (line.calibration.n, line.calibration.tpr) == (24, 0.9)
    assert line.provenance.head == "classify"


def test_calibrate_takes_features_of_ones_own_traffic(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = tmp_path / "line.safetensors"
    main(["fit", "--output", str(artifact), *world])
    np.save(tmp_path / "traffic.npy", np.random.default_rng(0).random((300, 16), dtype=np.float32))
    assert main(["calibrate", str(artifact), "--features", str(tmp_path / "traffic.npy")]) == 0
    line = LINe.load(artifact)
    assert line.calibration is not None
    assert (line.calibration.n, line.calibration.source) == (300, "traffic.npy")


def test_calibrate_refuses_another_network(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = tmp_path / "line.safetensors"
    main(["fit", "--output", str(artifact), *world])
    before = artifact.read_bytes()
    save_file(small_net(5).state_dict(), tmp_path / "other.safetensors")
    capsys.readouterr()
    said = failing(["calibrate", str(artifact), *world, "--checkpoint", str(tmp_path / "other.safetensors")], capsys)
    assert "was fitted on another network" in said
    assert artifact.read_bytes() == before


def test_unknown_method_offers_the_nearest(world: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'react'" in failing(["eval", "--postprocessor", "line,raect", *world], capsys)


def test_unreadable_checkpoint(world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.ckpt").write_bytes(b"not a checkpoint")
    said = failing(["eval", *world, "--checkpoint", str(tmp_path / "broken.ckpt")], capsys)
    assert "broken.ckpt" in said
    assert "absent.ckpt" in failing(["eval", *world, "--checkpoint", str(tmp_path / "absent.ckpt")], capsys)


def test_missing_head(world: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = failing(["eval", *world, "--head", "fc"], capsys)
    assert "no Linear at 'fc': this network has classify (16 -> 3)" in said


def test_corrupt_artifact(world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "line.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    assert "is broken" in failing(["calibrate", str(tmp_path / "line.safetensors"), *world], capsys)


def test_nan_and_wrong_width_features(world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = tmp_path / "line.safetensors"
    main(["fit", "--output", str(artifact), *world])
    before = artifact.read_bytes()
    capsys.readouterr()
    for name, values, message in (
        ("nan.npy", np.full((4, 16), np.nan, dtype=np.float32), "64 NaN or Inf in 4 of 4 rows"),
        ("wide.npy", np.zeros((4, 17), dtype=np.float32), "expected (N, 16), the input of the head (head 'classify')"),
    ):
        np.save(tmp_path / name, values)
        assert message in failing(["calibrate", str(artifact), "--features", str(tmp_path / name)], capsys)
    assert artifact.read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--id-data", "cifar1O"], "did you mean 'cifar10'"),
        (["--set", "line.p_w"], "expected METHOD.SETTING=VALUE"),
        (["--set", "line.p_w=900"], "p_w=900"),
        (["--device", "cuda:77"], "is not usable here"),
        (["--arch", "resnet18_32x32"], "give --model or --arch, not both"),
        (["--root", "nowhere"], "no training run in nowhere"),
    ],
)
def test_wrong_flags_are_said_in_one_line(
    world: list[str], capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert message in failing(["eval", *world, *flags], capsys)


def test_debug_shows_the_traceback(world: list[str]) -> None:
    from line_plugin.errors import HeadError

    with pytest.raises(HeadError):
        main(["eval", *world, "--head", "fc", "--debug"])


def test_an_argument_error_is_one_line_with_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "line_plugin.cli", "eval", "--batch-size", "none"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--batch-size" in done.stderr


def test_interrupt_ends_with_130_and_one_line(
    world: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from line_plugin.benchmark import runner

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "evaluate", interrupted)
    assert main(["eval", *world]) == 130
    assert capsys.readouterr().err == (
        "openood: interrupted; what was finished is kept, nothing half-written is left\n"
    )
