"""Puts a batch into one block of numbers, which the compiled scorer (:mod:`.job`) reads. numba is not needed here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CLAIMED, SPANS, ROWS, FEATURES, CLIP, KEYS, CONFIDENCE, ANGLE, SHIFT, MEAN, MEAN_WEIGHT = range(11)
"""Positions of the numbers that change from batch to batch.

They are the spans claimed so far, the spans in all, the rows, three addresses, the bits of the clipping threshold, and
four addresses for the panel's angle. The first of these four is 0 if the angle is not wanted. From :data:`HEAD` on
follow the numbers that :func:`describe` writes about the head.
"""
HEAD, SIZES, ARRAYS = 11, 6, 11
LENGTH = HEAD + SIZES + ARRAYS


def describe(head: tuple[NDArray[Any], ...], screen: tuple[NDArray[Any], ...]) -> NDArray[np.int64]:
    """Makes a job without a batch: the sizes and addresses of a head's arrays, which must outlive the job."""
    weight, tiles, _, _, entries, _ = head
    count, d, width = tiles.shape
    sizes = (len(weight), width, count, d, entries.shape[1], screen[0].shape[1])
    job = np.zeros(LENGTH, np.int64)
    job[HEAD:] = [*sizes, *(array.ctypes.data for array in (*head, *screen))]
    return job
