"""The two halves of the kernel as separate functions, for benchmarks and for people who look into it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from line_plugin.kernels.cpu.blocked import classes, layout, masked
from line_plugin.kernels.cpu.blocked.host import LANES
from line_plugin.kernels.cpu.blocked.sums import chains, shared_rows
from line_plugin.kernels.cpu.blocked.tiles import cached


@functools.cache
def halves(width: int) -> tuple[Any, Any]:
    """The class prediction and the masked logits as two functions for tiles of ``width`` classes, for tests and timing.

    They take these arguments (:mod:`.job` reads the same values from one address):

    * ``x`` (N, D) float32; ``delta`` float32, inf to leave clipping off;
    * ``head``: weight (K, D), tiles, bias padded with -inf, floors (K, D), entries and ends (:mod:`.layout`);
    * ``screen``: packed, scale, offset, rounding, norm of a :class:`.layout.Screen`;
    * ``keys`` (N,) int64, filled by the first function: twice the class, plus 1 for a row that leaves out its zeros;
    * ``confidence`` (N,) float32, filled by the second function; ``first`` and ``last``, the rows to score.
    """
    vectors = width // LANES
    share, block = shared_rows(vectors), layout.block_length(width)
    drops = chains(vectors) == 1  # with more chains, leaving an entry out would move the others to other partial sums

    def predict(x: Any, delta: Any, head: Any, screen: Any, keys: Any, first: int, last: int) -> None:
        classes.predict(vectors, share, block, drops, x, delta, head, screen, keys, first, last)

    def mask(x: Any, delta: Any, head: Any, keys: Any, confidence: Any, first: int, last: int) -> None:
        nothing = np.zeros(0, np.float32)
        parts, angle = (nothing, nothing, nothing), np.zeros(0, np.float64)
        masked.mask(vectors, share, x, delta, head, keys, confidence, False, parts, angle, first, last)

    return cached(predict), cached(mask)
