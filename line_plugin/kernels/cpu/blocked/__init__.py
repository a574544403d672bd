"""The fast kernel of the scoring rule for CPUs, in numba. It is imported when the first batch is scored.

Every logit ``g[n, k]`` is a chain of fused multiply-adds over the neurons. Their order depends on the row alone, so a
row has the same bits in every batch, at every place and on every thread. Four things make it fast:

* The class prediction is screened: logits from bytes (or float32) come with a bound on their error, and only classes
  that can still be the largest are computed exactly, in float64.
* A tile of the transposed head (some neurons x some classes) stays in the first-level cache while a group of rows
  passes over it, and the logits of a tile stay in registers.
* Each row walks a list of the neurons that can count. A neuron is left out if ``z = 0``, or if no weight of it is above
  the floor (masked neurons have the floor +inf). If the floor is below every weight of the neuron, the weights are
  multiplied without a comparison. Otherwise ``W > floor`` decides lane by lane.
* Rows are sorted by predicted class, and a few rows of one class share the loads and the comparisons.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from line_plugin.kernels.cpu.blocked import classes, layout, masked
from line_plugin.kernels.cpu.blocked.instructions import LANES
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
