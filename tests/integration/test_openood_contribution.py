"""What contrib/openood holds for a pull request to OpenOOD, applied to a copy of OpenOOD's source and run there."""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from line_plugin import LINe, register
from line_plugin.benchmark.report.board import COLUMNS
from line_plugin.integrations.openood import compat
from tests.fixtures import openood_data
from tests.fixtures.upstream import SmallNet, checkout, require_openood
from tests.oracle.literal_line import contribution_by_gradient, literal_score

require_openood()
pytestmark = pytest.mark.openood
register()

from openood.evaluation_api import Evaluator  # noqa: E402
from openood.networks import ResNet18_32x32  # noqa: E402
from openood.utils import Config  # noqa: E402

ROOT = Path(__file__).parents[2]
CONTRIBUTION = ROOT / "contrib/openood"
PATCH = CONTRIBUTION / "registration.patch"
RESULTS = "results/cifar10_resnet18_32x32_base_e100_lr0.1_default"  # as the script of the contribution names it
MOST = {"atol": 2e-4, "rtol": 1e-5}  # float32 logits, added up in another order


def new_files() -> list[Path]:
    return [p.relative_to(CONTRIBUTION) for p in CONTRIBUTION.rglob("*") if p.is_file() and p != PATCH]


def apply(to: Path) -> None:
    """Type what docs/upstream.md says, in a copy of OpenOOD."""
    for name in new_files():
        assert not (to / name).exists(), f"{name} is in OpenOOD already"
    page = (ROOT / "docs/upstream.md").read_text(encoding="utf-8")
    (commands,) = [
        block for block in re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL) if "$CONTRIB/openood" in block
    ]
    env = {**os.environ, "CONTRIB": str(CONTRIBUTION), "GIT_CEILING_DIRECTORIES": str(to.parent)}
    done = subprocess.run(["bash", "-ec", commands], cwd=to, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\nthe patch is against another commit than OPENOOD_SOURCE has"


@pytest.fixture(scope="module")
def pull_request(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of OpenOOD with the contribution, small data in its ``data`` and one checkpoint in its ``results``."""
    source, copy = checkout(), tmp_path_factory.mktemp("pull request") / "OpenOOD"
    for part in ("openood", "scripts"):
        shutil.copytree(source / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "README.md", copy)
    apply(copy)
    openood_data.build(copy / "data")
    for image_list in (copy / "data/benchmark_imglist/cifar10").iterdir():  # ResNet-18 is slow: a few images of each
        first = image_list.read_text().splitlines(keepends=True)[: 30 if "train" in image_list.name else 6]
        image_list.write_text("".join(first))
    run = copy / RESULTS / "s0"
    run.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(ResNet18_32x32(num_classes=10).state_dict(), run / "best.ckpt")
    return copy


def run_script(copy: Path, script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """One of the contribution's shell scripts as it stands, with a ``python`` that sends ``.cuda()`` to the CPU."""
    shim = tmp_path / "bin/python"
    shim.parent.mkdir()
    driver = ROOT / "tests/fixtures/without_cuda.py"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(driver))} "$@"\n')
    shim.chmod(0o755)
    env = {**os.environ, "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(["bash", script], cwd=copy, env=env, capture_output=True, text=True, timeout=300, check=False)


def flattened(scores: dict[str, Any]) -> dict[str, np.ndarray]:
    """The confidences of every set that was scored."""
    ood = scores["ood"]
    sets = {"id": scores["id"]["test"], **{n: s for group in ("near", "far") for n, s in ood[group].items()}}
    return {name: scored[1] for name, scored in sets.items()}


def test_openoods_own_script_with_the_contribution_scores_as_the_plugin_does(
    pull_request: Path, tmp_path: Path
) -> None:
    done = run_script(pull_request, "scripts/ood/line/cifar10_test_ood_line.sh", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    run = pull_request / RESULTS
    theirs = flattened(pickle.loads((run / "s0/scores/line.pkl").read_bytes()))

    net = ResNet18_32x32(num_classes=10)
    net.load_state_dict(torch.load(run / "s0/best.ckpt"))
    how: dict[str, Any] = {"data_root": str(pull_request / "data"), "config_root": str(tmp_path), "num_workers": 0}
    ours = Evaluator(net, "cifar10", postprocessor_name="line", **how)
    table = ours.eval_ood(progress=False)
    assert f"Final hyperparam: {ours.postprocessor.get_hyperparam()}" in done.stdout
    assert list(theirs) == list(flattened(ours.scores))
    for name, scores in flattened(ours.scores).items():
        np.testing.assert_allclose(theirs[name], scores, **MOST, err_msg=name)
    rows = [line.split(",") for line in (run / "ood/line.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == list(table.index)
    found = [[float(cell.split()[0]) for cell in row[1:]] for row in rows]
    np.testing.assert_allclose(found, table.to_numpy(), atol=0.0051)


def test_the_configuration_of_the_contribution_is_the_shipped_one() -> None:
    (theirs, ours) = (
        yaml.safe_load((root / "configs/postprocessors/line.yml").read_text()) for root in (CONTRIBUTION, ROOT)
    )
    assert theirs == ours


def test_both_of_openoods_tables_of_methods_name_it(pull_request: Path) -> None:
    for table in ("openood/evaluation_api/postprocessor.py", "openood/postprocessors/utils.py"):
        assert "'line': LINePostprocessor," in (pull_request / table).read_text()


def test_the_board_has_the_columns_that_openood_asks_for() -> None:
    asks = checkout() / "CONTRIBUTING.md"
    if not asks.is_file():
        pytest.skip(f"{asks} is not there: OPENOOD_SOURCE names a part of OpenOOD's repository")
    fields = re.findall(r"^- \*\*`(.*?)`\*\*:", asks.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert tuple(f.replace("Model Arch.", "Arch").replace(" ", "_") for f in fields) == COLUMNS


def test_there_is_a_script_for_each_benchmark_that_openood_has_scripts_for(pull_request: Path) -> None:
    of_another = {p.name.replace("_nci", "_line") for p in (pull_request / "scripts/ood/nci").glob("*.sh")}
    ours = {p.name for p in (pull_request / "scripts/ood/line").glob("*.sh")}
    assert ours == of_another
    for name in ours:
        script = pull_request / "scripts/ood/line" / name
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
        for called in {w for w in script.read_text().split() if w.startswith("scripts/") and w.endswith(".py")}:
            assert (pull_request / called).is_file()


# -- the method file by itself, on a small network ---------------------------------------------------------------------


def contributed() -> Any:
    """The class of the contribution, as a module of the OpenOOD that is installed."""
    path = CONTRIBUTION / "openood/postprocessors/line_postprocessor.py"
    spec = importlib.util.spec_from_file_location("openood.postprocessors.line_postprocessor", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LINePostprocessor


SETTINGS = [(90, 90, 1.0), (10, 20, 0.8), (None, 10, 0.5), (10, None, 0.5), (90, 10, None), (None, None, None)]


@pytest.mark.parametrize(("p_w", "p_a", "clip"), SETTINGS)
def test_the_method_file_scores_as_line_and_as_the_literal_reading(
    p_w: float | None, p_a: float | None, clip: float | None, pull_request: Path
) -> None:
    args = {"p_w": p_w, "p_a": p_a, "clip": clip}
    config = Config(postprocessor={"name": "line", "postprocessor_args": args, "postprocessor_sweep": {}})
    theirs = contributed()(config)
    theirs.APS_mode = False
    theirs.hyperparam_search_done = False
    net = SmallNet()
    run = Evaluator(net, "cifar10", data_root=str(pull_request / "data"), postprocessor=theirs, num_workers=0)
    images = torch.randn(40, 3, 32, 32)
    pred, conf = theirs.postprocess(net, images)
    logits, features = net(images, return_feature=True)
    assert torch.equal(pred, logits.argmax(dim=1))
    line = LINe(p_w, p_a, clip).fit(net, run.dataloader_dict["id"]["train"])
    np.testing.assert_allclose(conf.numpy(), line.score(features).numpy(), **MOST)

    train = [(net(b["data"], return_feature=True)[1], b["label"]) for b in run.dataloader_dict["id"]["train"]]
    rows, labels = (torch.cat(column).detach().numpy() for column in zip(*train, strict=True))
    weight, bias = (x.astype(np.float64) for x in net.get_fc())
    contribution = contribution_by_gradient(rows, labels, weight, bias)
    expected = literal_score(features.detach().numpy(), contribution, weight, bias, p_w, p_a, clip)[1]
    np.testing.assert_allclose(conf.numpy(), expected, **MOST)


def test_a_class_without_a_training_image_is_refused() -> None:
    args: dict[str, Any] = {"p_w": 90, "p_a": 90, "clip": 1.0}
    config = Config(postprocessor={"name": "line", "postprocessor_args": args, "postprocessor_sweep": {}})
    batch = {"data": torch.randn(9, 3, 32, 32), "label": torch.arange(9)}
    with compat.running("cpu"), pytest.raises(ValueError, match="every class"):
        contributed()(config).setup(SmallNet(), {"train": [batch], "val": [batch]}, {})
