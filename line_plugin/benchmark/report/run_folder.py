"""Saves and loads runs: ``run.json`` and two files of arrays beside it, written completely or not at all.

The names of the two ``npz`` files contain the beginning of their hash. ``run.json`` is written last and names them, so
a reader finds either the old run or the new one, never half of both. Files that it no longer names are then removed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from line_plugin.benchmark.protocol.results import Evaluation
from line_plugin.benchmark.report.run_record import (
    FORMAT,
    VERSION,
    ArtifactRecord,
    FileRecord,
    Made,
    MethodRecord,
    Network,
    Places,
    RunRecord,
    SetRecord,
    Tried,
)
from line_plugin.errors import DataError
from line_plugin.files import write_whole

FILE = "run.json"


@dataclass(frozen=True)
class Run:
    """A run that was read and verified.

    Attributes:
        scores: confidences (N,) float32 by method and set.
        labels, predicted: (N,) int64 by set, ``train`` included; a label of -1 is OOD or unknown.
        files: paths below the data root by set, in the order of the scores.
    """

    record: RunRecord
    scores: dict[str, dict[str, NDArray[np.float32]]]
    labels: dict[str, NDArray[np.int64]]
    predicted: dict[str, NDArray[np.int64]]
    files: dict[str, list[str]]


def save_run(
    folder: Path,
    run: Evaluation,
    *,
    name: str,
    network: Network,
    made: Made,
    places: Places,
    artifacts: Sequence[ArtifactRecord] = (),
) -> Path:
    """Writes a run's files and returns the path of ``run.json``.

    Raises:
        DataError: the folder cannot be written.
    """
    groups = {"train": "train", **run.groups}
    scores = {f"{r.name}/{n}": values for r in run.results for n, values in r.scores.items()}
    images: dict[str, NDArray[Any]] = {}
    for each in groups:
        images[f"{each}/label"] = run.labels[each].astype(np.int32)
        images[f"{each}/predicted"] = run.predicted[each].astype(np.int32)
        images[f"{each}/files"] = _pack_paths(run.files[each], Path(places.data_root))
    blobs = {"scores": _pack(scores), "images": _pack(images)}
    files = {kind: _name(kind, blob) for kind, blob in blobs.items()}
    benchmark = run.benchmark
    record = RunRecord(
        name=name,
        benchmark=benchmark.name,
        title=benchmark.title,
        fsood=run.fsood,
        num_classes=benchmark.num_classes,
        class_names=benchmark.class_names,
        preprocessing=benchmark.preprocessing.model_dump(),
        network=network,
        made=made,
        places=places,
        sets=tuple(
            SetRecord.model_validate({"name": n, "group": g, "images": len(run.labels[n]), "key": run.keys[n]})
            for n, g in groups.items()
        ),
        missing=run.missing,
        methods=tuple(
            MethodRecord(
                name=r.name,
                about=r.method.about if r.method else "",
                settings=r.settings,
                notes=tuple(r.notes),
                choice=r.record,
                sweep=tuple(Tried(settings=p.settings, auroc=p.auroc) for p in r.sweep),
            )
            for r in run.results
        ),
        artifacts=tuple(artifacts),
        **files,
    )
    return _write(folder, record, {files[kind].name: blob for kind, blob in blobs.items()})


def _name(kind: str, blob: bytes) -> FileRecord:
    digest = hashlib.sha256(blob).hexdigest()
    return FileRecord(name=f"{kind}-{digest[:12]}.npz", sha256=digest)


def _write(folder: Path, record: RunRecord, blobs: Mapping[str, bytes]) -> Path:
    target = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, blob in blobs.items():
            write_whole(folder / name, blob)
        write_whole(target, (record.model_dump_json(indent=1) + "\n").encode())
        for kind in ("scores", "images"):
            for old in set(folder.glob(f"{kind}-*.npz")) - {folder / name for name in blobs}:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write the run to {folder}: {error.strerror or error}") from error
    return target


def _pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def _pack_paths(files: Sequence[Path], root: Path) -> NDArray[np.uint8]:
    """Packs paths below the root as bytes, separated by NUL.

    File names cannot contain NUL, and all other bytes are kept.
    """
    absolute = (file.absolute() for file in files)
    paths = (file.relative_to(root) if file.is_relative_to(root) else file for file in absolute)
    return np.frombuffer(b"\0".join(os.fsencode(path.as_posix()) for path in paths), dtype=np.uint8)


def find_runs(path: Path) -> list[Path]:
    """The runs at a path: in the folder itself, in its ``run/``, or those of the training runs in ``run/*/``.

    Raises:
        DataError: the path has no run.
    """
    if path.name == FILE:
        path = path.parent
    for pattern in (FILE, f"run/{FILE}", f"run/*/{FILE}"):
        if found := sorted(path.glob(pattern)):
            return [each.parent for each in found]
    raise DataError(
        f"no run in {path}: expected {FILE} there or in its folder run/; write one by `openood eval --save-run`"
    )


def load_run(folder: Path) -> Run:
    """Read and verify a run.

    Raises:
        DataError: the run does not exist, has another version, or its files have changed.
    """
    path = folder / FILE
    record = _read_record(path)
    scores, images = (_read_arrays(folder, part) for part in (record.scores, record.images))
    try:
        sets = {s.name: s.images for s in record.sets}
        found = Run(
            record=record,
            scores={m.name: {n: scores[f"{m.name}/{n}"] for n in sets if n != "train"} for m in record.methods},
            labels={n: images[f"{n}/label"].astype(np.int64) for n in sets},
            predicted={n: images[f"{n}/predicted"].astype(np.int64) for n in sets},
            files={n: os.fsdecode(images[f"{n}/files"].tobytes()).split("\0") for n in sets},
        )
    except KeyError as error:
        raise DataError(f"{path} names {error}, which is missing in its files: evaluate again") from error
    lengths = [(n, len(each[n])) for each in (found.labels, found.predicted, found.files) for n in sets]
    lengths += [(n, len(values)) for of in found.scores.values() for n, values in of.items()]
    for name, length in lengths:
        if length != sets[name]:
            raise DataError(f"{path} says {sets[name]} images of {name!r}, its files have {length}: evaluate again")
    return found


def name_apart(runs: Sequence[Run], folders: Sequence[Path]) -> list[Run]:
    """Renames runs of equal name after their folders, as `results/a/run` and `results/b/run` are both called cifar10.

    Folders of equal name are numbered. Runs with different names keep them.
    """
    names = [run.record.name for run in runs]
    if len(set(names)) < len(names):
        absolute = [folder.absolute() for folder in folders]
        names = [path.parent.name if path.name == "run" else path.name for path in absolute]
    if len(set(names)) < len(names):
        names = [f"{name} {place}" for place, name in enumerate(names, 1)]
    return [
        replace(run, record=run.record.model_copy(update={"name": name})) for run, name in zip(runs, names, strict=True)
    ]


def _read_record(path: Path) -> RunRecord:
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}): evaluate again") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise DataError(f"{path} is not a run of openood: expected JSON with format {FORMAT!r}")
    if raw.get("version") != VERSION:
        raise DataError(
            f"{path} has version {raw.get('version')!r}, this release reads {VERSION}: upgrade openood-line"
        )
    try:
        return RunRecord.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path} has a missing or wrong entry {where} ({first['msg']}): evaluate again") from error


def _read_arrays(folder: Path, part: FileRecord) -> dict[str, NDArray[Any]]:
    path = folder / part.name
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; evaluate again") from error
    if hashlib.sha256(blob).hexdigest() != part.sha256:
        raise DataError(f"{path} does not hold the bytes that were written: evaluate again, or fetch it again")
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}): evaluate again") from error
