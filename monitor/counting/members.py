"""Who judges a row: those that gather evidence apart, each with a calibration of its own. LINe is a single one."""

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
Scores = tuple["Tensor", "Tensor", "Tensor"]


@dataclass(frozen=True)
class Members:
    """Who judges a row.

    Attributes:
        names: of those that gather evidence apart.
        calibrations: of each, on the same held-out inputs.
        experts: names of what the artifact's confidence is made of, empty if that is one thing.
        predict: (N, D) features to classes (N,), confidence (N,) and what each expert says (N, experts), high = ID.
    """

    names: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    experts: tuple[str, ...]
    predict: Callable[[Tensor], Scores]

    @classmethod
    def of(cls, artifact: LINe | Panel) -> Members:
        """The experts of a calibrated artifact.

        Raises:
            ModelError: a panel that does not say who gathers evidence.
        """
        from line_plugin import LINe  # loaded already; the panel need not be

        if isinstance(artifact, LINe):
            assert artifact.calibration is not None  # noqa: S101  the scorer has looked
            return cls(("line",), (artifact.calibration,), (), _alone(artifact))
        held = artifact.evidence_calibrations
        if not held:
            raise ModelError(
                "the artifact holds a calibration of the panel, but does not say who of it gathers evidence: calibrate "
                "it again with `openood calibrate`"
            )
        return cls(tuple(held), tuple(held.values()), artifact.settings.experts, artifact.predict_experts)

    def place(self, confidence: Tensor, each: Tensor) -> tuple[Ints, Ints]:
        """The cells (N, members), and the expert (N,) that says least, in units of its own spread.

        Args:
            confidence: (N,) of the artifact.
            each: (N, experts) what each expert says; high = ID.
        """
        own = dict(zip(self.experts, each.unbind(1), strict=False))
        cells = [
            c.cells(own.get(name, confidence)).numpy() for name, c in zip(self.names, self.calibrations, strict=True)
        ]
        return np.stack(cells, axis=1), each.numpy().argmin(axis=1)


def _alone(line: LINe) -> Callable[[Tensor], Scores]:
    def predict(features: Tensor) -> Scores:
        classes, confidence = line.predict(features)
        return classes, confidence, confidence[:, None]

    return predict
