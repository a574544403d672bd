"""The scoring rule, fast: which implementation runs where is chosen here and nowhere else.

On a CPU with numba the blocked kernel scores, bit for bit the same in every batch. Everywhere else, and where numba is
missing, :mod:`line_plugin.math.scoring` does it with dense products: equal to 1e-5, but a row's last bits then depend
on its batch, since matrix products round differently from shape to shape.
"""

from __future__ import annotations

import threading

from torch import Tensor

from line_plugin.kernels import cpu
from line_plugin.math import scoring

_packing = threading.Lock()


class Scorer:
    """The scoring rule of one fitted head, on the device of its tensors. Safe to share between threads.

    Args:
        weight: (K, D), bias: (K,), floors: (K, D), float32 on one device.
    """

    def __init__(self, weight: Tensor, bias: Tensor, floors: Tensor) -> None:
        self.weight, self.bias, self.floors = weight, bias, floors
        self._packed: cpu.PackedHead | None = None
        self._blocked = weight.device.type == "cpu" and cpu.installed()

    def predict(self, features: Tensor, delta: float | None) -> tuple[Tensor, Tensor]:
        """Class and confidence of each row.

        Args:
            features: (N, D) float32, finite, on the device of the head; not yet clipped.
            delta: activation clipping threshold, ``None`` for off.

        Returns:
            (N,) int64 and (N,) float32, high = ID.
        """
        packed = self.packed()
        if packed is not None:
            return packed.predict_and_score(features, delta)
        z = scoring.clip(features, delta)
        classes = scoring.predict_class(z, self.weight, self.bias)
        return classes, scoring.confidence(scoring.masked_logits(z, classes, self.weight, self.bias, self.floors))

    def packed(self) -> cpu.PackedHead | None:
        """The head as the blocked kernel reads it, made at the first call; ``None`` where another path scores."""
        if self._blocked and self._packed is None:
            with _packing:
                if self._packed is None:
                    self._packed = cpu.pack(self.weight, self.bias, self.floors)
                    self._blocked = self._packed is not None
        return self._packed
