"""Chooses the implementation of the scoring rule for each device. Nothing else makes that choice.

The rule itself is written in :mod:`line_plugin.math.scoring`. On a CPU with numba the blocked kernel of :mod:`.cpu`
scores. On CUDA the Triton kernels of :mod:`.cuda` score if they are turned on. Both give a row the same bits in every
batch. On every other device, or if the kernels cannot be used, :mod:`.torch_ops` scores with dense products. Those are
equal to 1e-5, but a row's last bits depend on its batch, since matrix products round differently from shape to shape.
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
    """The functions that a module of compiled scoring offers."""

    def installed(self) -> bool: ...

    def pack(self, weight: Tensor, bias: Tensor, floors: Tensor) -> Packed | None: ...


class _Cpu:
    """The CPU kernels, which take numpy arrays; a tensor on the CPU is viewed as one without a copy."""

    def installed(self) -> bool:
        return cpu.installed()

    def pack(self, weight: Tensor, bias: Tensor, floors: Tensor) -> Packed | None:
        return cpu.pack(*(t.detach().contiguous().numpy() for t in (weight, bias, floors)))


_PATHS: dict[str, _Path] = {"cpu": _Cpu(), "cuda": cuda}
_packing = threading.Lock()


class Scorer:
    """The scoring rule of one fitted head, on the device of its tensors. Threads may share it.

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
        """The head as the kernels of its device read it, made at the first call; ``None`` if torch scores instead."""
        if self._untried:
            with _packing:
                if self._untried:
                    path = _PATHS[self.weight.device.type]
                    self._packed = path.pack(self.weight, self.bias, self.floors)
                    self._untried = False
        return self._packed
