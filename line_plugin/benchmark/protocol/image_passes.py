"""Forwards batches of image files through a network, for the sets that the feature cache does not have yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from line_plugin.benchmark.protocol import images
from line_plugin.networks.head import Head
from line_plugin.networks.tap import forward


@dataclass(frozen=True)
class Forwarded:
    """One batch.

    Attributes:
        owner: the job that it belongs to.
        features: (N, D) float32, what enters the head.
        predicted: (N,) int64, the class of the largest logit.
    """

    owner: int
    features: NDArray[np.float32]
    predicted: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ForwardImages:
    """Decodes and forwards batch after batch (a :class:`.passes.Work`).

    Attributes:
        model: the network on ``device``, in eval mode.
        head: its head.
        num_workers: decoding processes.
    """

    model: nn.Module
    head: Head
    device: torch.device
    num_workers: int

    def __call__(self, plan: Iterable[images.Batch], /) -> Iterator[Forwarded]:
        """The features of every batch, in order.

        Raises:
            ImageError: an image is missing or broken. HeadError: the head did not run exactly once.
        """
        pinned = self.device.type == "cuda"
        for owner, batch in images.read(list(plan), self.num_workers, pin_memory=pinned):
            features, logits = forward(self.model, self.head, batch.to(self.device, non_blocking=True))
            yield Forwarded(owner, features.float().cpu().numpy(), logits.argmax(dim=1).cpu().numpy())
