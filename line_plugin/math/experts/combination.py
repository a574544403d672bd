"""Adds several experts to one confidence, each in units of its own spread below the median.

    s(a) = sum_e (e(a) - median_e) / (median_e - q1%_e),

with the median and the 1 % quantile of training rows. A typical training row has 0, and 1 % of them have -1 or less
from an expert. This choice is not from a paper. Harmonic, Cauchy and minimum combinations and z-scores within a class
did worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from line_plugin.errors import FitError
from line_plugin.math.scoring import Array

if TYPE_CHECKING:
    from torch import Tensor

LOW = 0.01
"""The quantile that stands one unit below the median."""


@dataclass(frozen=True)
class Scale:
    """The median and spread of an expert's training confidences: it scales ``e`` to ``(e - median) / spread``."""

    median: float
    spread: float

    @classmethod
    def find(cls, name: str, confidence: Tensor) -> Scale:
        """Finds the scale from the confidences (n,) of training rows, by linearly interpolated quantiles in float64.

        Raises:
            FitError: the median is not above the 1 % quantile, or one of them is not finite.
        """
        import torch

        values = confidence.detach().to("cpu", torch.float64)
        median, low = (float(q) for q in torch.quantile(values, torch.tensor([0.5, LOW], dtype=torch.float64)))
        if not median - low > 0:
            raise FitError(
                f"expert {name!r} has median {median:g} and 1 % quantile {low:g} over {len(values)} training rows, "
                "expected the median to be above: leave this expert out, or fit on more different images"
            )
        return cls(median, median - low)

    def apply(self, confidence: Array) -> Array:
        """Converts confidences (N,), a tensor or an array, to units of this scale, float64."""
        wide = confidence.astype(np.float64) if isinstance(confidence, np.ndarray) else confidence.double()
        return (wide - self.median) / self.spread


def combine(confidences: Sequence[Array], scales: Sequence[Scale]) -> Array:
    """The sum of the scaled confidences, (N,) float64; high = ID. They are added in the given order."""
    total = scales[0].apply(confidences[0])
    for confidence, scale in zip(confidences[1:], scales[1:], strict=True):
        total = total + scale.apply(confidence)
    return total
