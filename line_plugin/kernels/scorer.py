"""The scoring rule, fast: which implementation runs where is chosen here and nowhere else.

The rule itself is :mod:`line_plugin.math.scoring`. On a CPU with numba the blocked kernel of :mod:`.cpu` scores, on
CUDA, if they are turned on, the Triton kernels of :mod:`.cuda`; both give a row the same bits in every batch. On every
other device, or if the kernels cannot be used, :mod:`.torch_ops` does it with dense products: equal to 1e-5, but a
row's last bits then depend on its batch, since matrix products round differently from shape to shape.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

import torch
from torch import Tensor

from line_plugin.kernels import cpu, cuda, torch_ops
from line_plugin.math import scoring

Packed = cpu.PackedHead | cpu.PlainHead | cuda.PackedHead


class _Path(Protocol):
    """What a module of compiled scoring offers."""

    def installed(self) -> bool: ...

    def pack(self, weight: Tensor, bias: Tensor, floors: Tensor) -> Packed | None: ...


class _Cpu:
    """The CPU kernels, which are numpy's: a tensor on the CPU is an array that has another name."""

    def installed(self) -> bool:
        return cpu.installed()

    def pack(self, weight: Tensor, bias: Tensor, floors: Tensor) -> Packed | None:
        return cpu.pack(*(t.detach().contiguous().numpy() for t in (weight, bias, floors)))


_PATHS: dict[str, _Path] = {"cpu": _Cpu(), "cuda": cuda}
_packing = threading.Lock()


class Scorer:
    """The scoring rule of one fitted head, on the device of its tensors. Safe to share between threads.

    Args:
        weight: (K, D), bias: (K,), floors: (K, D), float32 on one device.
    """

    def __init__(self, weight: Tensor, bias: Tensor, floors: Tensor) -> None:
        self.weight, self.bias, self.floors = weight, bias, floors
        self._packed: Packed | None = None
        path = _PATHS.get(weight.device.type)
        self._untried = path is not None and path.installed()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the compiled code, which belongs to one process."""
        return type(self), (self.weight, self.bias, self.floors)

    def predict(self, features: Tensor, delta: float | None) -> tuple[Tensor, Tensor]:
        """Class and confidence of each row.

        Args:
            features: (N, D) float32, finite, on the device of the head; not yet clipped.
            delta: activation clipping threshold, ``None`` for off.

        Returns:
            (N,) int64 and (N,) float32, high = ID.
        """
        packed = self.packed()
        if isinstance(packed, cuda.PackedHead):
            return packed.predict(features, delta)
        if packed is not None:
            classes, confidence = packed.predict(features.detach().numpy(), delta)
            return torch.from_numpy(classes), torch.from_numpy(confidence)
        return torch_ops.score(scoring.clip(features, delta), self.weight, self.bias, self.floors)

    def packed(self) -> Packed | None:
        """The head as the kernels of its device read it, made at the first call; ``None`` if torch scores."""
        if self._untried:
            with _packing:
                if self._untried:
                    path = _PATHS[self.weight.device.type]
                    self._packed = path.pack(self.weight, self.bias, self.floors)
                    self._untried = False
        return self._packed
