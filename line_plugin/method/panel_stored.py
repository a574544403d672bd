"""What the file of a panel holds beside that of its LINe, of tensors or arrays alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from line_plugin.math.experts.angle import centre_weight
from line_plugin.math.experts.combination import Scale
from line_plugin.math.experts.literal import Experts
from line_plugin.math.experts.virtual_logit import Subspace
from line_plugin.math.scoring import Array
from line_plugin.method.artifact_file import Arrays
from line_plugin.method.calibration import Calibration


def read_experts(
    arrays: Mapping[str, Array], panel: Mapping[str, Any], weight: Array, bias: Array, clip: float | None
) -> Experts[Array]:
    """The experts of a head.

    Args:
        arrays: of the file; panel: what its metadata says of the panel.
        weight: (K, D), bias: (K,), clip: of its LINe.

    Raises:
        ValueError: an array has another shape than the head asks for; KeyError: one is missing.
    """
    k, d = weight.shape
    clipped_mean, prototypes, mean, basis = (arrays[n] for n in ("clipped_mean", "prototypes", "mean", "basis"))
    for name, array, expected in (
        ("clipped_mean", clipped_mean, (d,)),
        ("prototypes", prototypes, (k, prototypes.shape[1] if prototypes.ndim == 3 else 1, d)),
        ("mean", mean, (d,)),
        ("basis", basis, (len(basis), d)),
    ):
        if tuple(array.shape) != expected:
            raise ValueError(f"{name} of shape {tuple(array.shape)}, expected {expected}")
    subspace = Subspace(mean, basis, bool(panel["is_residual"]))
    return Experts(weight, bias, centre_weight(weight), clip, clipped_mean, prototypes, subspace, float(panel["alpha"]))


def read_scales(panel: Mapping[str, Any]) -> dict[str, Scale]:
    """The scale of each expert that was fitted, by name."""
    return {name: Scale(float(s["median"]), float(s["spread"])) for name, s in panel["scales"].items()}


def read_calibrations(
    whole: Calibration | None, names: Sequence[str], arrays: Arrays, key: str
) -> dict[str, Calibration]:
    """The calibrations (a row of confidences each) that lie beside the one of the whole panel."""
    if whole is None or not names:
        return {}
    return {n: Calibration(row, whole.tpr, whole.source) for n, row in zip(names, arrays[key], strict=True)}
