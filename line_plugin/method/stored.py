"""Reads, without torch, an artifact's settings, provenance, calibration, head and masks."""

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
    """Settings, provenance and calibration from the metadata of a file."""

    settings: LINeSettings
    provenance: Provenance
    calibration: Calibration | None

    @classmethod
    def of_parts(cls, arrays: Arrays, metadata: Mapping[str, Any]) -> Stored:
        """Makes them from a file that was read. Missing or wrong parts raise any error: catch them all."""
        provenance = dict(metadata["provenance"])
        provenance["class_names"] = tuple(provenance["class_names"])
        kept = metadata.get("calibration")
        calibration = kept and Calibration(
            arrays["calibration_confidence"], kept["tpr"], kept["source"], tuple(kept.get("class_counts", ()))
        )
        return cls(LINeSettings(**metadata["settings"]), Provenance(**provenance), calibration)


@dataclass(frozen=True)
class Head:
    """The arrays that the scoring rule needs, float32: weight (K, D), bias (K,), both masks as floors (K, D)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    floors: NDArray[np.float32]

    @classmethod
    def of_parts(cls, arrays: Arrays, metadata: Mapping[str, Any]) -> Head:
        """From a file that was read.

        Raises:
            ValueError: the shape of an array does not fit the head, or the head is not finite; KeyError: an array is
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
    """Derives the masks of a fit.

    Args:
        weight: (K, D), the head's.
        sums: (K, D), counts: (K,), over the unclipped training features of each class.
        settings: the settings that give the percentiles.
        thresholds: (K,), those of the same sums and ``settings.p_w``, if known; they are the slow part of a fit.
        class_names: names for the error about an empty class.

    Returns:
        The thresholds (K,) of the weight mask, and both masks as floors (K, D) (:mod:`line_plugin.math.masks`).

    Raises:
        EmptyClassError: a class has no image.
    """
    c = contributions(class_means(sums, counts, class_names or None), weight)
    if thresholds is None:
        thresholds = masks.weight_thresholds(c, weight, settings.p_w)
    return thresholds, masks.weight_floors(c, thresholds, masks.activation_mask(c, settings.p_a))
