"""The same network and lists through upstream's Evaluator and through our runner: the same table to 4 decimals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from line_plugin.benchmark.protocol import results, runner, spec
from line_plugin.benchmark.protocol.features import FeatureCache
from line_plugin.cli import main
from line_plugin.openood import evaluate_with_openood, register
from tests.fixtures import openood_data
from tests.fixtures.upstream import SmallNet, needs, require_openood

require_openood()
pytestmark = pytest.mark.openood
register()

PUBLISHED = {"p_w": 90, "p_a": 90, "clip": 1.0}  # of upstream's line.yml; SmallNet is not the network they are for
METHODS = ["line", "msp", "mls", "ebo", "gen", "react", "dice", "ash", pytest.param("knn", marks=needs("faiss"))]
METHODS += ["fdbd", "nci", "vra", "mds", "rmds", "temp_scaling", "gradnorm", "klm", "scale"]
Table = dict[str, dict[str, float]]


@dataclass(frozen=True)
class World:
    net: nn.Module
    data_root: Path
    cache: FeatureCache

    def upstream(self, method: str, **how: Any) -> Table:
        return evaluate_with_openood(
            self.net, "cifar10", self.data_root, method, num_workers=0, batch_size=16, **{"sweep": False} | how
        )

    def ours(self, *methods: str, fsood: bool = False, search: bool = False, **settings: Any) -> list[Table]:
        options = runner.Options(methods, {m: settings for m in methods if settings}, fsood=fsood, search=search)
        run = runner.evaluate(spec.load("cifar10"), self.data_root, self.cache, options)
        return [{row.name: in_percent(row) for row in result.rows} for result in run.results]


def in_percent(row: results.Row) -> dict[str, float]:
    m = row.metrics
    shares = {"FPR@95": m.fpr95, "AUROC": m.auroc, "AUPR_IN": m.aupr_in, "AUPR_OUT": m.aupr_out, "ACC": row.acc}
    return {name: 100 * value for name, value in shares.items()}


@pytest.fixture(scope="module", params=[0, 1], ids=["net 0", "net 1"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("parity")
    net = SmallNet(seed=request.param)
    cache = FeatureCache(net, folder / "cache", device=torch.device("cpu"), batch_size=16, num_workers=0)
    return World(net, openood_data.build(folder / "data", seed=request.param), cache)


def assert_same(ours: Table, upstream: Table) -> None:
    assert list(ours) == list(upstream), "the same rows in the same order"
    for row, values in upstream.items():
        assert ours[row] == pytest.approx(values, abs=5e-5), row


@pytest.mark.parametrize("method", METHODS)
def test_every_metric_of_every_row_agrees(method: str, world: World) -> None:
    (ours,) = world.ours(method, **(PUBLISHED if method == "line" else {}))
    assert_same(ours, world.upstream(method))


def test_full_spectrum_agrees(world: World) -> None:
    (ours,) = world.ours("line", fsood=True, **PUBLISHED)
    assert_same(ours, world.upstream("line", fsood=True))


def test_vims_subspace_agrees(world: World) -> None:
    (ours,) = world.ours("vim", dim=12)
    assert_same(ours, world.upstream("vim", settings={"dim": 12}))


@needs("faiss")
def test_nnguides_bank_agrees(world: World) -> None:
    """Upstream's loader reads batches of 16 here, so the bank is the first 16 images."""
    (ours,) = world.ours("nnguide", K=5, batch=16)
    assert_same(ours, world.upstream("nnguide", settings={"K": 5}))


@pytest.mark.parametrize("method", ["line", "react", "ash", "fdbd", "nci", "vra"])
def test_the_search_chooses_alike(method: str, world: World) -> None:
    (ours,) = world.ours(method, search=True)
    assert_same(ours, world.upstream(method, sweep=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"p_w": 10, "p_a": 10, "clip": 0.8},
        {"p_w": 90, "p_a": 10, "clip": 1.0},
        {"p_w": None, "p_a": 90, "clip": None},
        {"p_w": 90, "p_a": 90, "clip_percentile": 80},
        {"p_w": None, "p_a": 10, "clip": "auto"},
    ],
    ids=str,
)
def test_settings_mean_the_same(settings: dict[str, Any], world: World) -> None:
    (ours,) = world.ours("line", **settings)
    assert_same(ours, world.upstream("line", settings=settings))


def test_both_engines_of_the_command_line_print_the_same_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = openood_data.build(tmp_path / "data", seed=3)
    flags = ["eval", "--postprocessor", "line,ebo,react", "--model", "tests.fixtures.upstream:SmallNet", "--json"]
    flags += ["--data-root", str(data), "--cache-dir", str(tmp_path / "cache"), "--num-workers", "0", "--device", "cpu"]
    tables = {}
    for engine in ("native", "openood"):
        assert main([*flags, "--engine", engine]) == 0
        methods = json.loads(capsys.readouterr().out)["methods"]
        tables[engine] = {
            (m, row, c): value["mean"]
            for m, result in methods.items()
            for row, cells in (result["rows"] if engine == "native" else result).items()
            for c, value in cells.items()
            if c != "FPR95_ID_positive"
        }
    assert tables["native"] == pytest.approx(tables["openood"], abs=5e-5)


def command(tmp_path: Path, *more: str) -> list[str]:
    """`openood eval` on a small world, LINe with nothing but its rule, and the panel."""
    data = tmp_path / "data"
    if not data.exists():
        openood_data.build(data, seed=3)
    flags = ["eval", "--postprocessor", "line,panel", "--model", "tests.fixtures.upstream:SmallNet"]
    flags += ["--data-root", str(data), "--cache-dir", str(tmp_path / "cache"), "--num-workers", "0", "--device", "cpu"]
    return [*flags, "--set", "line.clip=auto", *more]


def told_of_the_choice(printed: str) -> list[str]:
    """The table of candidates and the sentences of both methods about it."""
    lines = [line.strip() for line in printed.splitlines()]
    start = next((i for i, line in enumerate(lines) if line.startswith("Clips that")), len(lines))
    return [line for line in lines[start:] if line and not line.startswith("Images forwarded")]


def test_both_engines_print_the_clips_that_were_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for engine in ("native", "openood"):
        torch.manual_seed(0)
        assert main([*command(tmp_path), "--engine", engine]) == 0
        found[engine] = told_of_the_choice(capsys.readouterr().out)
    assert found["openood"] == found["native"]
    assert found["openood"][0] == "Clips that line tried on left-out classes"
    assert any("was chosen from" in line for line in found["openood"])


def test_upstreams_json_holds_the_choice_of_each_method_that_made_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command(tmp_path, "--json"), "--engine", "openood"]) == 0
    choice = json.loads(capsys.readouterr().out)["choice"]
    assert list(choice) == ["line", "panel"]
    assert len(choice["line"][0]["candidates"]) == 13


@pytest.mark.parametrize("more", [["--sweep"], ["--set", "line.clip_percentile=90"]], ids=str)
def test_a_clip_that_replaces_the_chosen_one_is_not_told_as_chosen(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command(tmp_path, *more), "--engine", "openood"]) == 0
    assert "Clips that line tried" not in capsys.readouterr().out
