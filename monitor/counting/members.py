"""Who judges a row: those that gather evidence apart, each with a calibration of its own. LINe is a single one."""

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
        names: of those that gather evidence apart.
        calibrations: of each, on the same held-out inputs.
        experts: names of what the artifact's confidence is made of, empty if that is one thing.
        predict: (N, D) features to classes (N,), confidence (N,) and what each expert says (N, experts), high = ID.
    """

    names: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    experts: tuple[str, ...]
    predict: Callable[[Floats], Scores]

    @classmethod
    def of(cls, artifact: LINe | Panel | LineScorer | PanelScorer) -> Members:
        """The experts of a calibrated artifact.

        Raises:
            ModelError: a panel that does not say who gathers evidence.
        """
        # Of a panel and of LINe, each by torch and by numpy alone, asked in one way.
        scorer: Any = artifact if isinstance(artifact, (LineScorer, PanelScorer)) else TensorScorer(artifact)
        held: dict[str, Calibration] | None = getattr(artifact, "evidence_calibrations", None)
        if held is None:
            assert artifact.calibration is not None  # noqa: S101  the scorer has looked
            return cls(("line",), (artifact.calibration,), (), _alone(scorer.predict))
        if not held:
            raise ModelError(
                "the artifact holds a calibration of the panel, but does not say who of it gathers evidence: calibrate "
                "it again with `openood calibrate`"
            )
        return cls(tuple(held), tuple(held.values()), scorer.experts, scorer.predict_experts)

    def place(self, confidence: Floats, each: Floats) -> tuple[Ints, Ints]:
        """The cells (N, members), and the expert (N,) that says least, in units of its own spread.

        Args:
            confidence: (N,) of the artifact.
            each: (N, experts) what each expert says; high = ID.
        """
        own = dict(zip(self.experts, each.T, strict=False))
        cells = [c.cells(own.get(name, confidence)) for name, c in zip(self.names, self.calibrations, strict=True)]
        return np.stack(cells, axis=1), each.argmin(axis=1)


def _alone(predict: Callable[[Floats], tuple[Ints, Floats]]) -> Callable[[Floats], Scores]:
    def score(features: Floats) -> Scores:
        classes, confidence = predict(features)
        return classes, confidence, confidence[:, None]

    return score
