"""`openood score` from the command line: one row an image, equal to the benchmark's and the monitor's scores."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from line_plugin import LINe, Panel, load_artifact
from line_plugin.cli import main
from line_plugin.image_scoring import writers
from line_plugin.image_scoring.extremes import Extremes
from line_plugin.image_scoring.rows import ImageScore
from line_plugin.image_scoring.sources import batches, find_sources
from line_plugin.math import conformal
from tests.integration.small_world import make_world, small_net

NET = ["--model", "tests.integration.small_world:small_net", "--device", "cpu"]
TEST_SETS = {"id": "test", "near_a": "near_a", "far_a": "far_a", "far_b": "far_b"}


class World:
    """A data root with two fitted and calibrated artifacts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        path = make_world(self.data)
        text = path.read_text() + "class_names: [nought, one, two]\n"
        path.write_text(text)
        self.flags = ["--id-data", str(path), "--data-root", str(self.data), "--num-workers", "0", *NET]
        self.flags += ["--cache-dir", str(folder / "cache")]
        self.artifacts = {}
        for kind in ("line", "panel"):
            target = folder / f"{kind}.safetensors"
            assert main(["fit", "--postprocessor", kind, "--output", str(target), *self.flags]) == 0
            self.artifacts[f"{kind} uncalibrated"] = folder / f"{kind}-uncalibrated.safetensors"
            self.artifacts[f"{kind} uncalibrated"].write_bytes(target.read_bytes())
            assert main(["calibrate", str(target), *self.flags]) == 0
            self.artifacts[kind] = target

    def list_of(self, name: str) -> Path:
        return self.data / "lists" / f"{name}.txt"

    def score(self, *inputs: object, kind: str = "line", more: tuple[object, ...] = ()) -> int:
        flags = ["--artifact", str(self.artifacts[kind]), "--images", str(self.data / "images"), "--num-workers", "0"]
        return main(["score", *map(str, inputs), *flags, *NET, *map(str, more)])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def lines(world: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[int, list[dict]]]:
    """Score into a file of JSON lines: the exit code and the rows."""

    def score(*inputs: object, kind: str = "line", more: tuple[object, ...] = ()) -> tuple[int, list[dict]]:
        target = tmp_path_factory.mktemp("scores") / "scores.jsonl"
        code = world.score(*inputs, kind=kind, more=("--output", target, *more))
        return code, [json.loads(text) for text in target.read_text().splitlines()]

    return score


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["line", "panel"])
def test_scores_are_those_of_eval_and_of_the_monitor_bit_for_bit(
    world: World, lines, kind: str, workers: int, tmp_path: Path
) -> None:
    from monitor.counting.scoring import Scorer

    results = ["--save-score", "--output-dir", str(tmp_path)]
    assert main(["eval", "--postprocessor", kind, "--brief", *results, *world.flags]) == 0
    kept, scorer = np.load(tmp_path / "scores" / f"{kind}.npz"), Scorer.load(world.artifacts[kind])
    fitted = load_artifact(world.artifacts[kind])
    features = [np.load(p) for p in (world.folder / "cache" / "features").glob("*/features.npy")]
    for name, listed in TEST_SETS.items():
        code, rows = lines(world.list_of(listed), kind=kind, more=("--num-workers", workers))
        assert code == 0
        own = np.array([row["confidence"] for row in rows], dtype=np.float32)
        assert own.tobytes() == kept[f"{name}/confidence"].tobytes()
        (matrix,) = [f for f in features if len(f) == len(own) and same(fitted, f, own)]
        monitored = scorer.score([row.tobytes() for row in matrix])
        assert monitored.confidence.tobytes() == own.tobytes()
        assert monitored.predicted.tolist() == [row["predicted"] for row in rows]
        flag_cells = conformal.CELL_EDGES.index(0.05) + 1
        assert (monitored.cells[:, 0] < flag_cells).tolist() == [row["flagged"] for row in rows]
        if kind == "panel":
            assert [scorer.name_expert(e) for e in monitored.expert] == [row["lowest_expert"] for row in rows]


def same(line: LINe | Panel, rows: np.ndarray, confidence: np.ndarray) -> bool:
    return np.array_equal(line.score(torch.from_numpy(rows)).numpy(), confidence)


def test_a_folder_is_scored_in_the_order_and_with_the_bits_of_a_folder_in_eval(world: World, lines) -> None:
    code, rows = lines(world.data / "images" / "far_a")
    assert code == 0
    expected = sorted((world.data / "images" / "far_a").rglob("*"))
    assert [row["path"] for row in rows] == [str(p) for p in expected]
    by_list = {row["path"]: row for row in lines(world.list_of("far_a"))[1]}
    assert set(by_list) == {str(p) for p in expected}
    alone = [lines(path)[1][0] for path in expected[:3]]
    for row, single in zip(rows, alone, strict=False):  # another batch: equal up to the network's own rounding
        assert row["confidence"] == pytest.approx(by_list[row["path"]]["confidence"], abs=1e-5)
        assert single["confidence"] == pytest.approx(row["confidence"], abs=1e-5)
    assert "label" not in rows[0]


def test_p_values_flags_labels_and_names_follow_the_calibration(world: World, lines) -> None:
    calibration = load_artifact(world.artifacts["line"]).calibration
    code, rows = lines(world.list_of("test"), world.list_of("far_b"), more=("--level", 0.2))
    assert code == 0
    assert [row["label"] for row in rows] == [i % 3 for i in range(30)] + [-1] * 14
    held = calibration.confidence
    for row in rows:
        at_or_below = int((held <= np.float32(row["confidence"])).sum())
        assert row["p_value"] == (1 + at_or_below) / (len(held) + 1)
        assert row["flagged"] is (row["p_value"] <= 0.2)
        assert row["class_name"] == ["nought", "one", "two"][row["predicted"]]
    assert {row["flagged"] for row in rows} == {True, False}
    by_default = lines(world.list_of("test"))[1]
    assert [row["flagged"] for row in by_default] == [row["p_value"] <= 0.05 for row in by_default]


def test_a_panel_gives_the_p_value_of_each_expert_and_names_the_lowest(world: World, lines) -> None:
    panel = load_artifact(world.artifacts["panel"])
    _, rows = lines(world.list_of("far_a"), kind="panel")
    for row in rows:
        said = {name: row[f"expert_{name}"] for name in panel.settings.experts}
        assert row["lowest_expert"] == min(said, key=said.__getitem__)
        assert sum(said.values()) == pytest.approx(row["confidence"], abs=1e-4)
        for name, value in said.items():
            held = panel.expert_calibrations[name].confidence
            assert row[f"p_{name}"] == (1 + int((held <= np.float32(value)).sum())) / (len(held) + 1)


@pytest.mark.parametrize("kind", ["line uncalibrated", "panel uncalibrated"])
def test_without_a_calibration_there_is_no_p_value_and_the_reason_is_said(
    world: World, lines, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.score(world.list_of("far_a"), kind=kind, more=("--level", "0.1")) == 1
    assert "holds no calibration to place it with: run `openood calibrate`" in capsys.readouterr().err
    assert world.score(world.list_of("far_a"), kind=kind) == 0
    assert "so there are no p-values and nothing is flagged" in capsys.readouterr().err
    code, rows = lines(world.list_of("far_a"), kind=kind)
    assert code == 0
    assert {(row["p_value"], row["flagged"]) for row in rows} == {(None, None)}
    assert all(row["confidence"] is not None for row in rows)


def test_a_level_below_what_the_calibration_supports_flags_nothing_and_says_so(world: World, capsys) -> None:
    assert world.score(world.list_of("far_b"), more=("--level", 0.001)) == 0
    err = " ".join(capsys.readouterr().err.split())
    assert "Nothing can be flagged at level 0.001: with 24 calibration inputs no p-value is below 0.04" in err
    assert "14 images; 0 flagged" in err
    assert world.score(world.list_of("far_b"), more=("--level", 1.5)) == 1
    assert "level 1.5 given, expected a share of ID inputs" in capsys.readouterr().err


@pytest.fixture
def broken(world: World, tmp_path: Path) -> Path:
    """A folder with three good images among five that cannot be scored."""
    folder = tmp_path / "mixed"
    (folder / "b").mkdir(parents=True)
    good = world.data / "images" / "test"
    for i, name in enumerate(("a.png", "b/c.PNG", "z.png")):
        (folder / name).write_bytes((good / f"{i}.png").read_bytes())
    (folder / "b" / "truncated.png").write_bytes((good / "9.png").read_bytes()[:80])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.gif").write_text("no image")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    Image.new("RGB", (8, 8)).save(folder / "not\x1b[31m.png")
    (folder / "notes.txt").write_text("ignored")
    (folder / "not\x1b[31m.png").write_bytes(b"\x89PNG broken")
    return folder


def test_images_that_cannot_be_read_have_a_row_with_a_reason_and_exit_code_3(broken: Path, lines) -> None:
    code, rows = lines(broken)
    assert code == 3
    failed = {Path(row["path"]).name: row["error"] for row in rows if row["error"]}
    assert set(failed) == {"truncated.png", "empty.jpg", "text.gif", "gone.png", "not\x1b[31m.png"}
    assert failed["gone.png"] == "there is no such file"
    assert "truncated" in failed["truncated.png"]
    good = [row for row in rows if not row["error"]]
    assert [Path(row["path"]).name for row in good] == ["a.png", "c.PNG", "z.png"]
    assert all(row["confidence"] is not None for row in good)
    assert all(row["confidence"] is None and row["predicted"] is None for row in rows if row["error"])


def test_strict_stops_at_the_first_one_and_leaves_no_file(world: World, broken: Path, tmp_path: Path, capsys) -> None:
    target = tmp_path / "out" / "scores.csv"
    assert world.score(broken, more=("--strict", "--output", target)) == 1
    assert "truncated.png cannot be scored" in capsys.readouterr().err
    assert list(target.parent.iterdir()) == []
    assert world.score(broken, more=("--output", target)) == 3
    assert len(list(csv.DictReader(target.open()))) == 8


def test_names_of_files_do_not_steer_the_terminal(world: World, broken: Path, capsys) -> None:
    assert world.score(broken) == 3
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "not\\x1b[31m.png" in said.out


def test_the_formats_say_the_same(world: World, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra 'parquet'")
    gone = tmp_path / "gone.png"
    inputs, files = (world.list_of("far_a"), gone), {}
    for form in writers.FORMATS:
        files[form] = tmp_path / f"scores.{form}"
        assert world.score(*inputs, kind="panel", more=("--output", files[form])) == 3
    as_lines = [json.loads(text) for text in files["jsonl"].read_text().splitlines()]
    document = json.loads(files["json"].read_text())
    assert document["images"] == as_lines
    assert document["summary"]["images"] == 17
    assert document["summary"]["unreadable"] == 1
    assert document["artifact"] == load_artifact(world.artifacts["panel"]).content_sha256
    table = pq.read_table(files["parquet"])
    assert json.loads(table.schema.metadata[b"openood-line"])["level"] == document["level"] == 0.05
    for row, other in zip(table.to_pylist(), as_lines, strict=True):
        confidence = other.pop("confidence")
        assert row.pop("confidence") == (None if confidence is None else np.float32(confidence))
        assert row == other
    text = csv.DictReader(io.StringIO(files["csv"].read_text()))
    for row, other in zip(text, [json.loads(t) for t in files["jsonl"].read_text().splitlines()], strict=True):
        assert {k: json.loads(v) if k not in TEXT and v else v or None for k, v in row.items()} == other


TEXT = ("path", "class_name", "lowest_expert", "error")


def test_parquet_without_pyarrow_names_the_extra_and_leaves_no_file(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert world.score(world.list_of("far_a"), more=("--output", tmp_path / "x.parquet")) == 1
    assert "pip install 'openood-line[parquet]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_is_kept_whole_if_the_run_fails(world: World, tmp_path: Path, capsys) -> None:
    target, listed = tmp_path / "scores.jsonl", tmp_path / "bad.txt"
    target.write_text("before")
    listed.write_text(world.list_of("far_a").read_text() + "no label\n")
    assert world.score(listed, more=("--output", target, "--batch-size", 4)) == 1
    assert "line 17: 'no label' is not 'relative/path label'" in capsys.readouterr().err
    assert target.read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.txt", "scores.jsonl"]


def test_the_table_shows_every_row_of_a_few_and_the_most_ood_of_many(world: World, capsys) -> None:
    assert world.score(world.list_of("far_a"), kind="panel") == 0
    few = capsys.readouterr().out
    assert few.count("far_a/") == 16
    assert "p virtual_logit" in few
    assert world.score(world.list_of("test"), more=("--rows", 4)) == 0
    many = capsys.readouterr().out
    assert "The 4 most OOD of 30 images" in many
    assert many.count("test/") == 4


def test_explain_prints_the_sum_that_makes_each_confidence(world: World, lines, capsys) -> None:
    line = load_artifact(world.artifacts["line"])
    _, rows = lines(world.list_of("far_b"), more=("--explain", 3))
    for row in rows:
        found = row["explanation"]
        assert found["neurons"] + found["bias"] + found["entropy"] == pytest.approx(row["confidence"], abs=1e-5)
        assert len(found["top"]) == 3
        assert found["top"][0]["clipped"] <= line.settings.clip + 1e-6
    first = world.data / "images" / "far_b" / "0.png"
    assert world.score(first, kind="panel", more=("--explain", 2)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Experts, the lowest first:" in said
    assert "adds to the confidence" in said
    assert "from all neurons" in said
    assert world.score(first, more=("--explain", 2, "--format", "csv")) == 1
    assert "--explain goes with --format table, json or jsonl" in capsys.readouterr().err


def test_the_gallery_is_a_picture_of_both_ends(world: World, broken: Path, tmp_path: Path, capsys) -> None:
    target = tmp_path / "pictures" / "gallery.png"
    assert world.score(world.list_of("test"), broken, kind="panel", more=("--plots", target)) == 3
    with Image.open(target) as image:
        assert image.size[0] > 1000
        assert image.size[1] > 800
    assert world.score(broken / "empty.jpg", more=("--plots", tmp_path / "none.png")) == 1
    assert "no image has a score, so there is nothing to draw" in capsys.readouterr().err
    assert world.score(broken, more=("--plots", tmp_path / "none.pdf")) == 1
    assert "expected a file that ends in .png" in capsys.readouterr().err


def test_another_network_or_another_preprocessing_is_refused(world: World, tmp_path: Path, capsys) -> None:
    listed = world.list_of("far_a")
    torch.save(small_net(1).state_dict(), tmp_path / "other.pt")
    assert world.score(listed, more=("--checkpoint", tmp_path / "other.pt")) == 1
    assert "the artifact was fitted on another network (weights " in capsys.readouterr().err
    assert world.score(listed, more=("--std", 0.2, 0.2, 0.2)) == 1
    assert "leave out --id-data and what changes the preprocessing" in capsys.readouterr().err
    assert world.score(listed, more=("--id-data", world.flags[1])) == 0


def test_an_artifact_from_python_needs_its_preprocessing_named_and_its_head_compared(world: World, capsys) -> None:
    features, labels = torch.rand(60, 16), torch.arange(60) % 3
    net = small_net()
    weight, bias = net.classify.weight.detach(), net.classify.bias.detach()
    path, listed = world.folder / "python.safetensors", world.list_of("far_a")
    world.artifacts["python"] = path
    LINe().fit_features(features, labels, weight, bias).save(path)
    assert world.score(listed, kind="python") == 1
    assert "does not say how its images were prepared" in capsys.readouterr().err
    assert world.score(listed, kind="python", more=("--id-data", world.flags[1])) == 0
    LINe().fit_features(features, labels, weight + 1, bias).save(path)
    capsys.readouterr()
    assert world.score(listed, kind="python", more=("--id-data", world.flags[1])) == 1
    assert "is not the one that the artifact was fitted on" in capsys.readouterr().err


def test_what_is_not_there_or_empty_is_refused(world: World, tmp_path: Path, capsys) -> None:
    assert world.score(tmp_path / "none") == 1
    assert "none is not there: give an image, a folder of images, or a list" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert world.score(tmp_path / "empty") == 1
    assert "nothing was scored" in capsys.readouterr().err
    assert world.score(world.artifacts["line"]) == 1
    assert "is not a list of images" in capsys.readouterr().err
    assert world.score(world.list_of("far_a"), more=("--output", tmp_path / "scores.xlsx")) == 1
    assert "name it .csv, .json, .jsonl or .parquet" in capsys.readouterr().err


def test_images_of_different_sizes_are_scored_without_a_crop(world: World, tmp_path: Path, capsys) -> None:
    text = Path(world.flags[1]).read_text().replace("crop: 8", "crop: null").replace("resize: 9", "resize: null")
    (tmp_path / "free.yml").write_text(text)
    rng = np.random.default_rng(1)
    for i in range(9):
        pixels = rng.integers(0, 255, (8 + i % 3, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    line = load_artifact(world.artifacts["line"])
    line.provenance.extra["preprocessing"].update(resize=None, crop=None)
    world.artifacts["free"] = tmp_path / "free.safetensors"
    line.save(world.artifacts["free"])
    assert world.score(tmp_path, kind="free", more=("--output", tmp_path / "free.csv")) == 0
    rows = list(csv.DictReader((tmp_path / "free.csv").open()))
    assert [Path(row["path"]).name for row in rows] == [f"{i}.png" for i in range(9)]


def test_folders_are_walked_as_sorted_and_a_batch_never_holds_two_of_them(tmp_path: Path) -> None:
    for name in ("b/x.png", "b.png", "a/2.jpg", "a/10.jpg", "a.b/1.png", "B/y.png", "a/deep/er/0.webp", "a/readme.md"):
        (tmp_path / "one" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / name).write_bytes(b"x")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "0.png").write_bytes(b"x")
    (tmp_path / "two" / "loop").symlink_to(tmp_path / "two")
    one, two = find_sources([tmp_path / "one", tmp_path / "two"])
    expected = [p for p in sorted((tmp_path / "one").rglob("*")) if p.is_file() and p.suffix != ".md"]
    assert [item.path for item in one.items()] == expected
    assert [len(batch) for batch in batches([one, two], 3)] == [3, 3, 1, 1]
    single = find_sources([tmp_path / "x.png", tmp_path / "y.png"])
    assert [source.kind for source in single] == ["images"]


def test_a_list_is_read_line_by_line_and_few_batches_ahead(tmp_path: Path) -> None:
    listed = tmp_path / "many.txt"
    with listed.open("w") as file:
        file.writelines(f"folder/image_{i}.png 0\n" for i in range(100_000))
    code = (
        "import sys, tracemalloc; from pathlib import Path\n"
        "from line_plugin.image_scoring.sources import batches, find_sources\n"
        "plan = batches(find_sources([Path(sys.argv[1])]), 32); tracemalloc.start()\n"
        "print(sum(len(batch) for batch in plan), tracemalloc.get_traced_memory()[1])\n"
    )
    # In a process of its own: the table of names that Python keeps would grow with those of earlier tests. Coverage
    # would keep notes there.
    env = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(listed)], capture_output=True, text=True, check=True, env=env
    )
    count, peak = map(int, done.stdout.split())
    assert count == 100_000
    assert peak < 2_000_000, f"{peak:,} bytes for a list of 100,000 images"


def test_the_extremes_hold_no_more_than_both_ends() -> None:
    ends = Extremes(3)
    values = [5.0, 1.0, 4.0, 1.0, 9.0, 7.0, None, 2.0]
    for i, value in enumerate(values):
        ends.add(ImageScore(Path(f"{i}"), confidence=value))
    assert [row.path.name for row in ends.most_ood()] == ["1", "3", "7"]
    assert [row.path.name for row in ends.most_id()] == ["4", "5", "0"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(world: World, tmp_path: Path) -> None:
    """The resident set of a process that scores 20 times as many images is hardly larger."""
    listed = world.list_of("test").read_text()
    peaks = []
    for times in (10, 200):
        (tmp_path / "many.txt").write_text(listed * times)
        command = ["score", str(tmp_path / "many.txt"), "--images", str(world.data / "images"), "--num-workers", "0"]
        command += ["--artifact", str(world.artifacts["line"]), "--output", str(tmp_path / "o.csv"), *NET]
        code = (
            "import resource, sys\nfrom line_plugin.cli import main\n"
            f"code = main({command!r})\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\nsys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True, env=os.environ
        )
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert peaks[1] - peaks[0] < 30_000, f"{peaks} KiB"
