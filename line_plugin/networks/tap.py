"""Reads the features that enter a network's head and the logits that leave it, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from line_plugin.errors import FitError, HeadError
from line_plugin.networks.head import EXPECTED_NETWORK, Head, device_of, find_head


@dataclass(frozen=True)
class TappedBatch:
    """One forward pass: features (N, D) entering the head, logits (N, K) leaving it, labels (N,)."""

    features: Tensor
    logits: Tensor
    labels: Tensor
    head: nn.Linear
    path: str


@contextmanager
def tapped(head: Head) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collects ``(features, logits)`` of each call of the head while the context lasts."""
    seen: list[tuple[Tensor, Tensor]] = []

    def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        seen.append((inputs[0].detach(), output.detach()))

    handle = head.linear.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def forward(model: nn.Module, head: Head, images: Tensor) -> tuple[Tensor, Tensor]:
    """One pass without gradients: features (N, D) entering the head and logits (N, K) leaving it.

    Raises:
        HeadError: the head did not run exactly once, or its input is not (N, D).
    """
    with torch.no_grad(), tapped(head) as seen:
        model(images.contiguous(memory_format=head.layout))
    if len(seen) != 1:
        raise HeadError(f"the head {head.path!r} ran {len(seen)} times in one pass, expected once: {EXPECTED_NETWORK}")
    features, logits = seen[0]
    if features.ndim != 2 or features.shape[0] != images.shape[0]:
        raise HeadError(
            f"the head {head.path!r} is fed a tensor of shape {tuple(features.shape)}, expected "
            f"({images.shape[0]}, {head.linear.in_features}): {EXPECTED_NETWORK}"
        )
    return features, logits


def tap_batches(
    model: nn.Module, loader: Iterable[Any], *, head: str | None = None, device: torch.device | str | None = None
) -> Iterator[TappedBatch]:
    """Forwards every batch of a loader once, and yields the head's inputs and outputs.

    Args:
        model: put in eval mode and moved to ``device``.
        loader: batches ``(images, labels, ...)`` or dicts with ``data`` and ``label``.
        head: module path of the ``Linear``; found on the first batch if it is not given.
        device: the device to run on; by default the model's own.
    """
    target = torch.device(device) if device is not None else device_of(model)
    model.to(target).eval()
    found: Head | None = None
    for batch in loader:
        images, labels = _unpack_batch(batch)
        images = images.to(target, non_blocking=True)
        if found is None:
            found = find_head(model, images, head)
        features, logits = forward(model, found, images)
        yield TappedBatch(features, logits, labels, found.linear, found.path)


def _unpack_batch(batch: Any) -> tuple[Tensor, Tensor]:
    if isinstance(batch, Mapping) and "data" in batch and "label" in batch:
        return batch["data"], torch.as_tensor(batch["label"])
    if isinstance(batch, (tuple, list)) and len(batch) >= 2:
        return batch[0], torch.as_tensor(batch[1])
    raise FitError(
        f"the loader gives {type(batch).__name__}, expected (images, labels) or a dict with 'data' and 'label'"
    )
