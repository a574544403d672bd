"""Computes a threshold for a stated rate and conformal cells from held-out ID confidences, and states their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from line_plugin.errors import CalibrationError
from line_plugin.math import beta, conformal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Calibration:
    """The confidences of ID samples that the network was not trained on, and the share of them to keep.

    It uses numpy, so that a process without torch can read it. Only :attr:`confidence` imports torch.

    Attributes:
        ordered: (n,) float32, the confidences in ascending order.
        tpr: the share of ID samples to keep, in (0, 1); ``1 - tpr`` is the share of ID samples that is flagged.
        source: the name of the scored data, for people (``"cifar10 val"``).
        class_counts: (K,) how many of the samples are predicted as each class; empty if unknown, as in artifacts of
            earlier releases.
    """

    ordered: NDArray[np.float32]
    tpr: float = 0.95
    source: str = ""
    class_counts: tuple[int, ...] = ()

    @classmethod
    def from_scores(
        cls,
        confidence: Tensor | NDArray[Any],
        tpr: float = 0.95,
        source: str = "",
        class_counts: Sequence[int] = (),
    ) -> Calibration:
        """Calibrates from (n,) confidences, high = ID, and the number of these samples predicted as each class.

        Raises:
            CalibrationError: there are no samples, one is NaN or Inf, or ``tpr`` is outside (0, 1).
        """
        values = _on_cpu(confidence).astype(np.float32).ravel()
        if not values.size:
            raise CalibrationError("no calibration score given: pass confidences of held-out ID samples")
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise CalibrationError(f"{bad} NaN or Inf among {values.size} calibration scores: score them again")
        if not 0 < tpr < 1:
            raise CalibrationError(f"tpr {tpr} given, expected a rate between 0 and 1 such as 0.95")
        return cls(np.sort(values), float(tpr), source, tuple(int(n) for n in class_counts))

    @property
    def confidence(self) -> Tensor:
        """The confidences in ascending order, (n,) float32, a tensor on the CPU."""
        import torch

        return torch.from_numpy(self.ordered)

    @property
    def n(self) -> int:
        """How many samples were scored."""
        return len(self.ordered)

    @property
    def fpr(self) -> float:
        """The share of ID samples flagged at :attr:`threshold`, ``1 - tpr``."""
        return round(1 - self.tpr, 12)

    @property
    def threshold(self) -> float:
        """A sample is flagged as OOD if its confidence is below this; it keeps at least ``tpr`` of ID samples."""
        return self.threshold_at(self.fpr)

    def threshold_at(self, fpr: float) -> float:
        """The threshold that flags at most ``fpr`` of exchangeable ID samples; -inf if n is too small."""
        return conformal.cutoff(self.ordered, fpr)

    def cell_bounds(self, edges: Sequence[float] = conformal.CELL_EDGES) -> tuple[float, ...]:
        """The upper confidence bounds of the conformal cells. The most OOD cell comes first, the last bound is +inf."""
        return conformal.cutoffs(self.ordered, edges)

    @overload
    def cells(self, confidences: Tensor, edges: Sequence[float] = ...) -> Tensor: ...
    @overload
    def cells(self, confidences: NDArray[Any], edges: Sequence[float] = ...) -> NDArray[np.int64]: ...
    def cells(
        self, confidences: Tensor | NDArray[Any], edges: Sequence[float] = conformal.CELL_EDGES
    ) -> Tensor | NDArray[np.int64]:
        """The conformal cell of each sample, (N,) int64, 0 the most OOD. A tensor gives a tensor on the CPU."""
        found = conformal.cells(_on_cpu(confidences), self.cell_bounds(edges))
        if isinstance(confidences, np.ndarray):
            return found
        import torch

        return torch.from_numpy(found)

    def realised_fpr(self, level: float = 0.95) -> tuple[float, float]:
        """The interval that holds the true flag rate of *this* threshold with probability ``level``.

        Over draws of the calibration set the rate is Beta(m, n + 1 - m), m the rank of the threshold
        (Vovk 2012, training-conditional validity).
        """
        m = conformal.rank(self.n, self.fpr)
        if m < 1:
            return (0.0, 0.0)
        tail = (1 - level) / 2
        return (beta.quantile(m, self.n + 1 - m, tail), beta.quantile(m, self.n + 1 - m, 1 - tail))

    def limits(self) -> list[str]:
        """The limits of this many samples, as sentences: what they support and what they cannot."""
        sentences = []
        if conformal.rank(self.n, self.fpr) < 1:
            sentences.append(
                f"{self.n} samples cannot place a threshold at FPR {self.fpr:.3g}: nothing would be flagged; "
                f"it takes at least {_count_needed(self.fpr)}."
            )
        else:
            low, high = self.realised_fpr()
            sentences.append(
                f"{self.n} samples: the threshold for FPR {self.fpr:.1%} flags between {low:.2%} and {high:.2%} "
                "of ID inputs (95 % of calibration sets of this size)."
            )
        empty = [e for e in conformal.CELL_EDGES if conformal.rank(self.n, e) < 1]
        if empty:
            sentences.append(
                f"The conformal cells up to p = {max(empty):g} stay empty: with {self.n} samples no p-value is "
                f"below {1 / (self.n + 1):.2g}; the cell p <= {min(empty):g} takes {_count_needed(min(empty))} samples."
            )
        if self.n < 10_000:
            sentences.append(
                f"{self.n} samples give only a coarse estimate of each cell's share of ID inputs. A false-alert "
                "budget therefore uses upper bounds, and weak surges are raised later. With 10,000 samples or more the "
                "delay is small."
            )
        ties = self.n - len(np.unique(self.ordered))
        if ties > 0.01 * self.n:
            sentences.append(
                f"{ties} of {self.n} scores are ties: rates are upper bounds and fewer inputs are flagged."
            )
        sentences.append("All of it holds for inputs drawn as the calibration set was; a stale set breaks it.")
        return sentences


def _on_cpu(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    """Converts a tensor for numpy; half precision becomes float32, since numpy has no bfloat16."""
    return values if isinstance(values, np.ndarray) else values.detach().cpu().double().numpy()


def _count_needed(alpha: float) -> int:
    """The least n that flags anything at ``alpha``."""
    n = max(1, round(1 / alpha) - 2)
    while conformal.rank(n, alpha) < 1:
        n += 1
    return n
