"""Turns LINe's sums into the panel's angle: ``U_k (z - m) = W_k z - W_k m - w (z - m)``, ``w`` the mean weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from line_plugin.math.experts.literal import ArrayExperts


@dataclass(frozen=True)
class AngleParts:
    """The arrays that the head's kernel reads for the angle, all float32. They never change, so threads may share them.

    Attributes:
        shift: (padded K,) ``-W_k m``, and -inf for classes that only fill a tile.
        mean: (D,) ``m``, of clipped training features.
        mean_weight: (D,) ``w``, the mean of the head's weights over classes.
    """

    shift: NDArray[np.float32]
    mean: NDArray[np.float32]
    mean_weight: NDArray[np.float32]

    @classmethod
    def of(cls, experts: ArrayExperts, padded: int) -> AngleParts:
        """Takes them from the experts of a head whose kernel works on ``padded`` classes."""
        weight, mean = experts.weight.astype(np.float64), experts.clipped_mean.astype(np.float64)
        shift = np.full(padded, -np.inf, np.float32)
        shift[: len(weight)] = -(weight @ mean)
        return cls(shift, mean.astype(np.float32), weight.mean(axis=0).astype(np.float32))
