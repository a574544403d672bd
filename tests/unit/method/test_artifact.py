"""The artifact: same bytes for the same fit, verified on load, no pickle."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from line_plugin import LINe, load_artifact
from line_plugin.errors import ArtifactCorruptError, ArtifactError, ArtifactVersionError
from line_plugin.method import artifact_file


@pytest.fixture
def line() -> LINe:
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(40, 6, generator=g), torch.arange(40) % 3
    return LINe(40, 30, None).fit_features(
        x, y, torch.randn(3, 6, generator=g), torch.zeros(3), class_names=["a", "b", "c"]
    )


def test_a_loaded_artifact_scores_bit_for_bit_as_the_fit(line: LINe, tmp_path: Path) -> None:
    x = torch.rand(200, 6)
    line.calibrate(x[:100], tpr=0.9, source="held out")
    digest = line.save(tmp_path / "line.safetensors")
    loaded = LINe.load(tmp_path / "line.safetensors")
    assert torch.equal(loaded.score(x), line.score(x))
    assert loaded.content_sha256 == digest
    assert loaded.settings == line.settings
    assert loaded.provenance == line.provenance
    assert loaded.calibration is not None
    assert line.calibration is not None
    assert loaded.calibration.threshold == line.calibration.threshold
    assert loaded.calibration.class_counts == line.calibration.class_counts
    assert (
        list(line.calibration.class_counts)
        == torch.bincount(line.predict(x[:100])[0], minlength=line.num_classes).tolist()
    )
    assert loaded.calibration.cell_bounds() == line.calibration.cell_bounds()


def test_the_same_fit_gives_the_same_bytes(line: LINe, tmp_path: Path) -> None:
    line.save(tmp_path / "one.safetensors")
    line.save(tmp_path / "two.safetensors")
    LINe.load(tmp_path / "one.safetensors").save(tmp_path / "three.safetensors")
    one = (tmp_path / "one.safetensors").read_bytes()
    assert one == (tmp_path / "two.safetensors").read_bytes() == (tmp_path / "three.safetensors").read_bytes()


def test_any_flipped_byte_is_found(line: LINe, tmp_path: Path) -> None:
    path = tmp_path / "line.safetensors"
    line.save(path)
    whole = path.read_bytes()
    for at in range(9, len(whole), 37):
        broken = bytearray(whole)
        broken[at] ^= 1
        path.write_bytes(broken)
        with pytest.raises(ArtifactError):
            LINe.load(path)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(line: LINe, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "line.safetensors"
    line.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactCorruptError, match="broken"):
        LINe.load(path)


def test_a_newer_schema_is_refused_as_such(line: LINe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "line.safetensors"
    monkeypatch.setattr(artifact_file, "SCHEMA_VERSION", 99)
    line.save(path)
    monkeypatch.undo()
    with pytest.raises(ArtifactVersionError, match="schema version 99, this release reads up to 1: upgrade"):
        LINe.load(path)


def test_another_safetensors_file_is_not_an_artifact(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(ArtifactError, match="not an artifact of this package"):
        LINe.load(tmp_path / "x.safetensors")
    with pytest.raises(ArtifactError, match="cannot read"):
        LINe.load(tmp_path / "absent.safetensors")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    line: LINe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "line.safetensors"
    line.save(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ArtifactError, match="No space left"):
        line.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_metadata_is_json_that_other_tools_can_read(line: LINe, tmp_path: Path) -> None:
    path = tmp_path / "line.safetensors"
    line.save(path)
    blob = path.read_bytes()
    (length,) = struct.unpack_from("<Q", blob)
    metadata = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["line_plugin"])
    assert metadata["schema_version"] == 1
    assert metadata["provenance"]["class_names"] == ["a", "b", "c"]
    assert metadata["settings"] == {"p_w": 40, "p_a": 30, "clip": None}
    assert metadata["width"] == 6
    assert set(metadata["versions"]) == {"openood-line", "torch", "numpy"}


@pytest.mark.parametrize("size", [0, 7])
def test_a_file_that_is_shorter_than_any_artifact_is_named_with_its_size(tmp_path: Path, size: int) -> None:
    short = tmp_path / "short.safetensors"
    short.write_bytes(b"x" * size)
    with pytest.raises(ArtifactCorruptError, match=rf"short.safetensors is broken .*\(it holds {size} bytes\)"):
        load_artifact(short)
