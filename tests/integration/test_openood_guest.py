"""LINe inside upstream OpenOOD: its Evaluator, its unmodified script, its older pipelines, on numpy 2 and on CPU."""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from line_plugin import LINe, register
from line_plugin.errors import MissingDataError, OpenOODError, SettingsError
from line_plugin.integrations.openood import compat
from line_plugin.openood import evaluate_with_openood
from tests.fixtures import openood_data
from tests.fixtures.upstream import SmallNet, checkout, needs, require_openood

require_openood()
pytestmark = pytest.mark.openood
register()

from openood.evaluation_api import Evaluator  # noqa: E402
from openood.utils import Config  # noqa: E402

from line_plugin.openood import LINePostprocessor  # noqa: E402

KNN = pytest.param("knn", marks=needs("faiss"))
KEEP = {"num_workers": 0, "batch_size": 16}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return openood_data.build(tmp_path_factory.mktemp("data"))


def evaluator(net: torch.nn.Module, data_root: Path, **how: Any) -> Any:
    return Evaluator(net, "cifar10", data_root=str(data_root), config_root=str(data_root / "no-configs"), **KEEP, **how)


# -- the three ways in -------------------------------------------------------------------------------------------------


def test_by_name_with_the_shipped_configuration_searches_and_scores(data_root: Path) -> None:
    run = evaluator(SmallNet(), data_root, postprocessor_name="line")
    assert run.postprocessor.hyperparam_search_done
    table = run.eval_ood(progress=False)
    assert list(table.index) == [
        "cifar100", "tin", "nearood", "mnist", "svhn", "texture", "places365", "farood",
    ]  # fmt: skip
    assert np.isfinite(table.to_numpy()).all()
    assert not (data_root / "no-configs").exists(), "nothing was looked for or downloaded"


def test_an_instance_scores_as_the_public_class_does(data_root: Path) -> None:
    net = SmallNet()
    run = evaluator(net, data_root, postprocessor=LINePostprocessor(p_w=10, p_a=20, clip=0.8))
    run.eval_ood(progress=False)
    line = LINe(10, 20, 0.8).fit(net, run.dataloader_dict["id"]["train"])
    batches = [net(b["data"], return_feature=True)[1] for b in run.dataloader_dict["id"]["test"]]
    np.testing.assert_array_equal(run.scores["id"]["test"][1], line.score(torch.cat(batches)).numpy())


@pytest.mark.parametrize("sweep", [None, {"p_w": [90]}])
def test_clip_auto_is_chosen_from_the_training_images_and_survives_a_search(
    sweep: dict[str, list[float]] | None, data_root: Path
) -> None:
    net = SmallNet()
    ours = LINePostprocessor(p_w=None, p_a=10, clip="auto", sweep=sweep)
    run = evaluator(net, data_root, postprocessor=ours)
    fresh = LINe.auto().fit(net, run.dataloader_dict["id"]["train"])
    assert ours.line.choice == fresh.choice
    assert ours.line.settings.clip == fresh.settings.clip
    assert ours.line.settings.p_w == (90 if sweep else None)


def test_a_line_yml_of_the_users_own_wins_over_the_shipped_one(data_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "postprocessors"
    folder.mkdir()
    (folder / "line.yml").write_text(
        "postprocessor:\n  name: line\n  APS_mode: False\n  postprocessor_args:\n    p_w: 33\n    clip: null\n"
    )
    how = {"data_root": str(data_root), "config_root": str(tmp_path), "postprocessor_name": "line", **KEEP}
    line = Evaluator(SmallNet(), "cifar10", **how).postprocessor.line
    assert (line.settings.p_w, line.settings.p_a, line.settings.clip) == (33, 90, None)


def test_the_older_pipelines_find_it_by_configuration() -> None:
    from openood.postprocessors import get_postprocessor

    config = Config(postprocessor={"name": "line", "postprocessor_args": {"p_w": 10, "p_a": 10, "clip": 0.8}})
    assert isinstance(get_postprocessor(config), LINePostprocessor)
    assert get_postprocessor(Config(postprocessor={"name": "msp"})).__class__.__name__ == "BasePostprocessor"


def test_registering_twice_changes_nothing() -> None:
    before = (Evaluator.__init__, Evaluator.eval_acc, sys.modules["openood.evaluation_api.evaluator"].get_postprocessor)
    register()
    after = (Evaluator.__init__, Evaluator.eval_acc, sys.modules["openood.evaluation_api.evaluator"].get_postprocessor)
    assert before == after


# -- networks ----------------------------------------------------------------------------------------------------------


def foreign_net(name: str) -> torch.nn.Module:
    """Upstream's nets whose ``return_feature`` gives a list of six, and one that has no ``return_feature`` at all."""
    torch.manual_seed(0)
    if name == "plain":
        pool = (torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        return torch.nn.Sequential(torch.nn.Conv2d(3, 12, 5, 2), *pool, torch.nn.Linear(12, 10))
    with compat.importing():
        from openood.networks import DenseNet3, WideResNet
    if name == "DenseNet3":
        return DenseNet3(depth=10, num_classes=10)
    return WideResNet(depth=10, widen_factor=1, num_classes=10)


@pytest.mark.parametrize("name", ["DenseNet3", "WideResNet", "plain"])
def test_networks_without_the_usual_return_feature_score_too(name: str, data_root: Path) -> None:
    postprocessor = LINePostprocessor()
    table = evaluator(foreign_net(name), data_root, postprocessor=postprocessor).eval_ood(progress=False)
    assert postprocessor.line.provenance.head == ("4" if name == "plain" else "fc")
    assert np.isfinite(table.to_numpy()).all()


def test_setup_puts_the_network_in_eval_mode_and_postprocess_keeps_no_graph(data_root: Path) -> None:
    net = SmallNet().train()
    run = evaluator(net, data_root, postprocessor=LINePostprocessor())
    assert not net.training
    pred, conf = run.postprocessor.postprocess(net, torch.randn(1, 3, 32, 32).requires_grad_())
    assert not conf.requires_grad
    assert (pred.shape, conf.shape, pred.dtype) == ((1,), (1,), torch.int64)


def test_the_class_it_returns_is_the_networks_own_argmax(data_root: Path) -> None:
    net = SmallNet()
    run = evaluator(net, data_root, postprocessor=LINePostprocessor(clip=0.05))
    images = torch.randn(40, 3, 32, 32)
    assert torch.equal(run.postprocessor.postprocess(net, images)[0], net(images).argmax(dim=1))


def test_another_network_is_fitted_again_and_the_same_one_is_not(data_root: Path) -> None:
    postprocessor, first, second = LINePostprocessor(), SmallNet(1), SmallNet(2)
    evaluator(first, data_root, postprocessor=postprocessor)
    fitted = postprocessor.line
    evaluator(first, data_root, postprocessor=postprocessor)
    assert postprocessor.line is fitted
    run = evaluator(second, data_root, postprocessor=postprocessor)
    fresh = LINe().fit(second, run.dataloader_dict["id"]["train"])
    assert torch.equal(postprocessor.line.sums.sums, fresh.sums.sums)


# -- the search --------------------------------------------------------------------------------------------------------


def sweep_config(**lists: list[float | None]) -> Any:
    return Config(
        postprocessor={
            "name": "line",
            "APS_mode": True,
            "postprocessor_args": {"p_w": 90, "p_a": 90, "clip": 1.0},
            "postprocessor_sweep": {f"{k}_list": v for k, v in lists.items()},
        }
    )


def test_each_combination_scores_as_a_fit_with_those_settings_and_the_best_is_kept(
    data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, tried = SmallNet(), []
    original = LINePostprocessor.set_hyperparam

    def spy(self: Any, values: list[float]) -> None:
        original(self, values)
        tried.append((tuple(values), self.line))

    monkeypatch.setattr(LINePostprocessor, "set_hyperparam", spy)
    config = sweep_config(p_w=[10, 90], p_a=[10, None], clip=[0.5, 2.0])
    run = evaluator(net, data_root, postprocessor=LINePostprocessor(config))
    assert len({values for values, _ in tried}) == 8
    features = torch.rand(20, 24)
    for (p_w, p_a, clip), line in tried:
        fresh = LINe(p_w, p_a, clip).fit(net, run.dataloader_dict["id"]["train"])
        assert torch.equal(line.score(features), fresh.score(features)), (p_w, p_a, clip)
    assert tuple(run.postprocessor.get_hyperparam()) == tried[-1][0]


def test_the_search_forwards_each_validation_image_once(data_root: Path) -> None:
    net = SmallNet()
    run = evaluator(net, data_root, postprocessor=LINePostprocessor(sweep_config(p_w=[10, 50, 90], clip=[0.5, 1.0])))
    sizes = {k: len(run.dataloader_dict["id"][k].dataset) for k in ("train", "val")}
    ood_val = len(run.dataloader_dict["ood"]["val"].dataset)
    assert net.forwarded == sizes["train"] + 2 + sizes["val"] + ood_val, "and one image twice, to find the head"


def test_what_the_search_keeps_changes_no_score(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = sweep_config(p_w=[10, 90], clip_percentile=[70, 90])
    kept = evaluator(SmallNet(), data_root, postprocessor=LINePostprocessor(config)).eval_ood(progress=False)
    monkeypatch.setattr(LINePostprocessor, "searching", lambda self: contextlib.nullcontext())
    again = evaluator(SmallNet(), data_root, postprocessor=LINePostprocessor(config)).eval_ood(progress=False)
    np.testing.assert_array_equal(kept.to_numpy(), again.to_numpy())


def test_accuracy_is_upstreams_own_without_another_pass_over_the_test_images(data_root: Path) -> None:
    net = SmallNet()
    run = evaluator(net, data_root, postprocessor=LINePostprocessor())
    before = net.forwarded
    table = run.eval_ood(fsood=True, progress=False)
    loaders = run.dataloader_dict
    everything = [loaders["id"]["test"], *loaders["csid"].values(), *loaders["ood"]["near"].values()]
    everything += loaders["ood"]["far"].values()
    assert net.forwarded - before == sum(len(loader.dataset) for loader in everything)
    with compat.running("cpu"):
        both = [run._classifier_inference(x) for x in (loaders["id"]["test"], loaders["csid"]["cifar10c"])]
    preds, labels = zip(*both, strict=True)
    accuracy = (torch.cat(preds) == torch.cat(labels)).float().mean().item() * 100
    assert table["ACC"].unique() == pytest.approx([accuracy])


def test_a_clip_percentile_nobody_measured_is_refused(data_root: Path) -> None:
    run = evaluator(SmallNet(), data_root, postprocessor=LINePostprocessor(sweep_config(clip_percentile=[80, 90])))
    with pytest.raises(SettingsError, match=r"clip_percentile=55 .*known: 80, 90"):
        run.postprocessor.set_hyperparam([55])


def test_a_setting_misspelt_in_the_yml_is_named() -> None:
    with pytest.raises(SettingsError, match="did you mean 'clip'"):
        LINePostprocessor(Config(postprocessor={"name": "line", "postprocessor_args": {"clp": 1}}))
    with pytest.raises(SettingsError, match="postprocessor_sweep"):
        LINePostprocessor(Config(postprocessor={"name": "line", "postprocessor_sweep": {"percentile_list": [1]}}))


# -- storing, as upstream's script does --------------------------------------------------------------------------------


def test_a_stored_postprocessor_holds_no_network_and_scores_the_same(data_root: Path) -> None:
    net = SmallNet()
    run = evaluator(net, data_root, postprocessor_name="line")
    blob = pickle.dumps(run.postprocessor, pickle.HIGHEST_PROTOCOL)
    assert b"SmallNet" not in blob
    again = evaluator(net, data_root, postprocessor=pickle.loads(blob))
    images = torch.randn(9, 3, 32, 32)
    assert torch.equal(run.postprocessor.postprocess(net, images)[1], again.postprocessor.postprocess(net, images)[1])


def launch(folder: Path, data_root: Path, *arguments: str, aps: bool | None = None) -> subprocess.CompletedProcess[str]:
    source = checkout()
    if not folder.exists():
        (folder / "scripts").mkdir(parents=True)
        shutil.copy(source / "scripts" / "eval_ood.py", folder / "scripts")
        (folder / "data").symlink_to(data_root)
        (folder / "configs" / "postprocessors").mkdir(parents=True)
        run = folder / "runs" / "s0"
        run.mkdir(parents=True)
        from openood.networks import ResNet18_32x32

        torch.manual_seed(0)
        torch.save(ResNet18_32x32(num_classes=10).state_dict(), run / "best.ckpt")
    if aps is not None:
        (folder / "configs" / "postprocessors" / "line.yml").write_text(
            f"postprocessor:\n  name: line\n  APS_mode: {aps}\n  postprocessor_args: {{p_w: 90, p_a: 90, clip: 1.0}}\n"
        )
    command = [sys.executable, "-m", "line_plugin.openood", "--device", "cpu", str(folder / "scripts/eval_ood.py")]
    command += ["--root", str(folder / "runs"), "--postprocessor", "line", "--batch-size", "32", *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(source)])}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)


@pytest.mark.parametrize("aps", [None, False], ids=["with the search of the shipped yml", "without a search"])
def test_the_unmodified_script_runs_and_runs_again_from_what_it_stored(
    aps: bool | None, data_root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "OpenOOD"
    first = launch(folder, data_root, "--save-csv", aps=aps)
    assert first.returncode == 0, first.stderr[-2000:]
    assert ("Final hyperparam" in first.stdout) == (aps is None)
    table = (folder / "runs/ood/line.csv").read_text()
    assert table.startswith(",FPR@95,AUROC,AUPR_IN,AUPR_OUT,ACC\ncifar100,")
    assert (folder / "runs/s0/postprocessors/line.pkl").is_file()
    second = launch(folder, data_root, "--save-csv", aps=aps)
    assert second.returncode == 0, second.stderr[-2000:]
    assert "Setup" not in second.stderr
    assert (folder / "runs/ood/line.csv").read_text() == table


def test_the_launcher_names_a_script_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "line_plugin.openood", str(tmp_path / "eval_ood.py")]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": "."})
    assert run.returncode == 2
    assert "no such script" in run.stderr


# -- one run as a function ---------------------------------------------------------------------------------------------


def test_evaluate_gives_upstreams_table_in_plain_numbers(data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = SmallNet()
    settings = {"p_w": 10, "p_a": 20, "clip": 0.8}
    rows = evaluate_with_openood(net, "cifar10", data_root, settings=settings, sweep=False, **KEEP)
    assert capsys.readouterr().out == "", "standard output is the caller's"
    run = evaluator(net, data_root, postprocessor=LINePostprocessor(p_w=10, p_a=20, clip=0.8))
    expected = run.eval_ood(progress=False)
    assert {r: list(v.values()) for r, v in rows.items()} == {r: list(expected.loc[r]) for r in expected.index}
    assert list(rows["nearood"]) == ["FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC"]


@pytest.mark.parametrize("method", ["msp", "mls", "ebo", "react", "dice", "ash", "gen", KNN])
def test_upstreams_methods_run_on_cpu_from_the_shipped_settings(method: str, data_root: Path) -> None:
    rows = evaluate_with_openood(SmallNet(), "cifar10", data_root, method, sweep=False, **KEEP)
    assert np.isfinite([list(v.values()) for v in rows.values()]).all()


@pytest.mark.parametrize(
    "victim", ["images_classic/tin", "images_classic/svhn", "benchmark_imglist/cifar10/test_mnist.txt"]
)
def test_a_missing_set_is_named_before_upstream_can_download(victim: str, data_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data_root, tmp_path / "data")
    gone = root / victim
    if gone.is_dir():
        shutil.rmtree(gone)
    else:
        gone.unlink()
    with pytest.raises(MissingDataError, match=Path(victim).name) as caught:
        evaluate_with_openood(SmallNet(), "cifar10", root, **KEEP)
    assert "\n" not in str(caught.value)
    assert not gone.exists()


def test_a_missing_csid_set_matters_only_to_fsood(data_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data_root, tmp_path / "data")
    shutil.rmtree(root / "images_classic/cifar10c")
    evaluate_with_openood(SmallNet(), "cifar10", root, "msp", **KEEP)
    with pytest.raises(MissingDataError, match="cifar10c"):
        evaluate_with_openood(SmallNet(), "cifar10", root, "msp", fsood=True, **KEEP)


def test_unknown_names_offer_the_nearest_and_foreign_networks_are_explained(data_root: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean 'react'"):
        evaluate_with_openood(SmallNet(), "cifar10", data_root, "raect", **KEEP)
    with pytest.raises(SettingsError, match="did you mean 'cifar10"):
        evaluate_with_openood(SmallNet(), "cifar", data_root, **KEEP)
    plain = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 10))
    with pytest.raises(OpenOODError, match="'dice' cannot run on Sequential"):
        evaluate_with_openood(plain, "cifar10", data_root, "dice", **KEEP)


# -- what upstream needs, and that nothing of it is left ---------------------------------------------------------------


@pytest.fixture
def probed_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    compat._unusable.cache_clear()
    yield
    monkeypatch.undo()
    compat._unusable.cache_clear()


@pytest.mark.usefixtures("probed_again")
def test_stand_ins_exist_only_while_upstream_is_imported_and_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(compat.STAND_INS, "no_such_library", ("no-such-package", "a test"))
    with compat.importing():
        module = importlib.import_module("no_such_library.part")
        inherited = type("Inherited", (module.Base,), {})
        with pytest.raises(OpenOODError, match=r"no_such_library\.part\.Base.*pip install no-such-package"):
            inherited()
    assert not [n for n in sys.modules if n.startswith("no_such_library")]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_library")
    assert not any(isinstance(finder, compat._Finder) for finder in sys.meta_path)


@pytest.mark.usefixtures("probed_again")
def test_a_library_that_is_installed_but_breaks_on_import_is_stood_in_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_library").mkdir()
    (tmp_path / "broken_library/__init__.py").write_text("from . import part\nimport numpy\nnumpy.sctypes_\n")
    (tmp_path / "broken_library/part.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(compat.STAND_INS, "broken_library", ("broken-library", "a test"))
    with compat.importing():
        assert isinstance(importlib.import_module("broken_library.part"), compat._StandIn)
    assert "broken_library.part" not in sys.modules


@pytest.mark.usefixtures("probed_again")
def test_a_folder_that_only_shares_a_librarys_name_is_not_that_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "folder_library").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(compat.STAND_INS, "folder_library", ("folder-library", "a test"))
    with compat.importing():
        assert isinstance(importlib.import_module("folder_library.part"), compat._StandIn)
    assert "folder_library" not in sys.modules


def test_where_upstream_imports_by_itself_nothing_is_stood_in_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compat, "importing", lambda: pytest.fail("stand-ins were made"))
    compat.import_upstream()  # loaded already, so the plain import succeeds


def test_a_library_that_is_installed_is_never_replaced() -> None:
    import tqdm

    with compat.importing():
        assert importlib.import_module("yaml").safe_load("a: 1") == {"a": 1}
        assert importlib.import_module("tqdm") is tqdm


@pytest.mark.skipif(torch.cuda.is_available(), reason="plain .cuda() works here; the redirection is for where it fails")
def test_cuda_means_the_chosen_device_only_inside_the_block() -> None:
    cuda, module_cuda = torch.Tensor.cuda, torch.nn.Module.cuda
    with compat.running("cpu"):
        assert torch.ones(2).cuda().device.type == "cpu"
        assert torch.nn.Linear(2, 2).cuda().weight.device.type == "cpu"
        assert torch.ones(1, device="cuda:0").device.type == "cpu"
        assert torch.ones(1).to("cuda").device.type == "cpu"
        assert torch.ones(1, device="meta").device.type == "meta"
    assert (torch.Tensor.cuda, torch.nn.Module.cuda) == (cuda, module_cuda)
    with pytest.raises((AssertionError, RuntimeError)):
        torch.ones(2).cuda()
