"""The e-SR statistic over conformal cells: evidence that ID traffic has turned, kept per key in O(1).

A sample falls in a conformal cell k (0 the most OOD). Against ID traffic we bet that a share c of inputs has turned
OOD, ``e_c(k) = 1 - c + c g_k / pi_k`` for c in :data:`CONTAMINATIONS`, and keep the Shiryaev-Roberts sum over all
moments at which that may have begun (an e-detector: Shin, Ramdas, Rinaldo 2022)::

    one sample               M_c <- (M_c + 1) e_c(k)
    a closed bucket of n     M_c <- (M_c + n) prod_k e_c(k)^count_k
    raise when               mean_c M_c >= A, then M = 0

**Guarantee.** If on ID traffic ``E[e_c | past] <= 1`` and a bucket's size does not depend on its outcomes, then
``mean_c M_c + A R - t`` is a supermartingale (R raises so far, t samples so far: ``E[(M + n) prod e] <= M + n``, and a
raise trades an M of at least A for 0). Hence ``E[R] <= t / A`` at every t, whatever the score's distribution.
The condition ``E[e_c] <= 1`` is what :mod:`monitor.math.nulls` provides and limits.

Everything is kept in logs. M is also an unnormalised posterior over the moment of change, with a flat prior, so its
mean tells the onset and the counts since (:attr:`Evidence.since`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.math.nulls import Nulls, ratios

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CONTAMINATIONS: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of OOD input that are bet on at once."""

SECONDS, SAMPLES, FLAGGED = 0, 1, 2
"""The last axis of :attr:`Evidence.since`."""


def log_bets(nulls: Nulls, contaminations: Sequence[float] = CONTAMINATIONS) -> Floats:
    """``log e_c(k)``, (contaminations, cells); ``sum_k q_k e_c(k) <= 1`` for every q within ``nulls``."""
    ratio = np.array(ratios(nulls.steps)) / nulls.margin
    c = np.array(contaminations)[:, None]
    return np.asarray(np.log1p(c * (ratio - 1)))


@dataclass(frozen=True)
class Evidence:
    """The state of R keys.

    Attributes:
        log_m: (R, contaminations) float64, ``log M_c``; -inf before the first sample.
        since: (R, contaminations, 3) float64: seconds, samples and flagged samples since the change, expected under
            the posterior of the moment of change for that contamination.
        seen_at: (R,) float64, end of the last bucket folded into the key, in seconds.
        heard: (R,) float64, buckets folded into the key so far.
        gap: (R,) float64, mean seconds without input between two of them, of the last hundred about.
    """

    log_m: Floats
    since: Floats
    seen_at: Floats
    heard: Floats
    gap: Floats

    @classmethod
    def empty(cls, keys: int = 0, contaminations: int = len(CONTAMINATIONS)) -> Evidence:
        """``keys`` keys that have seen nothing."""
        nothing = (np.full((keys, contaminations), -np.inf), np.zeros((keys, contaminations, 3)))
        return cls(*nothing, np.zeros(keys), np.zeros(keys), np.zeros(keys))

    def __len__(self) -> int:
        return len(self.seen_at)

    def grown(self, keys: int) -> Evidence:
        """The same, with room for ``keys`` keys."""
        more = Evidence.empty(keys - len(self), self.log_m.shape[1])
        return Evidence(
            np.concatenate([self.log_m, more.log_m]),
            np.concatenate([self.since, more.since]),
            np.concatenate([self.seen_at, more.seen_at]),
            np.concatenate([self.heard, more.heard]),
            np.concatenate([self.gap, more.gap]),
        )

    def log_mean(self) -> Floats:
        """(R,) ``log mean_c M_c``: raise at ``log A``."""
        top = self.log_m.max(axis=1, initial=-np.inf)
        shift = np.where(np.isfinite(top), top, 0.0)[:, None]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.exp(self.log_m - shift).mean(axis=1)) + shift[:, 0])

    def weights(self, key: int) -> Floats:
        """(contaminations,) share of each in the evidence of one key; flat where there is none."""
        top = self.log_m[key].max()
        if not np.isfinite(top):
            return np.full(self.log_m.shape[1], 1 / self.log_m.shape[1])
        w = np.exp(self.log_m[key] - top)
        return np.asarray(w / w.sum())

    def since_change(self, key: int) -> Floats:
        """(3,) seconds, samples and flagged samples since the change, of the contamination with most evidence."""
        return np.asarray(self.since[key, int(self.log_m[key].argmax())])


def update(
    state: Evidence,
    rows: Ints,
    counts: Ints,
    log_bet: Floats,
    *,
    start: float,
    end: float,
    flag_cells: int,
) -> Evidence:
    """Fold one closed bucket into the keys ``rows``.

    Args:
        state: left as it is.
        rows: (r,) int64, distinct keys that had samples in the bucket.
        counts: (r, cells) int64, samples in each cell, at least one a row.
        log_bet: (contaminations, cells) for all, or (r, contaminations, cells) a table a row; :func:`log_bets`.
        start: of the bucket, in seconds.
        end: of the bucket, in seconds.
        flag_cells: cells below this count as flagged.

    Returns:
        The new state; the order of the samples inside the bucket has no part in it.
    """
    n = counts.sum(axis=1).astype(np.float64)
    old = state.log_m[rows]
    grown = np.logaddexp(old, np.log(n)[:, None])
    kept = np.exp(old - grown)[:, :, None]  # posterior share of changes before this bucket
    whole = np.stack([np.maximum(end - state.seen_at[rows], 0.0), n, counts[:, :flag_cells].sum(axis=1)], axis=1)[
        :, None, :
    ]
    half = np.stack([np.full_like(n, end - start), n, whole[:, 0, FLAGGED]], axis=1)[:, None, :] / 2
    gain = counts @ log_bet.T if log_bet.ndim == 2 else np.einsum("rk,rck->rc", counts, log_bet)

    log_m, since, seen_at = state.log_m.copy(), state.since.copy(), state.seen_at.copy()
    heard, gap = state.heard.copy(), state.gap.copy()
    heard[rows] += 1
    waited = np.where(heard[rows] > 1, np.maximum(start - seen_at[rows], 0.0), 0.0)
    gap[rows] += (waited - gap[rows]) / np.clip(heard[rows] - 1, 1, 100)
    log_m[rows] = grown + gain
    since[rows] = np.where(kept > 0, kept * (state.since[rows] + whole), 0.0) + (1 - kept) * half
    # A bucket that is folded late must not make a stream look silent.
    seen_at[rows] = np.maximum(seen_at[rows], end)
    return Evidence(log_m, since, seen_at, heard, gap)


def taken(state: Evidence, rows: Ints) -> Evidence:
    """Only the keys ``rows``, in that order."""
    return Evidence(state.log_m[rows], state.since[rows], state.seen_at[rows], state.heard[rows], state.gap[rows])


def reset(state: Evidence, rows: Ints | Sequence[int]) -> Evidence:
    """The state after a raise or a resolve of ``rows``: their evidence starts again at nothing."""
    log_m, since = state.log_m.copy(), state.since.copy()
    log_m[rows] = -np.inf
    since[rows] = 0.0
    return Evidence(log_m, since, state.seen_at, state.heard, state.gap)
