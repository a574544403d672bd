"""Scoring on a CPU by the blocked kernel: what it needs of a head, when it applies, and who runs which rows."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

log = logging.getLogger(__name__)

_SAY_AFTER_S = 0.5
_NOTICE = "loading the scoring kernel; where no compiled code is cached it is compiled once, which takes some seconds"
_ROWS_A_THREAD = 16  # fewer rows are not worth waking a thread


def installed() -> bool:
    """Whether numba can be found; it is not imported."""
    return importlib.util.find_spec("numba") is not None


@dataclass(frozen=True)
class PackedHead:
    """What the kernel reads beside the head itself.

    Attributes:
        kernel: the compiled scorer.
        packed: (tiles, D, width) float32, the head transposed.
        bias: (tiles * width,) float32, -inf for the padding.
        floors: (K, D) float32, shared with the fit.
        entries, ends: per class, the neurons that can count.
    """

    kernel: Callable[..., None]
    packed: NDArray[np.float32]
    bias: NDArray[np.float32]
    floors: NDArray[np.float32]
    entries: NDArray[np.uint8]
    ends: NDArray[np.uint16]

    @property
    def own_bytes(self) -> int:
        """Bytes that are not shared with the fit."""
        return self.packed.nbytes + self.bias.nbytes + self.entries.nbytes + self.ends.nbytes

    def confidence(self, clipped: Tensor, classes: Tensor) -> Tensor:
        """``logsumexp`` of the masked logits, (N,) float32, by as many threads as torch may use.

        Args:
            clipped: (N, D) float32; classes: (N,) int64.
        """
        n = len(clipped)
        out = np.empty(n, np.float32)
        if not n:
            return torch.from_numpy(out)
        z = clipped.contiguous().numpy()
        arrays = (z, (z == 0).any(axis=1), classes.contiguous().numpy(), self.packed, self.bias, self.floors)
        task = functools.partial(self.kernel, *arrays, self.entries, self.ends, out)
        threads = max(1, min(torch.get_num_threads(), n // _ROWS_A_THREAD))
        edges = [n * i // threads for i in range(threads + 1)]
        others = [_pool(threads).submit(task, *span) for span in pairwise(edges[1:])]
        task(*edges[:2])
        for other in others:
            other.result()
        return torch.from_numpy(out)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="line-scoring")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def pack(weight: Tensor, bias: Tensor, floors: Tensor) -> PackedHead | None:
    """Load the kernel and lay the head out for it; ``None`` where the kernel does not apply, with the reason logged.

    The first call on a machine compiles for some seconds; a load above half a second is logged at INFO. The code is
    kept in ``NUMBA_CACHE_DIR``, ``__pycache__`` or the user's cache folder, whichever can be written.

    Args:
        weight: (K, D), bias: (K,), floors: (K, D), float32 on the CPU.
    """
    notice = threading.Timer(_SAY_AFTER_S, log.info, [_NOTICE])
    notice.daemon = True
    notice.start()
    try:
        return _pack(*(t.detach().contiguous().numpy() for t in (weight, bias, floors)))
    except ImportError as error:
        log.warning("scoring without the compiled kernel, slower: numba cannot be imported (%s)", error)
        return None
    finally:
        notice.cancel()


def _pack(weight: NDArray[np.float32], bias: NDArray[np.float32], floors: NDArray[np.float32]) -> PackedHead | None:
    from line_plugin.kernels import blocked

    if not blocked.SUPPORTED:
        log.warning("scoring without the compiled kernel, slower: this CPU has no fused multiply-add")
        return None
    packed = blocked.pack(weight)
    tiles, d, width = packed.shape
    padded = np.full(tiles * width, -np.inf, np.float32)
    padded[: len(bias)] = bias
    entries, ends = blocked.list_neurons(floors, weight.min(axis=0), weight.max(axis=0), width)
    head = PackedHead(blocked.kernel(width), packed, padded, floors, entries, ends)
    head.confidence(torch.zeros(1, d), torch.zeros(1, dtype=torch.int64))  # compiles
    return head
