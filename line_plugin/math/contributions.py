"""Sums the features of each class, and computes from them how much each neuron contributes to each class.

The paper (section 3.1, Shapley value approximation) takes for neuron ``j`` and an image of class ``y``
``s_j = |a_j * d f_y / d a_j|``; the published code keeps the sign. The head is linear, so ``d f_y / d a_j = W[y, j]``
and the mean of ``s`` over class ``c`` is ``W[c] * mean_c(a)``. So no gradient is needed, and a fit keeps K x D sums and
K counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from line_plugin.errors import EmptyClassError, FitError, NonFiniteError, WidthError
from line_plugin.math.scoring import Array

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ClassSums:
    """The sum of the features of each class. Sums over batches, shards or workers can be added.

    Attributes:
        sums: (K, D) float64, ``sums[c]`` is the sum of the features of the images labelled ``c``.
        counts: (K,) int64, how many there were.
    """

    sums: Tensor
    counts: Tensor

    @classmethod
    def zeros(cls, num_classes: int, width: int) -> ClassSums:
        """Sums over no images. They stay on the CPU, so that the order of addition is fixed, and with it every bit."""
        import torch

        return cls(
            sums=torch.zeros(num_classes, width, dtype=torch.float64),
            counts=torch.zeros(num_classes, dtype=torch.int64),
        )

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.sums.shape[0])

    @property
    def width(self) -> int:
        """D."""
        return int(self.sums.shape[1])

    @property
    def num_samples(self) -> int:
        """How many labelled images went in."""
        return int(self.counts.sum())

    def add_(self, features: Tensor, labels: Tensor) -> ClassSums:
        """Add a batch in place.

        Args:
            features: (N, D), any floating dtype and device, unclipped.
            labels: (N,) integer classes; a negative label means unknown and is ignored.

        Raises:
            WidthError: the features are not (N, D).
            FitError: a label is not below K, or the two lengths differ.
        """
        import torch

        if features.ndim != 2 or features.shape[1] != self.width:
            raise WidthError(
                f"features of shape {tuple(features.shape)} given, expected (N, {self.width}): "
                "pass the pooled input of the classifier head"
            )
        if labels.shape != features.shape[:1]:
            raise FitError(
                f"{features.shape[0]} features but labels of shape {tuple(labels.shape)}: pass one label a row"
            )
        labels = labels.to("cpu", torch.int64)
        if labels.numel() and int(labels.max()) >= self.num_classes:
            raise FitError(
                f"label {int(labels.max())} given, but the head has {self.num_classes} classes "
                f"(0 to {self.num_classes - 1}): check the label file against the network"
            )
        known = labels >= 0
        rows = features.detach().to("cpu")[known].to(torch.float64)
        if not bool(torch.isfinite(rows).all()):
            bad = int((~torch.isfinite(rows)).sum())
            raise NonFiniteError(f"{bad} NaN or Inf among {rows.numel()} training features: check the network's output")
        self.sums.index_add_(0, labels[known], rows)
        self.counts.index_add_(0, labels[known], torch.ones_like(labels[known]))
        return self

    def merge(self, other: ClassSums) -> ClassSums:
        """The sums over the images of both.

        Raises:
            FitError: the two have different shapes.
        """
        if self.sums.shape != other.sums.shape:
            raise FitError(
                f"cannot merge sums of shape {tuple(self.sums.shape)} and {tuple(other.sums.shape)}: "
                "both parts must come from the same network"
            )
        return ClassSums(self.sums + other.sums, self.counts + other.counts)

    def copy(self) -> ClassSums:
        """A copy, which a later :meth:`add_` does not change."""
        return ClassSums(self.sums.clone(), self.counts.clone())

    def means(self, class_names: Sequence[str] | None = None) -> Tensor:
        """Class means, (K, D) float64.

        Raises:
            EmptyClassError: a class has no image; the first few are named.
        """
        return class_means(self.sums, self.counts, class_names)


def class_means(sums: Array, counts: Array, class_names: Sequence[str] | None = None) -> Array:
    """Class means of the features, (K, D) float64; tensors or arrays.

    Args:
        sums: (K, D) float64, sums of the features of each class.
        counts: (K,) int64, how many there were.
        class_names: K names, for the error message.

    Raises:
        EmptyClassError: a class has no image; the first few are named.
    """
    empty = [i for i, n in enumerate(counts.tolist()) if n == 0]
    if empty:
        shown = ", ".join(class_names[i] if class_names else str(i) for i in empty[:5])
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        raise EmptyClassError(
            f"no training image of class {shown}{more} ({len(empty)} of {len(counts)} classes): "
            "a class without images has no contribution; add images or drop the class from the head"
        )
    means: Array = sums / counts[:, None]
    return means


def contributions(means: Array, weight: Array) -> Array:
    """Mean signed contribution of each neuron to each class, ``C[c] = W[c] * mean_c(a)``; tensors or arrays.

    Args:
        means: (K, D) float64, class means of the unclipped features.
        weight: (K, D) head weight.

    Returns:
        (K, D) float64. They are signed, as in the published code; the paper's text takes absolute values.
    """
    found: Array = weight * means  # float64, since one factor is float64; a float32 weight is converted exactly
    return found
