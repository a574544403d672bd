"""Percentiles of a head's weights times one scale for each column, and of features for the clipping threshold.

:class:`SortedColumns` finds the first kind without forming all K*D products. A scale that is not negative does not
change the order inside a column, and neither does the rounding of the product. So the columns are sorted once, for all
classes. For each class, a stratified sample gives a bracket around the two order statistics between which the
percentile lies. Binary searches count the products below the bracket, and only those inside it are multiplied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from line_plugin.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]

_STRATA = 16  # sampled rows of each column
_MARGIN = 2.0  # half the width of the bracket, in sqrt(D) samples: 6 standard deviations of the stratified estimate


class SortedColumns:
    """The weights of a head, each column sorted.

    Args:
        head: (K, D) float64, finite. One sorted copy is kept.
    """

    def __init__(self, head: Floats) -> None:
        self._k, self._d = head.shape
        columns = np.ascontiguousarray(np.sort(head, axis=0).T)
        strata = min(_STRATA, self._k)
        rows = ((np.arange(strata) + 0.5) * self._k / strata).astype(np.intp)
        self._sample = np.ascontiguousarray(columns[:, rows])
        self._flat, self._start = columns.ravel(), np.arange(self._d) * self._k

    def percentile(self, scale: Floats, p: float) -> float | None:
        """``np.percentile(scale * head, p)``, bit for bit, or ``None`` if the bracket missed it.

        Args:
            scale: (D,), finite, not negative.
            p: in [0, 100].
        """
        size = self._k * self._d
        place = (size - 1) * (p / 100)
        rank = int(place)
        low, high = self._bracket(scale, rank / size)
        first, last = self._count(scale, low, inclusive=False), self._count(scale, high, inclusive=True)
        below, upto = int(first.sum()), int(last.sum())
        if not below <= rank or rank + 1 >= upto:
            return None
        if low == high:
            return low
        counts = last - first
        column = np.repeat(np.arange(self._d), counts)
        offset = np.arange(upto - below) - np.repeat(np.cumsum(counts) - counts, counts)
        inside = self._flat[self._start[column] + first[column] + offset] * scale[column]
        at = rank - below
        inside.partition([at, at + 1])
        return between(float(inside[at]), float(inside[at + 1]), place - rank)

    def _bracket(self, scale: Floats, share: float) -> tuple[float, float]:
        sample = (self._sample * scale[:, None]).ravel()
        centre, margin = int(share * sample.size), int(_MARGIN * self._d**0.5) + 1
        ends = max(0, centre - margin), min(sample.size - 1, centre + margin)
        sample.partition(ends)
        return float(sample[ends[0]]), float(sample[ends[1]])

    def _count(self, scale: Floats, value: float, *, inclusive: bool) -> NDArray[np.intp]:
        """How many products of each column are below ``value``, or at it, (D,): one binary search over all columns."""
        passes = np.less_equal if inclusive else np.less
        count = np.zeros(self._d, dtype=np.intp)
        step = 1 << (self._k.bit_length() - 1)
        while step:
            more = count + step
            known = more <= self._k
            product = self._flat[self._start + np.minimum(more, self._k) - 1] * scale
            known &= passes(product, value)
            count[known] = more[known]
            step >>= 1
        return count


def between(a: float, b: float, share: float) -> float:
    """Interpolates linearly from the nearer end, with the rounding of numpy's percentile."""
    return float(a + (b - a) * share if share < 0.5 else b - (b - a) * (1 - share))


def clip_at_percentile(features: Tensor, percentile: float) -> float:
    """The clipping threshold delta that does not change ``percentile`` per cent of held-out ID features.

    This is not from the paper, which gives delta in units of one network's features. ReAct sets its threshold like
    this.

    Args:
        features: (N, D) of ID inputs, unclipped.
        percentile: strictly between 0 and 100.

    Raises:
        SettingsError: the percentile is out of range, or its value is 0 or below, so that clipping leaves nothing.
    """
    if not 0 < percentile < 100:
        raise SettingsError(f"clip_percentile={percentile:g} given, expected a percentile between 0 and 100")
    delta = float(np.percentile(features.detach().cpu().numpy(), percentile))
    if delta <= 0:
        raise SettingsError(
            f"percentile {percentile:g} of the validation features is {delta:g}: nothing would be left; "
            "give a higher clip_percentile or a clip"
        )
    return delta
