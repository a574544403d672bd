"""Describes artifacts in a run's record: their calibration, its limits, and the method with the same scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from line_plugin.benchmark.report.run_folder import Run
from line_plugin.benchmark.report.run_record import ArtifactRecord, CalibrationRecord, Setting
from line_plugin.errors import FeatureError, SettingsError
from line_plugin.method.calibration import Calibration
from line_plugin.method.line import LINe
from line_plugin.method.loading import load_artifact
from line_plugin.method.panel import Panel

_ROWS = 64  # images that are scored again; two methods do not agree on so many by accident


def describe_artifacts(
    paths: Sequence[Path], scores: Mapping[str, NDArray[np.floating]], key: str, cache: Path
) -> list[ArtifactRecord]:
    """Read artifacts and compare them with the methods of a run.

    Args:
        paths: of the artifacts.
        scores: each method's confidences (N,) of the ID test images.
        key: the key of those images' features in the cache.
        cache: the folder of the feature cache.

    Raises:
        ArtifactError and its kinds.
    """
    return [_describe(path, scores, key, cache) for path in paths]


def add_artifacts(runs: Sequence[Run], paths: Sequence[Path], cache: Path | None) -> list[Run]:
    """Adds artifacts to saved runs, each to the runs of the network that it was fitted on.

    Args:
        runs: the runs that were read.
        paths: paths of the artifacts; one that a run already has is described again.
        cache: the folder of the features now; None if they have not moved since the run.

    Raises:
        SettingsError: no run has the network of an artifact. ArtifactError and its kinds.
    """
    described: list[list[ArtifactRecord]] = []
    for run in runs:
        (key,) = (s.key for s in run.record.sets if s.group == "id")
        scores = {name: of["id"] for name, of in run.scores.items()}
        found = describe_artifacts(paths, scores, key, cache or Path(run.record.places.cache))
        described.append([a for a in found if a.model_sha256 in ("", run.record.network.model_sha256)])
    for path in paths:
        if not any(a.file == path.name for of in described for a in of):
            raise SettingsError(
                f"{path} was fitted on another network than any of these runs: give the artifact that `openood fit` "
                f"wrote for the network {', '.join(sorted({r.record.network.model_sha256[:12] for r in runs}))}"
            )
    return [_with_artifacts(run, of) for run, of in zip(runs, described, strict=True)]


def _with_artifacts(run: Run, new: Sequence[ArtifactRecord]) -> Run:
    hashes = {a.content_sha256 for a in new}
    kept = [a for a in run.record.artifacts if a.content_sha256 not in hashes]
    return replace(run, record=run.record.model_copy(update={"artifacts": (*kept, *new)}))


def _describe(path: Path, scores: Mapping[str, NDArray[np.floating]], key: str, cache: Path) -> ArtifactRecord:
    artifact = load_artifact(path)
    calibration = artifact.calibration
    return ArtifactRecord(
        file=path.name,
        kind="panel" if isinstance(artifact, Panel) else "line",
        content_sha256=artifact.content_sha256,
        method=_method_of(artifact, scores, key, cache),
        settings={name: _plain(value) for name, value in asdict(artifact.settings).items()},
        head=artifact.provenance.head,
        model_sha256=artifact.provenance.model_sha256,
        data_sha256=artifact.provenance.data_sha256,
        calibration=None if calibration is None else _describe_calibration(calibration),
    )


def _plain(value: Any) -> Setting:
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else value


def _describe_calibration(calibration: Calibration) -> CalibrationRecord:
    return CalibrationRecord(
        n=calibration.n,
        tpr=calibration.tpr,
        threshold=calibration.threshold,
        source=calibration.source,
        flagged=calibration.realised_fpr(),
        limits=tuple(calibration.limits()),
    )


def _method_of(artifact: LINe | Panel, scores: Mapping[str, NDArray[np.floating]], key: str, cache: Path) -> str:
    """Finds the method with the artifact's confidences on the first ID test images; "" if no method has them."""
    path = cache / "features" / key / "features.npy"
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)[:_ROWS]
        found = artifact.score(torch.from_numpy(np.array(rows))).float().numpy()
    except (
        FeatureError,
        OSError,
        ValueError,
    ):  # other features, or none
        return ""
    names = [name for name, of in scores.items() if np.allclose(of[: len(found)], found, rtol=1e-5, atol=1e-6)]
    return names[0] if names else ""
