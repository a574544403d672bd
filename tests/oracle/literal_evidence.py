"""The e-SR statistic as its definition reads: one sample at a time, one product for every moment of change."""

from __future__ import annotations

import math
from collections.abc import Sequence


def bets(steps: Sequence[float], c: float) -> list[float]:
    """``e_c(k) = 1 - c + c g_k / pi_k`` with g the differences of sqrt(step)."""
    out, low = [], 0.0
    for high in steps:
        g, pi = math.sqrt(high) - math.sqrt(low), high - low
        out.append(1 - c + c * g / pi)
        low = high
    return out


def shiryaev_roberts(cells: Sequence[int], steps: Sequence[float], c: float) -> float:
    """``M_c = sum_j prod_{i >= j} e_c(k_i)``: the change may have come before any of the samples."""
    e = bets(steps, c)
    total = 0.0
    for j in range(len(cells)):
        product = 1.0
        for k in cells[j:]:
            product *= e[k]
        total += product
    return total


def since_change(cells: Sequence[int], steps: Sequence[float], c: float, flag_cells: int) -> tuple[float, float]:
    """Samples and flagged samples since the change, a change inside a sample counting it by half."""
    e = bets(steps, c)
    weight = samples = flagged = 0.0
    for j in range(len(cells)):
        w = math.prod(e[k] for k in cells[j:])
        flags = [k < flag_cells for k in cells[j:]]
        weight += w
        samples += w * (len(flags) - 0.5)
        flagged += w * (sum(flags) - 0.5 * flags[0])
    return samples / weight, flagged / weight


def of_buckets(
    buckets: Sequence[tuple[float, float, Sequence[int]]], steps: Sequence[float], c: float, flag_cells: int
) -> tuple[float, float, float, float]:
    """``M_c`` after buckets of ``(start, end, counts)``, and seconds, samples and flagged samples since the change.

    The change may have come before each sample; a bucket in which it came counts by half.
    """
    e = bets(steps, c)
    ends = [max((end for _, end, _ in buckets[:i]), default=0.0) for i in range(len(buckets) + 1)]
    total = seconds = samples = flagged = 0.0
    for j, (start, end, counts) in enumerate(buckets):
        later = range(j + 1, len(buckets))
        w = sum(counts) * math.prod(e[k] ** n for _, _, each in buckets[j:] for k, n in enumerate(each))
        total += w
        seconds += w * ((end - start) / 2 + sum(max(0.0, buckets[i][1] - ends[i]) for i in later))
        samples += w * (sum(counts) / 2 + sum(sum(buckets[i][2]) for i in later))
        flagged += w * (sum(counts[:flag_cells]) / 2 + sum(sum(buckets[i][2][:flag_cells]) for i in later))
    return total, seconds / total, samples / total, flagged / total


def rhythm(spans: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """``(seen_at, heard, gap)`` after buckets of ``(start, end)``: the mean wait, of the last hundred about."""
    seen, gap, waits = 0.0, 0.0, 0
    for i, (start, end) in enumerate(spans):
        if i:
            waits += 1
            wait = max(0.0, start - seen)
            gap = (gap * (waits - 1) + wait) / waits if waits <= 100 else gap * 0.99 + wait * 0.01
        seen = max(seen, end)
    return seen, len(spans), gap


def raises(cells: Sequence[int], steps: Sequence[float], contaminations: Sequence[float], a: float) -> list[int]:
    """The samples (counted from 0) at which ``mean_c M_c >= A``; M starts again at 0 after each."""
    tables = [bets(steps, c) for c in contaminations]
    m = [0.0] * len(contaminations)
    out = []
    for i, k in enumerate(cells):
        m = [(value + 1) * e[k] for value, e in zip(m, tables, strict=True)]
        if sum(m) / len(m) >= a:
            out.append(i)
            m = [0.0] * len(m)
    return out


def down_cusum(cells: Sequence[int], steps: Sequence[float], c: float) -> list[float]:
    """S after each sample: ``S <- max(0, S + log(f0 / f_c))``."""
    e = bets(steps, c)
    s, out = 0.0, []
    for k in cells:
        s = max(0.0, s - math.log(e[k]))
        out.append(s)
    return out
