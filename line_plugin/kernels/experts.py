"""Fast implementations of the panel's experts: compiled with numba on a CPU, torch in float64 everywhere else.

Their formulas stand in :mod:`line_plugin.math.experts`. On a CPU with numba a row has the same bits in every batch.
Elsewhere torch computes products in float64, so that neither autocast nor TF32 changes them; a row's last bits may then
depend on its batch.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from line_plugin.kernels import cpu
from line_plugin.kernels.cpu.angle import PackedAngle
from line_plugin.kernels.cpu.experts import PackedExperts
from line_plugin.kernels.scorer import Scorer
from line_plugin.math.experts.literal import NAMES, ArrayExperts, Experts

_CHUNK = 1024  # rows whose prototypes are gathered in float64 at once
_packing = threading.Lock()


class ExpertScorer:
    """Scores with the experts of one fit, on the device of its tensors. Threads may share it.

    Args:
        experts: float32 on one device.
    """

    def __init__(self, experts: Experts[Tensor]) -> None:
        self.experts = experts
        self._packed: PackedExperts | None = None
        self._wide: Experts[Tensor] | None = None
        self._untried = experts.weight.device.type == "cpu" and cpu.installed()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the compiled code, which belongs to one process."""
        return type(self), (self.experts,)

    def score(self, features: Tensor, classes: Tensor, names: Sequence[str] = NAMES) -> dict[str, Tensor]:
        """The confidences (N,) float64 of each named expert; high = ID.

        Args:
            features: (N, D) float32, finite, on the device of the experts; not clipped.
            classes: (N,) int64, predicted.
            names: which experts score.
        """
        packed = self.packed()
        if packed is not None:
            scores = packed.score(features.detach().numpy(), classes.numpy(), names)
            return {name: torch.from_numpy(values) for name, values in scores.items()}
        with _packing:
            if self._wide is None:
                device = "cpu" if features.device.type == "mps" else features.device  # MPS has no float64
                self._wide = self.experts.to(device, torch.float64)
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        for rows, c in zip(features.split(_CHUNK), classes.split(_CHUNK), strict=True):  # type: ignore[no-untyped-call]
            wide = rows.to(self._wide.weight.device, torch.float64)
            for name, part in self._wide.score(wide, c.to(wide.device), names).items():
                found[name].append(part)
        return {name: torch.cat(parts) for name, parts in found.items()}

    def packed(self) -> PackedExperts | None:
        """The compiled experts, made at the first call; ``None`` if torch scores instead."""
        if self._untried:
            with _packing:
                if self._untried:
                    self._packed = PackedExperts.make(as_arrays(self.experts))
                    self._untried = False
        return self._packed


def as_arrays(experts: Experts[Tensor]) -> ArrayExperts:
    """The same experts with numpy arrays in place of tensors on the CPU; no copy."""
    return experts.map(lambda t: t.detach().contiguous().numpy())


class SharedAngle:
    """Computes the angle from the sums that LINe's own score is made of. Threads may share it.

    Args:
        head: the fitted head.
        experts: the experts that were fitted on it.
    """

    def __init__(self, head: Scorer, experts: Experts[Tensor]) -> None:
        self.head, self.experts = head, experts
        self._angle: PackedAngle | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the compiled code, which belongs to one process."""
        return type(self), (self.head, self.experts)

    def predict(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Class (N,) and confidence (N,) as the head gives them, and the angle (N,) float64; ``None`` if impossible.

        Args:
            features: (N, D) float32, finite, on the device of the head; not yet clipped.
        """
        packed = self.head.packed()
        if not isinstance(packed, cpu.PackedHead):
            return None
        if self._angle is None:
            self._angle = PackedAngle(packed, as_arrays(self.experts))
        found = self._angle.predict(features.detach().numpy())
        if found is None:
            return None
        classes, confidence, angle = found
        return torch.from_numpy(classes), torch.from_numpy(confidence), torch.from_numpy(angle)
