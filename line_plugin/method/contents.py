"""What one artifact holds of a LINe, to the file and back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from line_plugin.errors import ArtifactCorruptError
from line_plugin.math.contributions import ClassSums
from line_plugin.method import artifact
from line_plugin.method.calibration import Calibration
from line_plugin.method.fit import Fitted
from line_plugin.method.settings import LINeSettings, Provenance
from line_plugin.version import __version__


@dataclass(frozen=True)
class Contents:
    """Settings, provenance, calibration and fit, as they are stored together."""

    settings: LINeSettings
    provenance: Provenance
    calibration: Calibration | None
    fitted: Fitted

    def write(self, path: str | Path) -> str:
        """Write the file and return its content hash. Equal contents give equal bytes."""
        fitted, k, d = self.fitted, *self.fitted.weight.shape
        tensors = {
            "weight": fitted.weight,
            "bias": fitted.bias,
            "sums": fitted.sums.sums,
            "counts": fitted.sums.counts,
            "weight_thresholds": fitted.thresholds,
        }
        metadata: dict[str, Any] = {
            "kind": "line",
            "settings": asdict(self.settings),
            "num_classes": k,
            "width": d,
            "num_samples": fitted.sums.num_samples,
            "provenance": asdict(self.provenance),
            "versions": {"openood-line": __version__, "torch": torch.__version__, "numpy": np.__version__},
        }
        if self.calibration is not None:
            tensors["calibration_confidence"] = self.calibration.confidence
            metadata["calibration"] = {
                "n": self.calibration.n,
                "tpr": self.calibration.tpr,
                "threshold": _json_float(self.calibration.threshold),
                "cell_bounds": [_json_float(b) for b in self.calibration.cell_bounds()],
                "source": self.calibration.source,
            }
        return artifact.write(path, tensors, metadata)

    @classmethod
    def read(cls, path: str | Path) -> tuple[Contents, str]:
        """Read and verify a file; the contents and their hash.

        Raises:
            ArtifactError and its kinds, see :func:`line_plugin.method.artifact.read`.
        """
        tensors, metadata = artifact.read(path)
        try:
            settings = LINeSettings(**metadata["settings"])
            sums = ClassSums(tensors["sums"], tensors["counts"])
            thresholds = tensors["weight_thresholds"]
            fitted = Fitted.make(tensors["weight"], tensors["bias"], sums, settings, thresholds=thresholds)
            provenance = dict(metadata["provenance"])
            provenance["class_names"] = tuple(provenance["class_names"])
            kept = metadata.get("calibration")
            calibration = kept and Calibration(tensors["calibration_confidence"], kept["tpr"], kept["source"])
            contents = cls(settings, Provenance(**provenance), calibration, fitted)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ArtifactCorruptError(f"{path} lacks or misstates {error}: fit again") from error
        return contents, str(metadata["content_sha256"])


def _json_float(value: float) -> float | str:
    """JSON has no infinity."""
    return value if math.isfinite(value) else str(value)
