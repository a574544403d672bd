"""OpenMIBOOD's benchmarks: what ships is what its repository holds, and a small tree of its layout is scored."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from line_plugin.benchmark.protocol import images, spec
from line_plugin.cli import main

NAMES = ("midog", "phakir", "oasis3")


def all_sets(benchmark: spec.Benchmark) -> dict[str, spec.ImageSet]:
    found = {split: getattr(benchmark.id, split) for split in ("train", "val", "test")} | benchmark.csid
    assert benchmark.ood.val is not None
    return found | {"ood val": benchmark.ood.val} | {name: images for _, name, images in benchmark.ood_sets()}


def build(root: Path, benchmark: spec.Benchmark) -> None:
    """Two images of each class, or two, for every list of a benchmark, in its layout."""
    rng = np.random.default_rng(0)
    with_labels = {"train", "val", "test", *benchmark.csid}
    for name, one in all_sets(benchmark).items():
        assert one.list_file is not None
        lines = []
        for i in range(2 * benchmark.num_classes if name in with_labels else 2):
            label = i % benchmark.num_classes if name in with_labels else -1
            file = f"{name.replace(' ', '_')}/{i:03d}_{label}{'.nii.gz' if benchmark.volumes else '.tiff'}"
            (root / one.images / file).parent.mkdir(parents=True, exist_ok=True)
            if benchmark.volumes:
                (root / one.images / file).write_bytes(b"a volume")
            else:
                Image.fromarray(rng.integers(0, 255, (50, 50, 3), dtype=np.uint8)).save(root / one.images / file)
            lines.append(f"{file} {label}\n")
        (root / one.list_file).parent.mkdir(parents=True, exist_ok=True)
        (root / one.list_file).write_text("".join(lines))


def small_net(classes: int) -> torch.nn.Module:
    torch.manual_seed(0)
    pool = (torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return torch.nn.Sequential(torch.nn.Conv2d(3, 12, 5, 4), *pool, torch.nn.Linear(12, classes))


def three_classes() -> torch.nn.Module:
    return small_net(3)


def seven_classes() -> torch.nn.Module:
    return small_net(7)


@pytest.mark.parametrize(("name", "model"), [("midog", "three_classes"), ("phakir", "seven_classes")])
def test_a_tree_of_the_layout_of_openmibood_is_whole_and_is_scored(
    name: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path, spec.load(name))
    assert main(["data", name, "--root", str(tmp_path), "--fsood", "--sweep", "--verify"]) == 0
    assert "has all that it needs" in capsys.readouterr().out
    flags = ["eval", "--id-data", name, "--data-root", str(tmp_path), "--model", f"{Path(__file__)}:{model}", "--json"]
    flags += ["--cache-dir", str(tmp_path / "cache"), "--num-workers", "0", "--device", "cpu", "--fsood"]
    assert main([*flags, "--postprocessor", "msp", "--output-dir", str(tmp_path / "out")]) == 0
    rows = json.loads(capsys.readouterr().out)["methods"]["msp"]["rows"]
    ood = [name for _, name, _ in spec.load(name).ood_sets()]
    assert [row for row in rows if row not in ("nearood", "farood")] == ood


def test_frames_are_prepared_as_openmibood_prepares_them() -> None:
    frame = Image.fromarray(np.random.default_rng(0).integers(0, 255, (540, 1000, 3), dtype=np.uint8))
    assert images.transform(spec.load("phakir").preprocessing)(frame).shape == (3, 360, 640)
    assert images.transform(spec.load("midog").preprocessing)(frame).shape == (3, 50, 50)


@pytest.mark.parametrize("command", ["eval", "fit"])
def test_volumes_are_looked_for_and_refused_before_anything_is_read(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path, spec.load("oasis3"))
    where = ["--data-root", str(tmp_path)]
    assert main(["data", "oasis3", *where]) == 0
    assert "Its files are volumes, and `openood eval` reads images." in capsys.readouterr().out
    assert main(["data", *where]) == 3, "nothing there can be run"
    said = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert said["oasis3"] == "there; volumes, which `openood eval` does not read"
    for flags in (["data", "oasis3", "--verify"], [command, "--id-data", "oasis3", "--arch", "resnet50"]):
        assert main([*flags, *where]) == 1
        error = capsys.readouterr().err
        assert "the files of 'oasis3' are volumes" in error
        assert error.count("\n") == 1
    next((tmp_path / "oasis/test").iterdir()).unlink()
    assert main(["data", "oasis3", *where]) == 3


def source() -> Path:
    named = os.environ.get("OPENMIBOOD_SOURCE")
    if not named or not (Path(named) / "data/benchmark_imglist").is_dir():
        pytest.skip(
            "set OPENMIBOOD_SOURCE to a checkout of https://github.com/remic-othr/OpenMIBOOD (commit b4f3162) "
            "to compare its lists with what ships here"
        )
    return Path(named)


@pytest.mark.parametrize("name", NAMES)
def test_counts_and_checksums_are_those_of_the_lists_in_its_repository(name: str) -> None:
    data = source() / "data"
    for said, one in all_sets(spec.load(name)).items():
        content = (data / str(one.list_file)).read_bytes()
        assert one.sha256 == hashlib.sha256(content).hexdigest(), said
        assert one.count == len(content.splitlines()), said


def tables(path: Path) -> dict[str, Any]:
    """The dictionaries of constants in a module of OpenMIBOOD, without importing it."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            found[ast.unparse(node.targets[0])] = ast.literal_eval(node.value)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_sets_are_those_of_its_evaluator(name: str) -> None:
    api = source() / "openood/evaluation_api"
    theirs = tables(api / "datasets.py")["DATA_INFO"][name]
    ours = spec.load(name)
    assert ours.num_classes == theirs["num_classes"]
    left_out = {"oasis3_scanner"} if name == "oasis3" else set()
    assert list(ours.csid) == [n for n in theirs["csid"]["datasets"] if n not in left_out]
    groups = {"near": ours.ood.near, "far": ours.ood.far}
    for group, sets in groups.items():
        assert list(sets) == theirs["ood"][group]["datasets"]
    named = {**theirs["id"], **theirs["csid"], "ood val": theirs["ood"]["val"]}
    named |= theirs["ood"]["near"] | theirs["ood"]["far"]
    for said, one in all_sets(ours).items():
        assert (one.list_file, one.images) == (named[said]["imglist_path"], named[said]["data_dir"]), said
    prepared = tables(api / "preprocessor.py")["default_preprocessing_dict"][name]
    if name != "oasis3":
        assert [list(ours.preprocessing.mean), list(ours.preprocessing.std)] == prepared["normalization"]
        assert ours.preprocessing.resize == prepared["pre_size"]


def test_the_set_that_is_left_out_has_no_labels() -> None:
    lines = (source() / "data/benchmark_imglist/oasis3/test_oasis3_scanner_csid.txt").read_text().splitlines()
    assert {line.rpartition(" ")[2] for line in lines} == {"-1"}
    assert len(lines) == 83
