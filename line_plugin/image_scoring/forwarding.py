"""Forwards batches of items through a network, to get the features that are scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from line_plugin.benchmark.protocol.spec import Preprocessing
from line_plugin.errors import SettingsError
from line_plugin.image_scoring.decoding import decode
from line_plugin.image_scoring.sources import Item
from line_plugin.networks.head import Head, find_head
from line_plugin.networks.tap import forward


@dataclass(frozen=True)
class ForwardedItems:
    """One batch.

    Attributes:
        items: the items in order.
        reasons: the reason for each item that cannot be scored, by position; every other position is in ``groups``.
        groups: positions and the features (n, D) float32 of their images, one group for each size of images.
    """

    items: list[Item]
    reasons: dict[int, str]
    groups: list[tuple[list[int], NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)
class ForwardItems:
    """Decodes and forwards batch after batch (a :class:`line_plugin.benchmark.protocol.passes.Work`).

    Attributes:
        model: the network on ``device``, in eval mode.
        preprocessing: how images are prepared.
        head_path: module path of the head; None to find it with the first image.
        head_weight: (K, D) float32, the artifact's.
        num_workers: decoding processes.
    """

    model: nn.Module
    preprocessing: Preprocessing
    device: torch.device
    head_path: str | None
    head_weight: Tensor
    num_workers: int

    def __call__(self, plan: Iterable[list[Item]], /) -> Iterator[ForwardedItems]:
        """The features of every batch, in order.

        Raises:
            HeadError: the network has no usable head. SettingsError: its head is not the artifact's.
        """
        head: Head | None = None
        for batch in decode(iter(plan), self.preprocessing, self.num_workers):
            groups = []
            for places, images in batch.groups:
                there = images.to(self.device)
                head = head or self._checked_head(find_head(self.model, there, self.head_path))
                groups.append((places, forward(self.model, head, there)[0].float().cpu().numpy()))
            yield ForwardedItems(batch.items, batch.reasons, groups)

    def _checked_head(self, head: Head) -> Head:
        """Refuses a head other than that of the fit, since the artifact is not valid for its features."""
        weight, own = self.head_weight, head.linear.weight.detach().float().cpu()
        if own.shape != weight.shape or not torch.equal(own, weight):
            raise SettingsError(
                f"the head {head.path!r} of this network ({own.shape[0]} x {own.shape[1]}) is not the one that the "
                f"artifact was fitted on ({weight.shape[0]} x {weight.shape[1]}): give its checkpoint, and --head if "
                "the fit had one"
            )
        return head
