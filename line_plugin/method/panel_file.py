"""The artifact of a panel: that of its LINe, and what its experts add, in one file of kind ``panel``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from line_plugin.kernels.experts import ExpertScorer
from line_plugin.math.experts.angle import centre_weight
from line_plugin.math.experts.combination import Scale
from line_plugin.math.experts.literal import Experts
from line_plugin.math.experts.virtual_logit import Subspace
from line_plugin.method.artifact import Contents, check_kind, misstated, read_tensors, write_tensors
from line_plugin.method.calibration import Calibration
from line_plugin.method.line import LINe
from line_plugin.method.panel_fit import FittedPanel, PanelSettings
from line_plugin.method.settings import Provenance


@dataclass(frozen=True)
class PanelContents:
    """What the file of a panel holds, and its hash."""

    settings: PanelSettings
    provenance: Provenance
    calibration: Calibration | None
    fitted: FittedPanel
    digest: str


def write_panel(
    path: str | Path,
    fitted: FittedPanel,
    settings: PanelSettings,
    provenance: Provenance,
    calibration: Calibration | None,
) -> str:
    """Write the file and return its content hash. Equal contents give equal bytes."""
    experts = fitted.scorer.experts
    tensors, metadata = fitted.line.contents(provenance, calibration).parts()
    tensors |= {
        "clipped_mean": experts.clipped_mean,
        "mean": experts.subspace.mean,
        "basis": experts.subspace.basis,
        "prototypes": experts.prototypes,
    }
    metadata |= {
        "kind": "panel",
        "panel": {
            **asdict(settings),
            "is_residual": experts.subspace.is_residual,
            "alpha": experts.alpha,
            "scales": {name: asdict(scale) for name, scale in fitted.scales.items()},
        },
    }
    return write_tensors(path, tensors, metadata)


def read_panel(path: str | Path) -> PanelContents:
    """Read and verify a file.

    Raises:
        ArtifactError and its kinds, see :func:`line_plugin.method.artifact.read_tensors`.
    """
    tensors, metadata = read_tensors(path)
    check_kind(path, metadata, "panel")
    with misstated(path):
        return _of_parts(tensors, metadata)


def _of_parts(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> PanelContents:
    contents, panel = Contents.of_parts(tensors, metadata), metadata["panel"]
    line = LINe.of_contents(contents)
    weight, bias = line.head
    experts = Experts(
        weight,
        bias,
        centre_weight(weight),
        contents.settings.clip,
        tensors["clipped_mean"],
        tensors["prototypes"],
        Subspace(tensors["mean"], tensors["basis"], bool(panel["is_residual"])),
        float(panel["alpha"]),
    )
    scales = {name: Scale(float(s["median"]), float(s["spread"])) for name, s in panel["scales"].items()}
    settings = PanelSettings(tuple(panel["experts"]), panel["prototypes"], panel["seed"])
    fitted = FittedPanel(line, ExpertScorer(experts), scales)
    digest = str(metadata["content_sha256"])
    return PanelContents(settings, contents.provenance, contents.calibration, fitted, digest)
