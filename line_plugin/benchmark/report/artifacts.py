"""What a run records about an artifact: its calibration, its limits, and which method's scores it gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from line_plugin.benchmark.protocol.runner import Evaluation
from line_plugin.benchmark.report.run_record import ArtifactRecord, CalibrationRecord
from line_plugin.errors import FeatureError
from line_plugin.method.calibration import Calibration
from line_plugin.method.line import LINe
from line_plugin.method.loading import load_artifact
from line_plugin.method.panel import Panel

_ROWS = 64  # images that are scored again: two methods do not agree on so many by accident


def describe_artifacts(paths: Sequence[Path], run: Evaluation, cache: Path) -> list[ArtifactRecord]:
    """Read artifacts and compare them with the methods of a run.

    Raises:
        ArtifactError and its kinds.
    """
    return [_describe(path, run, cache) for path in paths]


def _describe(path: Path, run: Evaluation, cache: Path) -> ArtifactRecord:
    artifact = load_artifact(path)
    calibration = artifact.calibration
    return ArtifactRecord(
        file=path.name,
        kind="panel" if isinstance(artifact, Panel) else "line",
        content_sha256=artifact.content_sha256,
        method=_method_of(artifact, run, cache),
        calibration=None if calibration is None else _describe_calibration(calibration),
    )


def _describe_calibration(calibration: Calibration) -> CalibrationRecord:
    return CalibrationRecord(
        n=calibration.n,
        tpr=calibration.tpr,
        threshold=calibration.threshold,
        source=calibration.source,
        flagged=calibration.realised_fpr(),
        limits=tuple(calibration.limits()),
    )


def _method_of(artifact: LINe | Panel, run: Evaluation, cache: Path) -> str:
    """Find the method with the same confidences as the artifact on the first ID test images; empty if there is none."""
    rows = np.load(cache / "features" / run.keys["id"] / "features.npy", mmap_mode="r", allow_pickle=False)[:_ROWS]
    try:
        found = artifact.score(torch.from_numpy(np.array(rows))).float().numpy()
    except FeatureError:  # of another network: other width, other numbers
        return ""
    names = [r.name for r in run.results if np.allclose(r.scores["id"][:_ROWS], found, rtol=1e-5, atol=1e-6)]
    return names[0] if names else ""
