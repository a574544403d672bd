"""Reads what a panel's file holds in addition to its LINe: experts, scales and calibrations, as tensors or arrays."""

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
    """Reads the experts of a head.

    Args:
        arrays: the arrays of the file; panel: the panel's part of its metadata.
        weight: (K, D), bias: (K,), clip: those of its LINe.

    Raises:
        ValueError: the shape of an array does not fit the head; KeyError: an array is missing.
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
    """Reads the scale of each expert that was fitted, by name."""
    return {name: Scale(float(s["median"]), float(s["spread"])) for name, s in panel["scales"].items()}


def read_calibrations(
    whole: Calibration | None, names: Sequence[str], arrays: Arrays, key: str
) -> dict[str, Calibration]:
    """Reads the calibrations other than that of the whole panel; each is a row of confidences."""
    if whole is None or not names:
        return {}
    return {n: Calibration(row, whole.tpr, whole.source) for n, row in zip(names, arrays[key], strict=True)}
