"""The scores that collect evidence separately, each with its own calibration. LINe is one; a panel has several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from line_plugin.method.scorer import LineScorer, PanelScorer
from monitor.counting.tensors import TensorScorer
from monitor.errors import ModelError

if TYPE_CHECKING:
    from line_plugin import Calibration, LINe, Panel

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Scores = tuple[Ints, Floats, Floats]


@dataclass(frozen=True)
class Members:
    """Who judges a row.

    Attributes:
        names: the names of the scores that collect evidence.
        calibrations: the calibration of each, on the same held-out inputs.
        experts: the names of a panel's experts; empty for LINe.
        predict: from features (N, D) to classes (N,), confidence (N,) and the score of each expert (N, experts), high =
            ID.
    """

    names: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    experts: tuple[str, ...]
    predict: Callable[[Floats], Scores]

    @classmethod
    def of(cls, artifact: LINe | Panel | LineScorer | PanelScorer) -> Members:
        """The members of a calibrated artifact.

        Raises:
            ModelError: a panel does not name the scores that collect evidence.
        """
        # One interface for a panel and for LINe, each with torch or with numpy alone.
        scorer: Any = artifact if isinstance(artifact, (LineScorer, PanelScorer)) else TensorScorer(artifact)
        held: dict[str, Calibration] | None = getattr(artifact, "evidence_calibrations", None)
        if held is None:
            assert artifact.calibration is not None  # noqa: S101  the scorer has looked
            return cls(("line",), (artifact.calibration,), (), _alone(scorer.predict))
        if not held:
            raise ModelError(
                "the artifact holds a calibration of the panel, but does not name the scores that collect evidence: "
                "calibrate it again with `openood calibrate`"
            )
        return cls(tuple(held), tuple(held.values()), scorer.experts, scorer.predict_experts)

    def place(self, confidence: Floats, each: Floats) -> tuple[Ints, Ints]:
        """The cells (N, members), and the expert (N,) with the lowest score in units of its own spread.

        Args:
            confidence: (N,), the artifact's.
            each: (N, experts), the score of each expert; high = ID.
        """
        own = dict(zip(self.experts, each.T, strict=False))
        cells = [c.cells(own.get(name, confidence)) for name, c in zip(self.names, self.calibrations, strict=True)]
        return np.stack(cells, axis=1), each.argmin(axis=1)


def _alone(predict: Callable[[Floats], tuple[Ints, Floats]]) -> Callable[[Floats], Scores]:
    def score(features: Floats) -> Scores:
        classes, confidence = predict(features)
        return classes, confidence, confidence[:, None]

    return score
