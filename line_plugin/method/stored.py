"""What the file of an artifact says beside its arrays, and the head that it scores with: what needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.math import masks
from line_plugin.math.contributions import class_means, contributions
from line_plugin.method.artifact_file import Arrays
from line_plugin.method.calibration import Calibration
from line_plugin.method.settings import LINeSettings, Provenance


@dataclass(frozen=True)
class Stored:
    """Settings, provenance and calibration, as the metadata of the file holds them."""

    settings: LINeSettings
    provenance: Provenance
    calibration: Calibration | None

    @classmethod
    def of_parts(cls, arrays: Arrays, metadata: Mapping[str, Any]) -> Stored:
        """From a file that was read; raises whatever comes of parts that are missing or of another kind."""
        provenance = dict(metadata["provenance"])
        provenance["class_names"] = tuple(provenance["class_names"])
        kept = metadata.get("calibration")
        calibration = kept and Calibration(
            arrays["calibration_confidence"], kept["tpr"], kept["source"], tuple(kept.get("class_counts", ()))
        )
        return cls(LINeSettings(**metadata["settings"]), Provenance(**provenance), calibration)


@dataclass(frozen=True)
class Head:
    """What the scoring rule takes of a fit: weight (K, D), bias (K,), and both masks as floors (K, D), float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    floors: NDArray[np.float32]

    @classmethod
    def of_parts(cls, arrays: Arrays, metadata: Mapping[str, Any]) -> Head:
        """From a file that was read.

        Raises:
            ValueError: an array has another shape than the head asks for, or the head is not finite; KeyError: one is
                missing.
        """
        weight = np.ascontiguousarray(arrays["weight"], np.float32)
        if weight.ndim != 2:
            raise ValueError(f"weight of shape {weight.shape}, expected (K, D)")
        k, d = weight.shape
        for name, expected in (("bias", (k,)), ("sums", (k, d)), ("counts", (k,)), ("weight_thresholds", (k,))):
            if arrays[name].shape != expected:
                raise ValueError(f"{name} of shape {arrays[name].shape}, expected {expected}")
        bias = np.ascontiguousarray(arrays["bias"], np.float32)
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError("the head holds NaN or Inf")
        settings = LINeSettings(**metadata["settings"])
        thresholds = arrays["weight_thresholds"]
        _, floors = derive_floors(weight, arrays["sums"], arrays["counts"], settings, thresholds=thresholds)
        return cls(weight, bias, floors)


def derive_floors(
    weight: NDArray[np.float32],
    sums: NDArray[np.float64],
    counts: NDArray[np.int64],
    settings: LINeSettings,
    *,
    thresholds: NDArray[np.float64] | None = None,
    class_names: tuple[str, ...] = (),
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The masks of a fit.

    Args:
        weight: (K, D) of the head.
        sums: (K, D), counts: (K,), of the unclipped training features of each class.
        settings: whose percentiles to take.
        thresholds: (K,) those of the same sums and ``settings.p_w``, if known: they are the slow part of a fit.
        class_names: to name an empty class.

    Returns:
        The thresholds (K,) of the weight mask, and both masks as floors (K, D) (:mod:`line_plugin.math.masks`).

    Raises:
        EmptyClassError: a class has no image.
    """
    c = contributions(class_means(sums, counts, class_names or None), weight)
    if thresholds is None:
        thresholds = masks.weight_thresholds(c, weight, settings.p_w)
    return thresholds, masks.weight_floors(c, thresholds, masks.activation_mask(c, settings.p_a))
