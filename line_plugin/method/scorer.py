"""Scores with a fitted LINe or panel on a CPU without torch: numpy reads the artifact, and compiled kernels score.

This is for processes that only score, such as a worker of the monitor, which would need half a gigabyte more with
torch. The kernels are those that :meth:`LINe.predict <line_plugin.LINe.predict>` and ``Panel.predict`` call on a CPU,
so the scores have the same bits.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.errors import NonFiniteError, WidthError
from line_plugin.kernels import cpu
from line_plugin.math.experts.combination import Scale
from line_plugin.math.experts.literal import NAMES
from line_plugin.method.artifact_file import Arrays, misstated, read_arrays, refuse_kind
from line_plugin.method.calibration import Calibration
from line_plugin.method.panel_stored import read_calibrations, read_experts, read_scales
from line_plugin.method.settings import describe
from line_plugin.method.stored import Head, Stored

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class LineScorer:
    """A fitted LINe that scores arrays. It never changes, so threads may share it.

    Attributes:
        settings, provenance, calibration, content_sha256: as in :class:`line_plugin.LINe`.
        num_samples: how many labelled images the fit used.
    """

    def __init__(self, stored: Stored, head: Head, kernel: cpu.PackedHead | cpu.PlainHead, about: Mapping[str, Any]):
        self.settings, self.provenance, self.calibration = stored.settings, stored.provenance, stored.calibration
        self.content_sha256, self.num_samples = str(about["content_sha256"]), int(about["num_samples"])
        self.num_classes, self.width = head.weight.shape
        self.kernel = kernel

    def predict(self, features: Floats) -> tuple[Ints, Floats]:
        """Class (N,) and confidence (N,), high = ID, of features (N, D) float32, with the bits of ``LINe.predict``.

        Raises:
            WidthError, NonFiniteError.
        """
        return self.kernel.predict(self.check(features), self.settings.clip)

    def check(self, features: Floats) -> Floats:
        """Returns the features if they can be scored. Raises the errors of :meth:`predict`."""
        if features.ndim != 2 or features.shape[1] != self.width:
            raise WidthError(f"features of shape {features.shape} given, expected (N, {self.width})")
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(features.sum(dtype=np.float32))
        if not math.isfinite(total) and not np.isfinite(features).all():
            bad = int((~np.isfinite(features)).sum())
            raise NonFiniteError(f"{bad} NaN or Inf in {len(features)} rows: a score would mean nothing")
        return features

    def __repr__(self) -> str:
        state = f"K={self.num_classes}, D={self.width}, {self.num_samples} images"
        return describe(asdict(self.settings), state)


class PanelScorer:
    """A fitted panel that scores arrays. It never changes, so threads may share it.

    Attributes:
        line: the LINe among its experts, which predicts the class.
        experts: their names, in the order in which they are added.
        provenance, calibration, evidence_calibrations, content_sha256: as in :class:`line_plugin.Panel`.
    """

    def __init__(
        self,
        line: LineScorer,
        panel: Mapping[str, Any],
        scales: Mapping[str, Scale],
        packed: cpu.PackedExperts,
        angle: cpu.PackedAngle | None,
        evidence: dict[str, Calibration],
    ) -> None:
        self.line, self.experts, self._scales = line, tuple(str(name) for name in panel["experts"]), scales
        self.provenance, self.calibration, self.content_sha256 = line.provenance, line.calibration, line.content_sha256
        self.evidence_calibrations = evidence
        self.num_classes, self.width = line.num_classes, line.width
        self._packed, self._angle = packed, angle

    def predict_experts(self, features: Floats) -> tuple[Ints, Floats, Floats]:
        """Class (N,), confidence (N,) and experts' scores (N, E), high = ID, as ``Panel.predict_experts`` gives them.

        Raises:
            WidthError, NonFiniteError.
        """
        rows, others = self.line.check(features), [name for name in NAMES if name in self.experts]
        shared = self._angle.predict(rows) if self._angle is not None and "angle" in others else None
        if shared is None:
            classes, confidence = self.line.predict(rows)
            found = {"line": confidence.astype(np.float64)}
        else:
            classes, confidence, angle = shared
            found = {"line": confidence.astype(np.float64), "angle": angle}
            others.remove("angle")
        found |= self._packed.score(rows, classes, others)
        each = [self._scales[name].apply(found[name]) for name in self.experts]
        added = functools.reduce(operator.add, each)
        return classes, added.astype(np.float32), np.stack(each, axis=1).astype(np.float32)

    def __repr__(self) -> str:
        state = f"K={self.num_classes}, D={self.width}, {self.line.num_samples} images"
        return f"Panel({' + '.join(self.experts)}; {state})"


def load_scorer(path: str | Path) -> LineScorer | PanelScorer | None:
    """Reads and verifies an artifact and tests its kernels; torch is not imported.

    Returns:
        ``None`` if numba is not installed or its kernels cannot be used here (the reason is logged). Then use
        :func:`line_plugin.load_artifact`, which scores with torch.

    Raises:
        ArtifactError: the file does not exist or is of another kind; ArtifactCorruptError: its bytes have changed;
            ArtifactVersionError: a newer release wrote it.
    """
    arrays, metadata = read_arrays(path)
    kind = metadata.get("kind")
    if kind not in ("line", "panel"):
        raise refuse_kind(path, kind)
    if not cpu.installed():
        return None
    with misstated(path):
        stored, head = Stored.of_parts(arrays, metadata), Head.of_parts(arrays, metadata)
        line_kernel = cpu.pack(head.weight, head.bias, head.floors)
        if line_kernel is None:
            return None
        line = LineScorer(stored, head, line_kernel, metadata)
        return line if kind == "line" else _panel(line, head, arrays, metadata["panel"])


def _panel(line: LineScorer, head: Head, arrays: Arrays, panel: Mapping[str, Any]) -> PanelScorer | None:
    experts = read_experts(arrays, panel, head.weight, head.bias, line.settings.clip)
    packed = cpu.PackedExperts.make(experts)
    if packed is None:
        return None
    angle = cpu.PackedAngle(line.kernel, experts) if isinstance(line.kernel, cpu.PackedHead) else None
    evidence = read_calibrations(line.calibration, panel["evidence"], arrays, "evidence_confidence")
    return PanelScorer(line, panel, read_scales(panel), packed, angle, evidence)
