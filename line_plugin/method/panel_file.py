"""Reads and writes a panel's artifact: one file of kind ``panel`` with its LINe and its other experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from line_plugin.kernels.experts import ExpertScorer
from line_plugin.method.artifact import Contents, read_tensors, write_tensors
from line_plugin.method.artifact_file import check_kind, misstated
from line_plugin.method.calibration import Calibration
from line_plugin.method.line import LINe
from line_plugin.method.panel_fit import FittedPanel, PanelSettings
from line_plugin.method.panel_stored import read_calibrations, read_experts, read_scales
from line_plugin.method.settings import Provenance


@dataclass(frozen=True)
class PanelContents:
    """The contents of a panel's file, and its hash."""

    settings: PanelSettings
    provenance: Provenance
    calibration: Calibration | None
    evidence_calibrations: dict[str, Calibration]
    expert_calibrations: dict[str, Calibration]
    fitted: FittedPanel
    digest: str


def write_panel(
    path: str | Path,
    fitted: FittedPanel,
    settings: PanelSettings,
    provenance: Provenance,
    calibration: Calibration | None,
    evidence_calibrations: Mapping[str, Calibration],
    expert_calibrations: Mapping[str, Calibration],
) -> str:
    """Writes the file and returns its content hash. Equal contents give equal bytes."""
    experts = fitted.scorer.experts
    tensors, metadata = fitted.line.contents(provenance, calibration).parts()
    tensors |= {
        "clipped_mean": experts.clipped_mean,
        "mean": experts.subspace.mean,
        "basis": experts.subspace.basis,
        "prototypes": experts.prototypes,
    }
    if evidence_calibrations:
        tensors["evidence_confidence"] = torch.stack([one.confidence for one in evidence_calibrations.values()])
    if expert_calibrations:
        tensors["expert_confidence"] = torch.stack([one.confidence for one in expert_calibrations.values()])
    metadata |= {
        "kind": "panel",
        "panel": {
            **asdict(settings),
            "evidence": list(evidence_calibrations),
            "calibrated": list(expert_calibrations),
            "is_residual": experts.subspace.is_residual,
            "alpha": experts.alpha,
            "scales": {name: asdict(scale) for name, scale in fitted.scales.items()},
        },
    }
    return write_tensors(path, tensors, metadata)


def read_panel(path: str | Path) -> PanelContents:
    """Reads and verifies a file.

    Raises:
        ArtifactError and its kinds, see :func:`line_plugin.method.artifact_file.read_arrays`.
    """
    tensors, metadata = read_tensors(path)
    check_kind(path, metadata, "panel")
    with misstated(path):
        return _of_parts(tensors, metadata)


def _of_parts(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> PanelContents:
    contents, panel = Contents.of_parts(tensors, metadata), metadata["panel"]
    line = LINe.of_contents(contents)
    weight, bias = line.head
    experts = read_experts(tensors, panel, weight, bias, contents.settings.clip)
    scales = read_scales(panel)
    settings = PanelSettings(tuple(panel["experts"]), panel["prototypes"], panel["seed"])
    fitted = FittedPanel(line, ExpertScorer(experts), scales)
    digest = str(metadata["content_sha256"])
    whole = contents.calibration
    arrays = {name: tensors[name].numpy() for name in tensors}
    evidence = read_calibrations(whole, panel["evidence"], arrays, "evidence_confidence")
    # Earlier releases stored only the calibrations of the experts that collect evidence.
    experts_of = read_calibrations(whole, panel.get("calibrated", []), arrays, "expert_confidence") or {
        name: one for name, one in evidence.items() if name in settings.experts
    }
    return PanelContents(settings, contents.provenance, whole, evidence, experts_of, fitted, digest)
