"""Keeps, for each key, the evidence that OOD inputs have become more frequent: the e-SR statistic over conformal cells.

A sample falls in a conformal cell k (0 is the most OOD). We bet that a share c of the inputs has turned OOD, with
``e_c(k) = 1 - c + c g_k / pi_k`` for c in :data:`CONTAMINATIONS`. We keep the Shiryaev-Roberts sum over all moments at
which that may have begun, which is an e-detector (Shin, Ramdas, Rinaldo 2022). Each key needs O(1) memory::

    one sample               M_c <- (M_c + 1) e_c(k)
    a closed bucket of n     M_c <- (M_c + n) prod_k e_c(k)^count_k
    raise when               mean_c M_c >= A, then M = 0

**Guarantee.** Suppose that on ID traffic ``E[e_c | past] <= 1``, and that a bucket's size does not depend on its
outcomes. With R raises and t samples so far, ``mean_c M_c + A R - t`` is then a supermartingale, since
``E[(M + n) prod e] <= M + n`` and a raise replaces an M of at least A by 0. Hence ``E[R] <= t / A`` at every t, for any
distribution of the score. The condition ``E[e_c] <= 1`` is what :mod:`monitor.math.nulls` provides and limits.

**Several experts** (:mod:`monitor.math.experts`) have a column for each expert and contamination, and the mean runs
over all columns. Every column rises by at most n in expectation over a bucket of n, hence so does their mean, and the
proof above holds unchanged. The experts score the same samples and so depend on each other, but the proof does not need
independence.

Everything is kept in logs. M is also an unnormalised posterior over the moment of change, with a flat prior. Its mean
gives the onset and the counts since then (:attr:`Evidence.since`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.math.experts import Floats, Ints, samples_of
from monitor.math.nulls import Nulls, ratios

CONTAMINATIONS: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The shares c of OOD inputs that are bet on at the same time."""

ALL = slice(None)
"""Selects all columns of the evidence."""

SECONDS, SAMPLES, FLAGGED = 0, 1, 2
"""The last axis of :attr:`Evidence.since`."""


def log_bets(nulls: Nulls, contaminations: Sequence[float] = CONTAMINATIONS) -> Floats:
    """``log e_c(k)``, (contaminations, cells); ``sum_k q_k e_c(k) <= 1`` for every q within ``nulls``."""
    ratio = np.array(ratios(nulls.steps)) / nulls.margin
    c = np.array(contaminations)[:, None]
    return np.asarray(np.log1p(c * (ratio - 1)))


@dataclass(frozen=True)
class Evidence:
    """The state of R keys. A column is a contamination; with several experts, a contamination of one of them.

    Attributes:
        log_m: (R, columns) float64, ``log M_c``; -inf before the first sample.
        since: (R, columns, 3) float64: seconds, samples and flagged samples since the change, in expectation under that
            column's posterior of the moment of change. The column's own expert decides what is flagged.
        seen_at: (R,) float64, the end of the last bucket folded into the key, in seconds.
        heard: (R,) float64, how many buckets were folded into the key so far.
        gap: (R,) float64, mean seconds without input between two of them, over about the last hundred.
    """

    log_m: Floats
    since: Floats
    seen_at: Floats
    heard: Floats
    gap: Floats

    @classmethod
    def empty(cls, keys: int = 0, columns: int = len(CONTAMINATIONS)) -> Evidence:
        """The state of ``keys`` keys without samples."""
        nothing = (np.full((keys, columns), -np.inf), np.zeros((keys, columns, 3)))
        return cls(*nothing, np.zeros(keys), np.zeros(keys), np.zeros(keys))

    def __len__(self) -> int:
        return len(self.seen_at)

    def grown(self, keys: int) -> Evidence:
        """The same state with room for ``keys`` keys."""
        more = Evidence.empty(keys - len(self), self.log_m.shape[1])
        return Evidence(
            np.concatenate([self.log_m, more.log_m]),
            np.concatenate([self.since, more.since]),
            np.concatenate([self.seen_at, more.seen_at]),
            np.concatenate([self.heard, more.heard]),
            np.concatenate([self.gap, more.gap]),
        )

    def log_mean(self) -> Floats:
        """``log mean_c M_c`` over all columns, (R,): a key raises at ``log A``."""
        top = self.log_m.max(axis=1)
        shift = np.where(np.isfinite(top), top, 0.0)[:, None]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.exp(self.log_m - shift).mean(axis=1)) + shift[:, 0])

    def weights(self, key: int, of: slice = ALL) -> Floats:
        """The share of each of the columns ``of`` in the evidence of one key; equal shares if it has no evidence."""
        log_m = self.log_m[key, of]
        top = log_m.max()
        if not np.isfinite(top):
            return np.full(len(log_m), 1 / len(log_m))
        w = np.exp(log_m - top)
        return np.asarray(w / w.sum())

    def leader(self, key: int, experts: int) -> int:
        """The index of the expert with most of the evidence of one key."""
        return int(self.weights(key).reshape(experts, -1).sum(axis=1).argmax())

    def since_change(self, key: int, of: slice = ALL) -> Floats:
        """Seconds, samples and flagged samples since the change, (3,), of the column in ``of`` with most evidence."""
        return np.asarray(self.since[key, of][int(self.log_m[key, of].argmax())])


def update(
    state: Evidence,
    rows: Ints,
    counts: Ints,
    log_bet: Floats,
    *,
    start: float,
    end: float,
    flag_cells: int,
    experts: int = 1,
) -> Evidence:
    """Folds one closed bucket into the keys ``rows``.

    Args:
        state: the state before; it is not changed.
        rows: (r,) int64, distinct keys that had samples in the bucket.
        counts: (r, cells) int64, samples in each cell, at least one in each row; (r, E * cells) for E experts.
        log_bet: (columns, cells) for all rows, or (r, columns, cells), one table for each row; from :func:`log_bets`,
            and with several experts from :func:`monitor.math.experts.side_by_side`.
        start: start of the bucket, in seconds.
        end: end of the bucket, in seconds.
        flag_cells: samples in an expert's cells below this are flagged.
        experts: E, the number of experts.

    Returns:
        The new state. It does not depend on the order of the samples inside the bucket.
    """
    cells = counts.shape[1] // experts
    n = samples_of(counts, cells).astype(np.float64)
    flagged = counts.reshape(len(counts), experts, cells)[:, :, :flag_cells].sum(axis=2).astype(np.float64)
    old = state.log_m[rows]
    grown = np.logaddexp(old, np.log(n)[:, None])
    kept = np.exp(old - grown)[:, :, None]  # the posterior probability that the change came before this bucket
    whole = _by_expert(np.maximum(end - state.seen_at[rows], 0.0), n, flagged)
    half = _by_expert(np.full_like(n, end - start), n, flagged) / 2
    if experts > 1:
        whole, half = (np.repeat(v, old.shape[1] // experts, axis=1) for v in (whole, half))
    gain = counts @ log_bet.T if log_bet.ndim == 2 else np.einsum("rk,rck->rc", counts, log_bet)

    log_m, since, seen_at = state.log_m.copy(), state.since.copy(), state.seen_at.copy()
    heard, gap = state.heard.copy(), state.gap.copy()
    heard[rows] += 1
    waited = np.where(heard[rows] > 1, np.maximum(start - seen_at[rows], 0.0), 0.0)
    gap[rows] += (waited - gap[rows]) / np.clip(heard[rows] - 1, 1, 100)
    log_m[rows] = grown + gain
    since[rows] = kept * (state.since[rows] + whole) + (1 - kept) * half
    # A bucket that is folded late must not make a stream appear silent.
    seen_at[rows] = np.maximum(seen_at[rows], end)
    return Evidence(log_m, since, seen_at, heard, gap)


def _by_expert(seconds: Floats, samples: Floats, flagged: Floats) -> Floats:
    """Stacks (r,) seconds and samples and (r, E) flagged samples to (r, E, 3)."""
    return np.stack(np.broadcast_arrays(seconds[:, None], samples[:, None], flagged), axis=2)


def taken(state: Evidence, rows: Ints) -> Evidence:
    """The state of the keys ``rows`` only, in that order."""
    return Evidence(state.log_m[rows], state.since[rows], state.seen_at[rows], state.heard[rows], state.gap[rows])


def reset(state: Evidence, rows: Ints | Sequence[int]) -> Evidence:
    """The state after a raise or a resolve of ``rows``: their evidence starts again from none."""
    log_m, since = state.log_m.copy(), state.since.copy()
    log_m[rows] = -np.inf
    since[rows] = 0.0
    return Evidence(log_m, since, state.seen_at, state.heard, state.gap)
