"""``openood data`` on small trees: what it finds, what it says of it, and how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from line_plugin import networks
from line_plugin.benchmark.protocol import image_list, spec
from line_plugin.cli import main
from tests.fixtures import openood_data
from tests.integration.small_world import SmallNet, make_world


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """The YAML file of a benchmark whose data is whole; its folder is the data root."""
    return make_world(tmp_path / "data with spaces")


def look(world: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and what is said of each set."""
    code = main(["data", str(world), "--root", str(world.parent), "--json", *flags])
    (found,) = json.loads(capsys.readouterr().out).values()
    return code, {s["name"]: s for s in found["sets"]}


def lists(world: Path, name: str) -> Path:
    return world.parent / "lists" / f"{name}.txt"


def only(found: dict[str, dict[str, Any]], name: str, kind: str) -> str:
    """The one sentence of a kind that is said of a set; nothing is said of any other."""
    assert [s["name"] for s in found.values() if s["problems"] or s["notes"]] == [name]
    (sentence,) = found[name][kind]
    return str(sentence)


def test_what_is_whole_is_said_to_be_and_may_be_run(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = look(world, capsys, "--verify", "--fsood", "--sweep", "--strict")
    assert code == 0
    assert all(not s["problems"] and not s["notes"] for s in found.values())
    assert found["train"]["images"] == found["train"]["present"] == 60
    assert found["train"]["list_sha256"] == hashlib.sha256(lists(world, "train").read_bytes()).hexdigest()
    images = b"".join(
        hashlib.sha256((world.parent / "images/near_a" / f"{i}.png").read_bytes()).digest() for i in range(18)
    )
    assert found["near_a"]["images_sha256"] == hashlib.sha256(images).hexdigest()
    assert main(["data", str(world), "--root", str(world.parent)]) == 0
    assert "has all that it needs" in capsys.readouterr().out


def test_a_missing_list_is_named_with_its_source_and_fails_only_a_run_that_needs_it(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists(world, "shifted").unlink()
    code, found = look(world, capsys)
    assert (code, found["shifted"]["needed"]) == (0, False)
    assert "its list is not at" in only(found, "shifted", "problems")
    assert look(world, capsys, "--fsood")[0] == 3
    lists(world, "far_b").unlink()
    assert look(world, capsys)[0] == 3
    assert main(["data", str(world), "--root", str(world.parent)]) == 3
    said = capsys.readouterr().out
    assert "Get far_b from the far_b archive" in said
    assert "would fail: look at far_b above. `openood eval --skip-missing` would evaluate the rest." in said


def test_images_that_are_gone_or_empty_are_counted_and_the_first_is_named(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = world.parent / "images/near_a"
    (folder / "3.png").unlink()
    (folder / "7.png").write_bytes(b"")
    code, found = look(world, capsys)
    assert code == 3
    assert only(found, "near_a", "problems").startswith("is missing 2 of its 18 images: ")
    assert "3.png does not exist or is empty" in found["near_a"]["problems"][0]
    assert found["near_a"]["present"] == 16


def test_a_list_of_a_name_with_spaces_and_windows_line_ends_is_read(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = world.parent / "images/far_a"
    (base / "0.png").rename(base / "the first one.png")
    text = lists(world, "far_a").read_text().replace("far_a/0.png", "far_a/the first one.png")
    lists(world, "far_a").write_bytes(text.encode().replace(b"\n", b"\r\n"))
    assert look(world, capsys, "--verify", "--strict")[0] == 0


def test_a_truncated_image_is_found_by_verify_alone(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = world.parent / "images/far_a/5.png"
    image.write_bytes(image.read_bytes()[:-40])
    (world.parent / "images/far_a/6.png").write_bytes(b"no image at all")
    assert look(world, capsys)[0] == 0
    code, found = look(world, capsys, "--verify", "--workers", "3")
    assert code == 3
    said = only(found, "far_a", "problems")
    assert said.startswith("2 images cannot be decoded, the first is ")
    assert "5.png (" in said
    assert "0x" not in said, "an address means nothing to anybody"


def test_verify_says_the_same_whatever_the_number_of_threads(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert look(world, capsys, "--verify", "--workers", "1") == look(world, capsys, "--verify", "--workers", "7")


def test_verify_names_images_that_no_list_names(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("extra.png", "more.png", "notes.txt"):
        (world.parent / "images/val" / name).write_bytes((world.parent / "images/val/0.png").read_bytes())
    assert look(world, capsys, "--strict")[0] == 0
    code, found = look(world, capsys, "--verify")
    assert code == 0
    said = only(found, "val", "notes")
    assert said.startswith("2 further images lie beside its images")
    assert said.endswith("extra.png")
    assert look(world, capsys, "--verify", "--strict")[0] == 3


def published(world: Path, name: str, **what: object) -> None:
    """Say in the benchmark how a far set was published."""
    about = yaml.safe_load(world.read_text())
    about["ood"]["far"][name].update(what)
    world.write_text(yaml.safe_dump(about))


def test_another_count_and_another_list_than_published_are_said_and_fail_only_if_asked(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = hashlib.sha256(lists(world, "far_a").read_bytes()).hexdigest()
    published(world, "far_a", count=16, sha256=right)
    assert look(world, capsys, "--strict")[0] == 0
    lists(world, "far_a").write_text("".join(lists(world, "far_a").read_text().splitlines(keepends=True)[:-1]))
    code, found = look(world, capsys)
    assert code == 0
    changed, count = found["far_a"]["notes"]
    assert changed.startswith("its list is not the published one (SHA-256 ")
    assert right[:12] in changed
    assert count == "has 15 images, published with 16"
    assert look(world, capsys, "--strict")[0] == 3


def test_a_published_list_that_windows_line_ends_were_given_to_is_recognised(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = lists(world, "far_a").read_bytes()
    published(world, "far_a", sha256=hashlib.sha256(content).hexdigest())
    lists(world, "far_a").write_bytes(content.replace(b"\n", b"\r\n"))
    _, found = look(world, capsys)
    assert only(found, "far_a", "notes") == "its list is the published one, with Windows line ends"


def test_duplicates_and_images_that_two_sets_share_are_said(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lists(world, "val").open("a") as file:
        file.write("val/3.png 0\nval/../val/4.png 1\ntest/0.png 0\n")
    code, found = look(world, capsys)
    assert code == 0
    (twice,) = found["val"]["notes"]
    assert twice.startswith("2 images named more than once, the first is ")
    assert only({**found, "val": {**found["val"], "notes": []}}, "test", "notes").startswith("1 image also in val: ")


def test_a_malformed_list_and_labels_out_of_range_are_said_with_the_others(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lists(world, "near_a").open("a") as file:
        file.write("no label here\n")
    with lists(world, "test").open("a") as file:
        file.write("test/../train/0.png 9\n")
    lists(world, "train").write_text("".join(f"train/{i}.png 0\n" for i in range(9)))
    lists(world, "far_a").write_bytes(b"\xff\xfe\n")
    lists(world, "far_b").write_text("\n\n")
    code, found = look(world, capsys)
    assert code == 3
    assert "is not 'relative/path label'" in found["near_a"]["problems"][0]
    assert found["test"]["problems"] == ["has label 9, expected 0 to 2"]
    assert found["train"]["problems"] == ["has no image of class 1 and 1 more, and LINe needs some of each class"]
    assert "it is not UTF-8 text" in found["far_a"]["problems"][0]
    assert found["far_b"]["problems"] == ["holds no image"]


def as_folders(world: Path) -> Path:
    """The same benchmark with a folder of images in the place of each list."""
    about, root = yaml.safe_load(world.read_text()), world.parent
    for split in ("train", "val", "test"):
        for line in lists(world, split).read_text().splitlines():
            name, label = line.rsplit(" ", 1)
            target = root / "by_class" / split / label
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / "images" / name, target)
        about["id"][split] = {"folder": f"by_class/{split}"}
    about["ood"]["far"] = {n: {"folder": f"images/{n}"} for n in ("far_a", "far_b")}
    path = root / "folders.yml"
    path.write_text(yaml.safe_dump(about))
    return path


def test_a_link_that_leads_back_up_ends_and_is_said(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = as_folders(world)
    (world.parent / "images/far_a/up").symlink_to(world.parent / "images")
    (world.parent / "images/far_a/self.png").symlink_to("self.png")
    with lists(world, "near_a").open("a") as file:
        file.write("far_a/self.png -1\n")
    code, found = look(folders, capsys, "--verify")
    assert code == 3
    assert found["far_a"]["images"] == 16
    assert found["far_a"]["notes"][0].startswith("1 link to a folder not followed: ")
    assert found["near_a"]["problems"][0].startswith("is missing 1 of its 19 images: ")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up the rights of root, which may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_read_is_a_problem_and_not_a_smaller_set(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as above:  # pytest's own folders may be entered by nobody else
        world = as_folders(make_world(Path(above) / "data"))
        shut = world.parent / "by_class/train/2"
        Path(above).chmod(0o755)
        shut.chmod(0)
        with as_nobody():
            code, found = look(world, capsys)
            with pytest.raises(image_list.DataError, match=r"cannot be read as a whole: the folder .*train/2"):
                image_list.read_splits(spec.load(str(world)), world.parent, "train")
        shut.chmod(0o755)
        assert code == 3
        assert found["train"]["images"] == 40
        assert found["train"]["problems"][0].startswith("1 folder cannot be read: the folder ")
        (world.parent / "by_class").chmod(0)
        with as_nobody():
            _, found = look(world, capsys)
        (world.parent / "by_class").chmod(0o755)
        assert all("or cannot be read (Permission denied)" in found[s]["problems"][0] for s in ("train", "val", "test"))


def test_without_a_name_every_benchmark_has_a_line_and_one_that_can_be_run_is_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = openood_data.build(tmp_path)
    assert main(["data", "--root", str(data)]) == 0
    lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()[:-1]]
    said = {name: state.strip() for name, state in lines}
    assert set(said) == set(spec.shipped())
    assert (said["cifar10"], said["imagenet"]) == ("ready", "nothing is there")
    assert main(["data", "--root", str(tmp_path / "nowhere")]) == 3


# What `eval` and `fit` check before they build anything.


def broken_in_four_ways(world: Path) -> None:
    (world.parent / "images/train/7.png").unlink()
    lists(world, "test").unlink()
    lists(world, "far_a").unlink()
    (world.parent / "images/near_a/0.png").unlink()


def test_eval_names_everything_that_is_missing_in_one_line_before_the_network_is_built(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_in_four_ways(world)
    monkeypatch.setattr(networks, "build", lambda *_: pytest.fail("a network was built"))
    flags = ["--id-data", str(world), "--data-root", str(world.parent), "--arch", "lenet", "--device", "cpu"]
    assert main(["eval", *flags, "--checkpoint", str(tmp_path / "absent.ckpt")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for part in (
        "absent.ckpt",
        "small train",
        "train/7.png",
        "small test",
        "the test archive",
        "far_a",
        "near_a/0.png",
    ):
        assert part in said
    assert main(["fit", *flags, "--checkpoint", str(tmp_path / "absent.ckpt")]) == 1
    said = capsys.readouterr().err
    assert "train/7.png" in said
    lists(world, "val").unlink()
    assert main(["fit", *flags, "--checkpoint", str(tmp_path / "absent.ckpt")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "train/7.png" in said
    assert "small val" in said


def test_a_malformed_list_is_named_with_what_is_missing_and_is_not_skipped(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists(world, "far_a").write_text("no label\n")
    lists(world, "far_b").unlink()
    flags = ["eval", "--id-data", str(world), "--data-root", str(world.parent), "--checkpoint", "x", "--skip-missing"]
    assert main(flags) == 1
    said = capsys.readouterr().err
    assert "is not 'relative/path label'" in said
    assert "far_b" in said
    assert said.count("\n") == 1


def test_a_broken_checkpoint_of_a_later_run_is_found_before_the_first_is_evaluated(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "build", lambda *_: SmallNet())
    for run in ("s0", "s1"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        torch.save(SmallNet().state_dict(), tmp_path / "runs" / run / "best.ckpt")
    (tmp_path / "runs/s1/best.ckpt").write_bytes(b"half a file")
    flags = ["--id-data", str(world), "--data-root", str(world.parent), "--root", str(tmp_path / "runs")]
    assert main(["eval", *flags, "--arch", "x", "--cache-dir", str(tmp_path / "cache"), "--device", "cpu"]) == 1
    assert "s1/best.ckpt" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("command", ["eval", "fit"])
def test_a_network_of_other_classes_is_refused_after_one_image(
    command: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = SmallNet()
    net.classify = torch.nn.Linear(16, 5)
    torch.save(net.state_dict(), tmp_path / "five.ckpt")
    monkeypatch.setattr(networks, "build", lambda *_: net)
    flags = ["--id-data", str(world), "--data-root", str(world.parent), "--checkpoint", str(tmp_path / "five.ckpt")]
    flags += ["--arch", "x", "--cache-dir", str(tmp_path / "cache"), "--device", "cpu", "--num-workers", "0"]
    assert main([command, *flags]) == 1
    assert "has 5 classes" in capsys.readouterr().err
    assert net.forwarded <= 2


def test_a_disk_without_room_for_the_features_is_said_before_they_are_computed(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = SmallNet()
    torch.save(net.state_dict(), tmp_path / "net.ckpt")
    monkeypatch.setattr(networks, "build", lambda *_: net)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5000))
    flags = ["--id-data", str(world), "--data-root", str(world.parent), "--checkpoint", str(tmp_path / "net.ckpt")]
    flags += ["--arch", "x", "--cache-dir", str(tmp_path / "cache"), "--device", "cpu", "--num-workers", "0"]
    assert main(["eval", *flags]) == 1
    assert "name another folder with --cache-dir" in capsys.readouterr().err
    assert net.forwarded <= 2


def test_images_of_a_folder_keep_their_order(tmp_path: Path) -> None:
    """The cache's keys and the scores that were saved before depend on it."""
    for name in ("b/2.png", "b/10.PNG", "a.b/1.png", "a/1.jpg", "a/c/0.png", "a-b/x.png", "0.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / name, "PNG")
    expected = sorted(p for p in tmp_path.rglob("*") if p.suffix.lower() in image_list.IMAGE_SUFFIXES)
    assert list(image_list.walk(tmp_path).files) == expected
