"""Scores with LINe or the panel on torch, if the device is not the CPU or if no compiled kernel can be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from line_plugin.kernels import cpu
from line_plugin.optional import say_missing
from monitor.errors import MissingLibraryError, ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from line_plugin import LINe, Panel

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def load(artifact: str | Path, device: str) -> LINe | Panel:
    """Read an artifact onto a device.

    Raises:
        MissingLibraryError: torch is not installed.
        ModelError: torch cannot use the device.
        LinePluginError: of :func:`line_plugin.load_artifact`.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        if device == "cpu" and not cpu.installed():
            raise MissingLibraryError(say_missing("numba", "scoring on the CPU", "monitor")) from None
        why = f"model.device is {device}" if device != "cpu" else "numba's kernels cannot be used here (see the log)"
        raise MissingLibraryError(f"{why}, and {say_missing('torch', 'scoring by torch', 'monitor,torch')}") from None
    from line_plugin import load_artifact

    try:
        return load_artifact(artifact, device)
    except RuntimeError as error:
        raise ModelError(f"device {device!r} cannot be used: {error}") from error


class TensorScorer:
    """A LINe or a Panel that takes and returns arrays, like the scorers without torch.

    Args:
        fit: the LINe or Panel, on the device on which it scores.
    """

    def __init__(self, fit: LINe | Panel) -> None:
        self._fit: Any = fit

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of a panel's experts."""
        return tuple(self._fit.settings.experts)

    def predict(self, rows: Floats) -> tuple[Ints, Floats]:
        """Class (N,) and confidence (N,) of LINe."""
        classes, confidence = (t.cpu().numpy() for t in self._fit.predict(self._moved(rows)))
        return classes, confidence

    def predict_experts(self, rows: Floats) -> tuple[Ints, Floats, Floats]:
        """Class (N,) and confidence (N,) of a panel, and the score of each expert (N, E)."""
        classes, confidence, each = (t.cpu().numpy() for t in self._fit.predict_experts(self._moved(rows)))
        return classes, confidence, each

    def _moved(self, rows: Floats) -> Tensor:
        import torch

        features = torch.from_numpy(rows)
        if self._fit.device.type == "cuda":
            features = features.to(self._fit.device, non_blocking=True)
        return features


class Staging:
    """Memory in which the rows of a batch are joined before they go to a device. It is kept from batch to batch.

    A GPU reads pinned memory without another copy. It must not be filled again before the transfer of the previous rows
    has ended.

    Args:
        width: D.
        pinned: whether to pin; needs CUDA.
    """

    def __init__(self, width: int, pinned: bool) -> None:
        self._width, self._pinned = width, pinned
        self._rows: Tensor | None = None

    def join(self, vectors: Sequence[bytes]) -> Floats:
        """The rows as one (N, D) matrix, valid until the next call."""
        import torch

        n = len(vectors)
        if self._rows is None or len(self._rows) < n:
            room = max(n, 2 * len(self._rows) if self._rows is not None else 0)
            self._rows = torch.empty(room, self._width, dtype=torch.float32, pin_memory=self._pinned)
        matrix: Floats = self._rows[:n].numpy()
        for row, vector in zip(matrix, vectors, strict=True):
            row[:] = np.frombuffer(vector, dtype="<f4")
        return matrix
