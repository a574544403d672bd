"""The scoring rule, fast: which implementation runs where is chosen here and nowhere else.

On a CPU with numba the blocked kernel scores, on CUDA with Triton the kernels of :mod:`line_plugin.kernels.cuda`; both
give a row the same bits in every batch. Everywhere else, and where neither can be used,
:mod:`line_plugin.math.scoring` does it with dense products: equal to 1e-5, but a row's last bits then depend on its
batch, since matrix products round differently from shape to shape.
"""

from __future__ import annotations

import threading

from torch import Tensor

from line_plugin.kernels import cpu, cuda
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
        self._on_cuda: cuda.PackedHead | None = None
        self._triton = weight.device.type == "cuda" and cuda.installed()

    def predict(self, features: Tensor, delta: float | None) -> tuple[Tensor, Tensor]:
        """Class and confidence of each row.

        Args:
            features: (N, D) float32, finite, on the device of the head; not yet clipped.
            delta: activation clipping threshold, ``None`` for off.

        Returns:
            (N,) int64 and (N,) float32, high = ID.
        """
        on_cuda = self.on_cuda()
        if on_cuda is not None:
            return on_cuda.predict(features, delta)
        packed = self.packed()
        if packed is not None:
            return packed.predict(features, delta)
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

    def on_cuda(self) -> cuda.PackedHead | None:
        """The head as the CUDA kernels read it, made at the first call; ``None`` where another path scores."""
        if self._triton and self._on_cuda is None:
            with _packing:
                if self._triton and self._on_cuda is None:
                    self._on_cuda = cuda.pack(self.weight, self.bias, self.floors)
                    self._triton = self._on_cuda is not None
        return self._on_cuda
