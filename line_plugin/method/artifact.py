"""The contents of a LINe artifact as tensors; :mod:`line_plugin.method.artifact_file` reads and writes the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from line_plugin.math.contributions import ClassSums
from line_plugin.method.artifact_file import check_kind, misstated, read_arrays, write_arrays
from line_plugin.method.calibration import Calibration
from line_plugin.method.fit import Fitted
from line_plugin.method.settings import LINeSettings, Provenance
from line_plugin.method.stored import Stored
from line_plugin.version import __version__


@dataclass(frozen=True)
class Contents:
    """Settings, provenance, calibration and fit, which are stored together."""

    settings: LINeSettings
    provenance: Provenance
    calibration: Calibration | None
    fitted: Fitted

    def write(self, path: str | Path) -> str:
        """Writes the file and returns its content hash. Equal contents give equal bytes."""
        return write_tensors(path, *self.parts())

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors and the metadata of the file."""
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
                "threshold": _encode_float(self.calibration.threshold),
                "cell_bounds": [_encode_float(b) for b in self.calibration.cell_bounds()],
                "source": self.calibration.source,
                **({"class_counts": list(counts)} if (counts := self.calibration.class_counts) else {}),
            }
        return tensors, metadata

    @classmethod
    def read(cls, path: str | Path) -> tuple[Contents, str]:
        """Reads and verifies a file; returns the contents and their hash.

        Raises:
            ArtifactError and its kinds, see :func:`line_plugin.method.artifact_file.read_arrays`.
        """
        tensors, metadata = read_tensors(path)
        check_kind(path, metadata, "line")
        with misstated(path):
            return cls.of_parts(tensors, metadata), str(metadata["content_sha256"])

    @classmethod
    def of_parts(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Contents:
        """Makes the contents from what :meth:`parts` returns.

        Missing or wrong parts raise any error: catch them all.
        """
        stored = Stored.of_parts({name: tensors[name].numpy() for name in tensors}, metadata)
        sums = ClassSums(tensors["sums"], tensors["counts"])
        thresholds = tensors["weight_thresholds"]
        fitted = Fitted.make(tensors["weight"], tensors["bias"], sums, stored.settings, thresholds=thresholds)
        return cls(stored.settings, stored.provenance, stored.calibration, fitted)


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """:func:`~line_plugin.method.artifact_file.write_arrays` of tensors on any device."""
    return write_arrays(path, {name: t.detach().cpu().contiguous().numpy() for name, t in tensors.items()}, metadata)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """:func:`~line_plugin.method.artifact_file.read_arrays` as tensors on the CPU."""
    arrays, metadata = read_arrays(path)
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, metadata


def _encode_float(value: float) -> float | str:
    """A float for JSON, which has no infinity."""
    return value if math.isfinite(value) else str(value)
