"""The experts of an artifact, each with a calibration of its own: a panel has several, LINe is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from monitor.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from line_plugin import Calibration, LINe, Panel

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Members:
    """Who judges a row.

    Attributes:
        names: of the experts.
        calibrations: of each, on the same held-out inputs.
        predict: (N, D) features to classes (N,), confidence (N,) and what each expert says (N, E), high = ID.
    """

    names: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    predict: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]

    @classmethod
    def of(cls, artifact: LINe | Panel) -> Members:
        """The experts of a calibrated artifact.

        Raises:
            ModelError: a panel whose experts are not calibrated.
        """
        from line_plugin import Panel

        if not isinstance(artifact, Panel):
            assert artifact.calibration is not None  # noqa: S101  the scorer has looked
            return cls(("line",), (artifact.calibration,), _alone(artifact))
        names = artifact.settings.experts
        if len(artifact.expert_calibrations) != len(names):
            raise ModelError(
                f"the artifact holds a calibration of the panel, but none of its experts {', '.join(names)}, whose "
                "evidence the monitor keeps apart: calibrate it again with `openood calibrate`"
            )
        return cls(names, artifact.expert_calibrations, artifact.predict_experts)

    def place(self, each: Tensor) -> tuple[Ints, Ints]:
        """The cell of each expert, (N, E), and the expert that takes a row for the most OOD, (N,).

        Args:
            each: (N, E) what each expert says, high = ID.
        """
        cells = np.stack([c.cells(own).numpy() for c, own in zip(self.calibrations, each.unbind(1), strict=True)], 1)
        lowest = cells == cells.min(axis=1, keepdims=True)
        return cells, np.where(lowest, each.numpy(), np.inf).argmin(axis=1)


def _alone(line: LINe) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    def predict(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        classes, confidence = line.predict(features)
        return classes, confidence, confidence[:, None]

    return predict
