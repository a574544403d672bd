"""Scoring on a CPU by the blocked kernel: what it needs of a head, when it applies, and who runs which rows."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from line_plugin.kernels.notice import loading

log = logging.getLogger(__name__)

_SCREENED_CLASSES = 64  # below, bytes save less than making them costs
_ROWS_A_THREAD = 16  # fewer rows are not worth waking a thread


def installed() -> bool:
    """Whether numba can be found; it is not imported."""
    return importlib.util.find_spec("numba") is not None


@dataclass(frozen=True)
class PackedHead:
    """What the kernel reads beside the head itself.

    Attributes:
        kernels: the compiled scorer and its two halves (:func:`line_plugin.kernels.cpu.blocked.kernels`).
        head: weight, tiles, bias, floors, entries, ends; weight and floors are shared with the fit.
        screen: the head in bytes, for the class prediction.
    """

    kernels: tuple[Callable[..., None], Callable[..., None], Callable[..., None]]
    head: tuple[NDArray[Any], ...]
    screen: tuple[NDArray[Any], ...]

    @property
    def own_bytes(self) -> int:
        """Bytes that are not shared with the fit."""
        _, tiles, bias, _, entries, ends = self.head
        return sum(array.nbytes for array in (tiles, bias, entries, ends, *self.screen))

    def predict(self, features: Tensor, delta: float | None) -> tuple[Tensor, Tensor]:
        """Class (N,) int64 and confidence (N,) float32 of each row, by as many threads as torch may use.

        Args:
            features: (N, D) float32, finite; delta: activation clipping threshold, ``None`` for off.
        """
        n = len(features)
        keys, confidence = np.empty(n, np.int64), np.empty(n, np.float32)
        if n:
            x = features.contiguous().numpy()
            clip = np.float32(np.inf if delta is None else delta)
            self.each_thread(n, functools.partial(self.kernels[0], x, clip, self.head, self.screen, keys, confidence))
        return torch.from_numpy(keys >> 1), torch.from_numpy(confidence)

    @staticmethod
    def each_thread(n: int, task: Callable[[int, int], None]) -> None:
        """Run ``task(first, last)`` over spans of ``n`` rows."""
        threads = max(1, min(torch.get_num_threads(), n // _ROWS_A_THREAD))
        edges = [n * i // threads for i in range(threads + 1)]
        others = [_pool(threads).submit(task, *span) for span in pairwise(edges[1:])]
        task(*edges[:2])
        for other in others:
            other.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="line-scoring")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def pack(weight: Tensor, bias: Tensor, floors: Tensor) -> PackedHead | None:
    """Load the kernel and lay the head out for it; ``None`` if the kernel does not apply, with the reason logged.

    The first call on a machine compiles for some seconds; a load above half a second is logged at INFO. The code is
    kept in ``NUMBA_CACHE_DIR``, ``__pycache__`` or the user's cache folder, whichever can be written.

    Args:
        weight: (K, D), bias: (K,), floors: (K, D), float32 on the CPU.
    """
    try:
        with loading(log, "the scoring kernel"):
            return _pack(*(t.detach().contiguous().numpy() for t in (weight, bias, floors)))
    except ImportError as error:
        log.warning("scoring without the compiled kernel, slower: numba cannot be imported (%s)", error)
        return None


def _pack(weight: NDArray[np.float32], bias: NDArray[np.float32], floors: NDArray[np.float32]) -> PackedHead | None:
    from line_plugin.kernels.cpu import blocked
    from line_plugin.kernels.cpu.blocked import instructions, layout

    if not instructions.FUSED:
        log.warning("scoring without the compiled kernel, slower: this CPU has no fused multiply-add")
        return None
    k, d = weight.shape
    width = layout.tile_width(k, instructions.LANES, instructions.WIDEST)
    in_bytes = instructions.BYTES and k >= _SCREENED_CLASSES
    block = layout.block_length(width)
    lists = layout.list_neurons(floors, weight.min(axis=0), weight.max(axis=0), block)
    packed = PackedHead(
        blocked.kernels(width),
        (weight, layout.tiles(weight, width), layout.pad(bias, width, -np.inf), floors, *lists),
        layout.screen(weight, width, in_bytes),
    )
    packed.predict(torch.zeros(1, d), None)  # compiles
    return packed
