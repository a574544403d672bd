"""The evidence rule compiled, a look after every sample: what makes 10^8 samples a matter of seconds.

Buckets of one sample as :mod:`monitor.math.evidence` has them, ``M_c <- (M_c + 1) e_c(k)``, without the logs, which a
statistic that starts again at A does not need. tests/unit/monitor/test_null_soak.py holds it to
:func:`monitor.math.evidence.update`, raise by raise.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

Floats = Any
CHUNK = 2_000_000


@numba.njit(cache=True)
def _fold(u: Floats, keys: Floats, laws: Floats, bets: Floats, a: float, m: Floats, raised: Floats) -> None:
    """``u`` (n,) uniform draws; ``keys`` (n,); ``laws`` (keys, cells - 1) cumulative masses from the last cell down."""
    cells, columns = bets.shape
    for i in range(len(u)):
        key = keys[i]
        k = cells - 1
        for j in range(cells - 1):  # the last cell has nine tenths of the mass
            if u[i] < laws[key, j]:
                break
            k -= 1
        total = 0.0
        for c in range(columns):
            m[key, c] = (m[key, c] + 1.0) * bets[k, c]
            total += m[key, c]
        if total >= a * columns:
            raised[key] += 1
            m[key] = 0.0


class Keys:
    """Keys of one level: their evidence, and how often each has raised.

    Args:
        log_bets: (contaminations, cells), as :func:`monitor.math.evidence.log_bets` makes them.
        laws: (keys, cells) masses of each key's traffic.
        a: evidence to raise.
    """

    def __init__(self, log_bets: Floats, laws: Floats, a: float) -> None:
        self._bets = np.ascontiguousarray(np.exp(log_bets).T)
        self._laws = np.ascontiguousarray(np.cumsum(laws[:, ::-1], axis=1)[:, :-1])
        self._a = a
        self.m = np.zeros((len(laws), len(log_bets)))
        self.raised = np.zeros(len(laws), dtype=np.int64)

    def fold(self, u: Floats, keys: Floats) -> None:
        """One sample after the other: its draw, and the key that it belongs to."""
        _fold(u, keys, self._laws, self._bets, self._a, self.m, self.raised)


def run(levels: list[tuple[Keys, int]], samples: int, streams: int, rng: np.random.Generator) -> None:
    """Fold the same samples into several levels.

    Args:
        levels: the keys of each, and how many of the ``streams`` finest keys make one of them.
        samples: to fold.
        streams: finest keys; a sample belongs to one of them at random.
        rng: of the draws.
    """
    for begin in range(0, samples, CHUNK):
        n = min(CHUNK, samples - begin)
        u, finest = rng.random(n), rng.integers(0, streams, n, dtype=np.int32)
        for keys, joined in levels:
            keys.fold(u, finest // np.int32(joined))
