"""What others published stays beside what is measured; rows for the leaderboard have its own form."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from line_plugin import networks
from line_plugin.benchmark import methods, report
from line_plugin.benchmark.report import board
from line_plugin.benchmark.report.published import number_of
from line_plugin.cli import main, parser
from line_plugin.cli.evaluate import run as run_eval
from line_plugin.errors import SettingsError
from tests.fixtures import openood_data
from tests.fixtures.upstream import SmallNet

BENCHMARKS = ["cifar10", "cifar100", "imagenet200", "imagenet"]
HEADER = "Training,Postprocessor,Near-OOD_AUROC,Far-OOD_AUROC,ID_Accuracy,Outlier_Data,Arch,Additional_Description"


def test_the_published_rows_are_those_of_the_source() -> None:
    """Picked by hand from the leaderboard's pages."""
    found = {(b, r.method): (r.near, r.far) for b in BENCHMARKS for r in report.published_rows(b, "ResNet50")}
    assert found["cifar10", "fDBD"] == ("90.42 ± 0.00", "93.16 ± 0.00")
    assert found["cifar100", "GEN"] == ("81.31 ± 0.08", "79.68 ± 0.75")
    assert found["imagenet200", "AdaSCALE-A"] == ("85.52 ± 0.27", "94.43 ± 0.21")
    assert found["imagenet", "SCALE"] == ("81.36", "96.53")
    assert found["imagenet", "CORE"] == ("77.92", "95.49")


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_published_row_has_numbers_a_source_and_a_date(benchmark: str) -> None:
    rows = report.published_rows(benchmark)
    assert len(rows) >= 29
    for row in rows:
        assert 0 < number_of(row.near) <= 100
        assert 0 < number_of(row.far) <= 100
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", row.source.date)
        assert row.source.url.startswith("https://")
    sums = [number_of(r.near) + number_of(r.far) for r in rows]
    assert sums == sorted(sums, reverse=True)


def test_rows_of_another_network_are_left_out_unless_there_are_no_others() -> None:
    assert {r.network for r in report.published_rows("imagenet", "ViT-B/16")} == {"ViT-B/16"}
    assert len({r.network for r in report.published_rows("imagenet", "ConvNeXt")}) == 4


def test_a_benchmark_without_published_rows_is_refused_with_those_that_have_some() -> None:
    with pytest.raises(SettingsError, match="no published rows of benchmark 'parts', only of cifar10, cifar100"):
        report.published_rows("parts")


def summary(method: str, runs: int) -> report.Summary:
    rows = ("cifar100", "nearood", "mnist", "farood")
    mean = np.tile(np.array([40.0, 90.4249, 1, 1, 95.061, 50.0]), (4, 1))
    mean[3, 1] = 93.155
    return report.Summary(method, rows, mean, np.full((4, 6), 0.256), runs)


def test_a_row_is_written_as_the_leaderboard_writes_it() -> None:
    entry = report.Entry("cifar10", False, "resnet18_32x32", description="100 epochs")
    (three,) = board.rows_of(entry, [summary("fdbd", 3)])
    assert ",".join(three.values()) == (
        "CrossEntropy,fDBD,90.42 ± 0.26,93.16 ± 0.26,95.06 ± 0.26,No,ResNet18,100 epochs"
    )
    entry = report.Entry("imagenet", False, "torchvision:vit_b_16", "OE", True, "torchvision ckpt")
    (one,) = board.rows_of(entry, [summary("line", 1)])
    assert ",".join(one.values()) == "OE,LINe,90.42,93.16,95.06,Yes,ViT-B/16,torchvision ckpt"
    assert ",".join(board.COLUMNS) == HEADER


@pytest.mark.parametrize(
    ("benchmark", "fsood", "file"),
    [
        ("cifar10", False, "results/cifar10.csv"),
        ("imagenet200", False, "results/imagenet200_ood.csv"),
        ("imagenet", True, "results/imagenet1k_fsood.csv"),
    ],
)
def test_each_benchmark_has_the_leaderboards_file(benchmark: str, fsood: bool, file: str) -> None:
    assert report.file_of(benchmark, fsood=fsood) == file


def test_methods_that_the_board_knows_are_methods_here() -> None:
    assert set(board._ON_THE_BOARD) | set(board._NEW) <= set(methods.names())
    on_the_board = {r.method for b in BENCHMARKS for r in report.published_rows(b)}
    rarely_there = {"NNGuide"}
    assert set(board._ON_THE_BOARD.values()) - rarely_there <= on_the_board


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--id-data", "quickstart"], "the leaderboard has no table of 'quickstart', only of cifar10"),
        (["--id-data", "cifar10", "--fsood"], "no full-spectrum table of 'cifar10', only of imagenet200, imagenet"),
        (["--skip-missing"], "leave out --skip-missing"),
        (["--engine", "openood"], "leave out --engine openood"),
        ([], "--checkpoint or --root"),
        (["--checkpoint", "x", "--postprocessor", "line,gmm"], "a link to the paper of gmm: give it by --board-link"),
    ],
)
def test_a_board_that_cannot_be_written_is_refused_before_any_image_is_read(flags: list[str], message: str) -> None:
    args = parser().parse_args(["eval", "--board", "--data-root", "nowhere", *flags])
    with pytest.raises(SettingsError, match=message):
        run_eval(args)


@pytest.mark.slow
def test_eval_writes_the_board_and_shows_published_rows_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "build", lambda _arch, _classes: SmallNet())  # a ResNet-18 takes a minute here
    data = openood_data.build(tmp_path / "data")
    for run in ("s0", "s1"):
        (tmp_path / run).mkdir()
        torch.save(SmallNet(seed=int(run[1])).state_dict(), tmp_path / run / "best.ckpt")
    flags = ["eval", "--data-root", str(data), "--root", str(tmp_path), "--postprocessor", "line,msp", "--board"]
    flags += ["--published", "--board-description", "untrained", "--output-dir", str(tmp_path / "out")]
    flags += ["--cache-dir", str(tmp_path / "cache"), "--num-workers", "0", "--device", "cpu", "--no-sweep"]
    assert main([*flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["methods"]) == {"line", "msp"}
    assert {"fDBD", "AdaSCALE-A"} <= {row["method"] for row in found["published"]}

    written = (tmp_path / "out/board/results/cifar10.csv").read_text().splitlines()
    assert written[0] == HEADER
    rows = list(csv.DictReader(written))
    assert [(r["Training"], r["Postprocessor"], r["Arch"]) for r in rows] == [
        ("CrossEntropy", "LINe", "ResNet18"),
        ("CrossEntropy", "MSP", "ResNet18"),
    ]
    near = found["methods"]["msp"]["rows"]["nearood"]["AUROC"]
    assert rows[1]["Near-OOD_AUROC"] == f"{near['mean']:.2f} ± {near['std']:.2f}"
    links = (tmp_path / "out/board/utils/papers.csv").read_text()
    assert links == "Alias,Link\nLINe,https://arxiv.org/abs/2303.13995\n"
    about = json.loads((tmp_path / "out/board/checkpoints.json").read_text())
    assert [c["run"] for c in about["checkpoints"]] == ["s0", "s1"]
    blob = (tmp_path / "s1/best.ckpt").read_bytes()
    assert about["checkpoints"][1]["sha256"] == hashlib.sha256(blob).hexdigest()
    assert about["checkpoints"][0]["model_sha256"] != about["checkpoints"][1]["model_sha256"]

    assert main([*flags, "--brief"]) == 0
    text = capsys.readouterr().out
    measured, published = text.split("Published by others, not measured here")
    assert "AdaSCALE-A" not in measured
    assert "AdaSCALE-A" in published
    assert "2025-07-19" in published
    assert main([flag for flag in flags if flag != "--published"]) == 0
    assert "Published by others" not in capsys.readouterr().out
