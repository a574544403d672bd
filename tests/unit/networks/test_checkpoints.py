"""Checkpoints: what loads, what is refused, and in which words."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from line_plugin.errors import CheckpointError
from line_plugin.networks import build, load_checkpoint

State = dict[str, torch.Tensor]


def equal(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def trained() -> nn.Module:
    return build("lenet", 5)


def as_safetensors(state: State, path: Path) -> Path:
    save_file(state, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def as_torch(content: Any, path: Path) -> Path:
    torch.save(content, path.with_suffix(".ckpt"))
    return path.with_suffix(".ckpt")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
    ],
    ids=["plain", "state_dict", "model", "module.", "state_dict of module."],
)
def test_torch_checkpoints_load_however_they_are_wrapped(trained: nn.Module, wrap: Any, tmp_path: Path) -> None:
    model = build("lenet", 5)
    load_checkpoint(model, as_torch(wrap(trained.state_dict()), tmp_path / "a"))
    assert equal(model.state_dict(), trained.state_dict())


def test_safetensors_load(trained: nn.Module, tmp_path: Path) -> None:
    model = build("lenet", 5)
    load_checkpoint(model, as_safetensors(trained.state_dict(), tmp_path / "a"))
    assert equal(model.state_dict(), trained.state_dict())


def test_old_torch_files_without_a_zip_load(trained: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save(trained.state_dict(), path, _use_new_zipfile_serialization=False)
    model = build("lenet", 5)
    load_checkpoint(model, path)
    assert equal(model.state_dict(), trained.state_dict())


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    source, model = build("wrn_40_2", 3), build("wrn_40_2", 3)
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    load_checkpoint(model, as_safetensors(state, tmp_path / "a"))
    assert torch.equal(model.state_dict()["block3.layer.0.bn1.weight"], state["block3.layer.0.bn1.weight"])
    assert torch.equal(model.state_dict()["conv1.weight"], state["conv1.weight"])


def refused(path: Path, message: str, name: str = "lenet", classes: int = 5) -> None:
    model = build(name, classes)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(model, path)
    assert "\n" not in str(caught.value)
    assert equal(model.state_dict(), before)


def test_another_class_count_is_said_in_classes(trained: nn.Module, tmp_path: Path) -> None:
    path = as_safetensors(trained.state_dict(), tmp_path / "a")
    refused(path, "trained on 5 classes, the network was built for 8", classes=8)


def test_another_architecture_is_refused_naming_the_first_tensors(trained: nn.Module, tmp_path: Path) -> None:
    path = as_safetensors(trained.state_dict(), tmp_path / "a")
    refused(path, r"WideResNet \(missing: conv1.weight, .* and \d+ more; unexpected: block1", name="wrn_40_2")


def test_a_wrong_shape_is_refused_naming_both_shapes(trained: nn.Module, tmp_path: Path) -> None:
    state = trained.state_dict() | {"block1.0.weight": torch.zeros(6, 1, 5, 5)}
    path = as_safetensors(state, tmp_path / "a")
    refused(path, r"block1.0.weight \(6, 1, 5, 5\) instead of \(6, 3, 5, 5\)")


def test_a_pickled_model_is_refused_and_never_executed(trained: nn.Module, tmp_path: Path) -> None:
    refused(as_torch(trained, tmp_path / "a"), r"pickled objects.*torch.save\(model.state_dict\(\), PATH\)")


def test_pickled_settings_beside_the_weights_are_refused(trained: nn.Module, tmp_path: Path) -> None:
    content = {"state_dict": trained.state_dict(), "args": argparse.Namespace(lr=0.1)}
    refused(as_torch(content, tmp_path / "a"), r"pickled objects \(argparse.Namespace\)")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}], ids=["list", "no tensors", "empty"])
def test_a_file_without_a_state_dict_is_refused(content: Any, tmp_path: Path) -> None:
    refused(as_torch(content, tmp_path / "a"), "expected a state dict")


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 9, 0.5], ids=["empty", "9 bytes", "half"])
def test_a_truncated_file_is_refused(trained: nn.Module, suffix: str, keep: float, tmp_path: Path) -> None:
    write = as_safetensors if suffix == ".safetensors" else as_torch
    path = write(trained.state_dict(), tmp_path / "a")
    blob = path.read_bytes()
    path.write_bytes(blob[: keep if isinstance(keep, int) else int(len(blob) * keep)])
    refused(path, "cannot read|is not a plain file of tensors")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_text("<!DOCTYPE html><html>Quota exceeded</html>")
    refused(path, "cannot read|is not a plain file of tensors")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent.ckpt", "no checkpoint at")
    refused(tmp_path, "no checkpoint at")
