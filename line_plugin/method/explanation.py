"""The explanation of one input's confidence, as frozen dataclasses that :meth:`LINe.explain` returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from line_plugin.math import conformal
from line_plugin.math.decomposition import Decomposition, MaskedHead, decompose
from line_plugin.method.calibration import Calibration


@dataclass(frozen=True)
class Neuron:
    """One neuron of one row.

    Attributes:
        index: its index among the D features.
        activation: before clipping; clipped: after clipping.
        weight: the head's weight for the predicted class; kept: whether this weight passes both masks.
        contribution: what it adds to the masked logit of the predicted class.
        score_contribution: what it adds to the confidence, over all logits.
        clipped_away, masked_away: what its clipped part, or its masked weight, would have added to that logit.
    """

    index: int
    activation: float
    clipped: float
    weight: float
    kept: bool
    contribution: float
    score_contribution: float
    clipped_away: float
    masked_away: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """One confidence of LINe as a sum over neurons.

    ``parts.contributions.sum() + bias`` is the masked logit of the predicted class, and
    ``parts.score_contributions.sum() + parts.score_bias + parts.entropy`` is the confidence, up to rounding.

    Attributes:
        predicted: the class; class_name: its name, empty if the artifact has no names.
        confidence: as :meth:`LINe.predict` gives it, high = ID.
        p_value: the share of held-out ID inputs at or below it; None without a calibration.
        bias: the head's bias for the predicted class.
        parts: the tensors (:class:`line_plugin.math.decomposition.Decomposition`).
        head: the head that they were computed with, shared by the rows of one call.
    """

    predicted: int
    class_name: str
    confidence: float
    p_value: float | None
    bias: float
    parts: Decomposition
    head: MaskedHead

    def contributions_to(self, label: int) -> Tensor:
        """Each neuron's contribution (D,) float64 to another class's masked logit, which is their sum plus its bias."""
        return self.parts.clipped * torch.where(
            self.head.kept(self.predicted)[label], self.head.weight[label], self.head.weight.new_zeros(())
        )

    def neuron(self, index: int) -> Neuron:
        """One of the D neurons, by index."""
        p = self.parts
        return Neuron(
            index=index,
            activation=float(p.activations[index]),
            clipped=float(p.clipped[index]),
            weight=float(p.weights[index]),
            kept=bool(p.kept[index]),
            contribution=float(p.contributions[index]),
            score_contribution=float(p.score_contributions[index]),
            clipped_away=float(p.clipped_away[index]),
            masked_away=float(p.masked_away[index]),
        )

    def top(self, n: int) -> tuple[Neuron, ...]:
        """The ``n`` neurons that change the confidence most, up or down, the largest change first."""
        amounts = self.parts.score_contributions.abs()
        order = torch.argsort(amounts, descending=True, stable=True)[:n]
        return tuple(self.neuron(int(i)) for i in order)


@dataclass(frozen=True)
class ExpertOpinion:
    """The score of one expert of a panel for a row.

    Attributes:
        name: the expert's name.
        score: in units of its own spread: 0 is typical, and 1 % of training rows have -1 or less.
        p_value: the share of held-out ID inputs with this score or less; None if it was not calibrated.
    """

    name: str
    score: float
    p_value: float | None


@dataclass(frozen=True, eq=False)
class PanelExplanation:
    """One confidence of a panel as a sum over experts.

    Attributes:
        predicted: the class; class_name: its name, empty if the artifact has no names.
        confidence: as :meth:`Panel.predict` gives it, the sum of the experts' scores; high = ID.
        p_value: as in :class:`Explanation`.
        experts: the experts' scores, in the order in which they are added.
        line: LINe's own confidence as a sum over neurons.
    """

    predicted: int
    class_name: str
    confidence: float
    p_value: float | None
    experts: tuple[ExpertOpinion, ...]
    line: Explanation

    @property
    def blames(self) -> str:
        """The name of the expert with the lowest score, which the monitor names in its alerts."""
        return min(self.experts, key=lambda e: e.score).name


def p_values_of(calibration: Calibration | None, confidence: Tensor) -> list[float | None]:
    """The p-value of each confidence (N,), or None for each if there is no calibration."""
    if calibration is None:
        return [None] * len(confidence)
    return [float(p) for p in conformal.p_values(calibration.ordered, confidence)]


def explain_rows(
    rows: Tensor,
    classes: Tensor,
    confidence: Tensor,
    head: MaskedHead,
    *,
    delta: float | None,
    class_names: tuple[str, ...],
    calibration: Calibration | None,
) -> tuple[Explanation, ...]:
    """Explains rows (N, D) float32 whose classes (N,) and confidences (N,) are known, all on the CPU."""
    chances = p_values_of(calibration, confidence)
    return tuple(
        Explanation(
            predicted=c,
            class_name=class_names[c] if class_names else "",
            confidence=float(s),
            p_value=p,
            bias=float(head.bias[c]),
            parts=decompose(row, c, head, delta),
            head=head,
        )
        for row, c, s, p in zip(rows, classes.tolist(), confidence, chances, strict=True)
    )
