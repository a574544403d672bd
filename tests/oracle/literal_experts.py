"""The evidence of several experts as its definition reads, and a bucket of one expert as it was before the panel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.math.evidence import FLAGGED, Evidence
from tests.oracle import literal_evidence as literal


def mean_evidence(
    samples: Sequence[Sequence[int]], steps: Sequence[Sequence[float]], contaminations: Sequence[float]
) -> list[list[float]]:
    """``M_{e,c}`` of each expert and contamination; ``samples`` holds the cell that each expert puts each sample in."""
    return [
        [literal.shiryaev_roberts([s[e] for s in samples], steps[e], c) for c in contaminations]
        for e in range(len(steps))
    ]


def raises(
    samples: Sequence[Sequence[int]], steps: Sequence[Sequence[float]], contaminations: Sequence[float], a: float
) -> list[tuple[int, int]]:
    """The samples at which the mean over experts and contaminations is at least ``a``, with who holds most of it."""
    tables = [[literal.bets(own, c) for c in contaminations] for own in steps]
    m = [[0.0] * len(contaminations) for _ in steps]
    out = []
    for i, cells in enumerate(samples):
        m = [
            [(v + 1) * e[k] for v, e in zip(mine, own, strict=True)]
            for mine, own, k in zip(m, tables, cells, strict=True)
        ]
        if sum(map(sum, m)) / (len(steps) * len(contaminations)) >= a:
            out.append((i, max(range(len(steps)), key=lambda e: sum(m[e]))))
            m = [[0.0] * len(contaminations) for _ in steps]
    return out


def update_of_one_expert(
    state: Evidence,
    rows: np.ndarray,
    counts: np.ndarray,
    log_bet: np.ndarray,
    start: float,
    end: float,
    flag_cells: int,
) -> Evidence:
    """A bucket of one expert, the release before the panel, operation by operation."""
    n = counts.sum(axis=1).astype(np.float64)
    old = state.log_m[rows]
    grown = np.logaddexp(old, np.log(n)[:, None])
    kept = np.exp(old - grown)[:, :, None]
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
    seen_at[rows] = np.maximum(seen_at[rows], end)
    return Evidence(log_m, since, seen_at, heard, gap)
