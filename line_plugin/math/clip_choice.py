"""The record of a clipping threshold that was chosen from ID data: its candidates, and the reasons to doubt it."""

from __future__ import annotations

import math
from dataclasses import dataclass

PERCENTILES: tuple[float, ...] = (80, 85, 90, 92.5, 95, 96, 97, 97.5, 98, 98.5, 99, 99.5, 99.9)
"""The candidates, as percentiles of all training activations."""

USUAL = 97.5
"""The percentile that is chosen unless the left-out classes favour another."""

FOLDS = 5

_FEW = 500  # with fewer left-out rows than this, the AUROCs need a warning


@dataclass(frozen=True)
class Candidate:
    """One threshold that was tried.

    Attributes:
        percentile: its percentile of the training activations.
        clip: the threshold, in units of the features.
        aurocs: one AUROC for each fold, shares in [0, 1]; empty if no class could be left out.
    """

    percentile: float
    clip: float
    aurocs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean AUROC over the folds, NaN without folds."""
        return math.fsum(self.aurocs) / len(self.aurocs) if self.aurocs else math.nan


@dataclass(frozen=True)
class LeaveOut:
    """Which clipping threshold was chosen, and why.

    Attributes:
        clip: the threshold, in units of the features; a float32 number.
        percentile: which percentile of the training activations it is.
        candidates: all candidates, by percentile. A percentile whose value is 0 or less is not among them.
        folds: the classes that were left out together; empty if there are fewer than 2 classes.
        seed: seed of the split into folds.
        rows: how many training rows were used.
        width: D.
        dead: how many features are 0 in all of these rows. Percentiles leave them out, so that a network with more of
            them gets the same threshold.
        negative: share of the activations of the other features that are below 0.
    """

    clip: float
    percentile: float
    candidates: tuple[Candidate, ...]
    folds: tuple[tuple[int, ...], ...]
    seed: int
    rows: int
    width: int
    dead: int
    negative: float

    def limits(self) -> list[str]:
        """The reasons to doubt this choice, as sentences; empty if there are none."""
        sentences = []
        classes = sum(map(len, self.folds))
        if not self.folds:
            sentences.append(
                f"The head has one class, so none can be left out: the {USUAL:g}th percentile of the training "
                "activations was taken without a check."
            )
        elif classes < FOLDS:
            sentences.append(
                f"The head has {classes} classes, fewer than {FOLDS}: each was left out by itself, and what is learnt "
                "from so few says little about other inputs. Check the threshold on OOD inputs of your own if you have "
                "some."
            )
        if self.folds and self.rows < _FEW:
            error = 50 / math.sqrt(self.rows)
            sentences.append(
                f"{self.rows} training rows were used, so an AUROC of the table may be off by about {error:.0f} points "
                f"or more; fit on at least {_FEW}."
            )
        if self.dead:
            sentences.append(
                f"{self.dead} of {self.width} features are 0 in all {self.rows} rows: they never fire and are in no "
                "percentile."
            )
        dropped = len(PERCENTILES) - len(self.candidates)
        if dropped:
            sentences.append(
                f"{dropped} of {len(PERCENTILES)} percentiles are 0 or less and were not tried: most activations are 0."
            )
        if self.negative:
            sentences.append(
                f"{self.negative:.1%} of the activations are negative. The rule then still chooses how much of the "
                "upper end to clip, but LINe assumes activations behind a ReLU and does badly on some networks without "
                "one (ViT, Swin, ConvNeXt). Compare it by `openood eval` with the methods ebo, rmds++ or mds++."
            )
        return sentences
