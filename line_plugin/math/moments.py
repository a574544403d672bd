"""Sums the first and second moments of features batch by batch, for their mean and covariance after one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from line_plugin.errors import FitError, WidthError


@dataclass
class Moments:
    """Sums over rows, kept on the CPU: D (D + 1) float64, 34 MB for D = 2048.

    Attributes:
        count: how many rows.
        sums: (D,) float64. products: (D, D) float64, ``sum_n a_n a_n^T``.

    Example:
        >>> import torch
        >>> moments = Moments.zeros(2)
        >>> moments.add_(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
        >>> moments.mean.tolist(), moments.covariance.tolist()
        ([1.0, 1.0], [[1.0, 0.0], [0.0, 0.0]])
    """

    count: int
    sums: Tensor
    products: Tensor

    @classmethod
    def zeros(cls, width: int) -> Moments:
        """Moments of no rows."""
        return cls(0, torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64))

    def add_(self, features: Tensor) -> None:
        """Adds a batch (N, D) of any floating dtype on any device.

        Raises:
            WidthError: the features are not (N, D).
        """
        if features.ndim != 2 or features.shape[1] != len(self.sums):
            raise WidthError(f"features of shape {tuple(features.shape)} given, expected (N, {len(self.sums)})")
        for rows in features.detach().split(4096):  # type: ignore[no-untyped-call]  # bounds the float64 copy
            wide = rows.to("cpu", torch.float64)
            self.count += len(wide)
            self.sums += wide.sum(dim=0)
            self.products.addmm_(wide.T, wide)

    @property
    def mean(self) -> Tensor:
        """The mean, (D,) float64.

        Raises:
            FitError: no rows were added.
        """
        if not self.count:
            raise FitError("moments of no row: pass labelled ID training images")
        return self.sums / self.count

    @property
    def covariance(self) -> Tensor:
        """The covariance, (D, D) float64, around the mean and divided by the count."""
        mean = self.mean
        return self.products / self.count - torch.outer(mean, mean)
