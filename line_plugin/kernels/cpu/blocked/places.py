"""A batch as one block of numbers, as the compiled scorer reads it (:mod:`.job`): numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CLAIMED, SPANS, ROWS, FEATURES, CLIP, KEYS, CONFIDENCE, ANGLE, SHIFT, MEAN, MEAN_WEIGHT = range(11)
"""Places of what changes from batch to batch: spans claimed so far, spans in all, rows, three addresses and the bits
of the clipping threshold, and four addresses for the panel's angle, of which the first is 0 if nobody wants it. Behind
them, from :data:`HEAD`, what :func:`describe` says of the head."""
HEAD, SIZES, ARRAYS = 11, 6, 11
LENGTH = HEAD + SIZES + ARRAYS


def describe(head: tuple[NDArray[Any], ...], screen: tuple[NDArray[Any], ...]) -> NDArray[np.int64]:
    """A job without a batch: sizes and addresses of a head's arrays, which must outlive it."""
    weight, tiles, _, _, entries, _ = head
    count, d, width = tiles.shape
    sizes = (len(weight), width, count, d, entries.shape[1], screen[0].shape[1])
    job = np.zeros(LENGTH, np.int64)
    job[HEAD:] = [*sizes, *(array.ctypes.data for array in (*head, *screen))]
    return job
