"""Decodes a stream of images of unknown length, in the same way as the benchmark decodes its lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from line_plugin.benchmark.protocol import images
from line_plugin.benchmark.protocol.images import Unreadable
from line_plugin.benchmark.protocol.spec import Preprocessing
from line_plugin.image_scoring.sources import Item


@dataclass(frozen=True)
class Decoded:
    """One batch.

    Attributes:
        items: the items in order.
        reasons: the reason for each item that cannot be scored, by position; every other position is in ``groups``.
        groups: positions and their images (n, 3, H, W) float32, one group if all images have one size, as after a crop.
    """

    items: list[Item]
    reasons: dict[int, str]
    groups: list[tuple[list[int], Tensor]]


class _Decoder(Dataset[tuple[Item, "Tensor | Unreadable"]]):
    """The data set of the decoding processes. Its indices are the items themselves, so no list of them is held."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._prepare = images.transform(preprocessing)

    def __getitem__(self, item: Item) -> tuple[Item, Tensor | Unreadable]:
        return item, Unreadable(item.reason) if item.reason else images.decode(item.path, self._prepare)


def _collate(found: list[tuple[Item, Tensor | Unreadable]]) -> Decoded:
    reasons: dict[int, str] = {}
    by_size: dict[torch.Size, list[int]] = {}
    for place, (_, image) in enumerate(found):
        if isinstance(image, Unreadable):
            reasons[place] = " ".join(image.reason.split())
        else:
            by_size.setdefault(image.shape, []).append(place)
    groups = [
        (places, torch.stack([t for p in places if isinstance(t := found[p][1], Tensor)]))
        for places in by_size.values()
    ]
    return Decoded([item for item, _ in found], reasons, groups)


def decode(plan: Iterator[list[Item]], preprocessing: Preprocessing, num_workers: int) -> Iterator[Decoded]:
    """Decode batch after batch, in order.

    Args:
        plan: the batches, read a few ahead.
        preprocessing: how images are prepared.
        num_workers: decoding processes; 0 decodes in this one.
    """
    loader = DataLoader(
        _Decoder(preprocessing),
        batch_sampler=plan,  # read as an iterable, so that torch does not need its length
        num_workers=num_workers,
        collate_fn=_collate,
        generator=torch.Generator(),  # does not change torch's global random state
    )
    yield from loader
