"""``openood eval --save-parquet``: what is read back is what was cached and scored, bit for bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from line_plugin import networks
from line_plugin.benchmark.report import parquet
from line_plugin.cli import main
from tests.integration.small_world import SmallNet, make_world, small_net

COUNTS = {"small": 30, "shifted": 15, "near_a": 18, "far_a": 16, "far_b": 14}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(networks, "build", lambda *_: SmallNet())
    for run in ("s0", "s1"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        torch.save(small_net(int(run[1])).state_dict(), tmp_path / "runs" / run / "best.ckpt")
    world = make_world(tmp_path / "data")
    out = ["eval", "--id-data", str(world), "--data-root", str(world.parent), "--arch", "x", "--device", "cpu"]
    out += ["--cache-dir", str(tmp_path / "cache"), "--num-workers", "0", "--output-dir", str(tmp_path / "out")]
    return [*out, "--postprocessor", "line,msp,knn", "--brief", "--no-sweep"]


def bits(array: Any) -> list[int]:
    return list(np.ascontiguousarray(array, dtype=np.float32).reshape(-1).view(np.uint32))


def embeddings(table: pa.Table) -> Any:
    column = table["embedding"].combine_chunks()
    return column.flatten().to_numpy().reshape(-1, column.type.list_size)


def test_features_and_scores_are_read_back_bit_for_bit(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 7 * 16 * 4)  # seven rows at once: sets end within a group
    one = [*flags, "--checkpoint", str(tmp_path / "runs/s0/best.ckpt"), "--fsood", "--save-score"]
    assert main([*one, "--save-parquet", "all"]) == 0
    file = pq.ParquetFile(tmp_path / "out/features.parquet")
    assert all(file.metadata.row_group(i).num_rows <= 7 for i in range(file.num_row_groups))
    assert file.num_row_groups == sum(-(-n // 7) for n in (*COUNTS.values(), 60))

    table = file.read()
    assert table.schema.names == [
        "path", "label", "predicted", "split", "dataset", "group", "score_line", "score_msp", "score_knn", "embedding",
    ]  # fmt: skip
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 16)
    assert table.schema.field("score_line").type == pa.float32()
    about = json.loads(table.schema.metadata[b"openood-line"])
    assert about["benchmark"] == "small"
    assert set(about["methods"]) == {"line", "msp", "knn"}

    for name, key in about["keys"].items():
        dataset, split = ("small" if name in ("id", "train") else name), ("train" if name == "train" else "test")
        rows = table.filter((pa.compute.field("dataset") == dataset) & (pa.compute.field("split") == split))
        cached = tmp_path / "cache/features" / key
        assert bits(embeddings(rows)) == bits(np.load(cached / "features.npy"))
        assert rows["predicted"].to_pylist() == np.load(cached / "predicted.npy").tolist()
        listed = [
            line.rsplit(" ", 1)
            for line in (tmp_path / "data/lists" / f"{ {'id': 'test'}.get(name, name) }.txt").read_text().splitlines()
        ]
        assert rows["path"].to_pylist() == [str(tmp_path / "data/images" / path) for path, _ in listed]
        assert rows["label"].to_pylist() == [int(label) for _, label in listed]
        for method in ("line", "msp", "knn"):
            if name == "train":
                assert rows[f"score_{method}"].null_count == 60
                continue
            saved = np.load(tmp_path / "out/scores" / f"{method}.npz")
            assert bits(rows[f"score_{method}"].to_numpy()) == bits(saved[f"{name}/confidence"])
    assert {g: table["group"].to_pylist().count(g) for g in ("id", "csid", "near", "far")} == {
        "id": 90, "csid": 15, "near": 18, "far": 30,
    }  # fmt: skip


def test_the_training_images_are_left_out_and_every_run_has_its_file(flags: list[str], tmp_path: Path) -> None:
    assert main([*flags, "--root", str(tmp_path / "runs"), "--save-parquet"]) == 0
    tables = [pq.read_table(tmp_path / "out" / run / "features.parquet") for run in ("s0", "s1")]
    assert [t.num_rows for t in tables] == [30 + 18 + 16 + 14] * 2
    assert bits(embeddings(tables[0])) != bits(embeddings(tables[1]))
    assert tables[0]["path"].to_pylist() == tables[1]["path"].to_pylist()


def test_minus_zero_and_the_smallest_number_survive(flags: list[str], tmp_path: Path) -> None:
    one = [*flags, "--checkpoint", str(tmp_path / "runs/s0/best.ckpt"), "--postprocessor", "msp", "--save-parquet"]
    assert main(one) == 0
    about = json.loads(pq.read_schema(tmp_path / "out/features.parquet").metadata[b"openood-line"])
    path = tmp_path / "cache/features" / about["keys"]["far_a"] / "features.npy"
    changed = np.load(path)
    changed[0, :3] = np.array([0x80000000, 0x00000001, 0x80000001], np.uint32).view(np.float32)
    np.save(path, changed)
    assert main(one) == 0
    table = pq.read_table(tmp_path / "out/features.parquet", filters=[("dataset", "==", "far_a")])
    assert bits(embeddings(table)) == bits(changed)


def test_a_name_that_is_not_utf8_is_escaped(flags: list[str], tmp_path: Path) -> None:
    assert parquet._text(Path(os.fsdecode(b"/data/caf\xe9 \xc3\xa9.png"))) == "/data/caf\\xe9 é.png"


def test_without_pyarrow_nothing_begins(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    one = [*flags, "--checkpoint", str(tmp_path / "runs/s0/best.ckpt"), "--save-parquet"]
    assert main(one) == 1
    assert "pip install 'openood-line[parquet]'" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
    assert main([*one, "--engine", "openood"]) == 1


def test_a_file_that_cannot_be_finished_leaves_the_old_one(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = [*flags, "--checkpoint", str(tmp_path / "runs/s0/best.ckpt"), "--save-parquet"]
    assert main(one) == 0
    before = (tmp_path / "out/features.parquet").read_bytes()
    real = parquet._columns

    def full(run: Any, name: str, *rest: Any) -> Any:
        if name == "far_b":
            raise OSError(28, "No space left on device")
        return real(run, name, *rest)

    monkeypatch.setattr(parquet, "_columns", full)
    assert main(one) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["features.parquet"]
    assert (tmp_path / "out/features.parquet").read_bytes() == before


def test_features_that_were_deleted_meanwhile_are_said(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parquet, "require_pyarrow", lambda: shutil.rmtree(tmp_path / "cache", ignore_errors=True))
    assert main([*flags, "--checkpoint", str(tmp_path / "runs/s0/best.ckpt"), "--save-parquet"]) == 1
    assert "are not in the cache any more" in capsys.readouterr().err


def test_the_example_in_the_docs_runs(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([*flags, "--checkpoint", str(tmp_path / "runs/s0/best.ckpt"), "--save-parquet"]) == 0
    page = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?features\.parquet.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path / "out")
    scope: dict[str, Any] = {}
    exec(code, scope)
    assert scope["embeddings"].shape == (78, 16)
    assert len(scope["worst"]) == 10
    assert scope["worst"]["group"].isin(["near", "far"]).all()
