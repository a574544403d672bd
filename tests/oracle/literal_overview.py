"""The figures of the status page as their definitions read, one count at a time, from the whole content of a store."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scipy.stats import beta, binom

CountKey = tuple[str, int, int]


def clopper_pearson(samples: int, flagged: int, confidence: float = 0.95) -> tuple[float, float]:
    """The rates at which as few, or as many, flagged inputs are not yet improbable; by quantiles of beta."""
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, flagged, samples - flagged + 1) if flagged else 0.0
    high = beta.ppf(1 - tail, flagged + 1, samples - flagged) if flagged < samples else 1.0
    if samples:  # the definition itself
        assert not flagged or math.isclose(binom.sf(flagged - 1, samples, low), tail, rel_tol=1e-6)
        assert flagged == samples or math.isclose(binom.cdf(flagged, samples, high), tail, rel_tol=1e-6)
    return float(low), float(high)


def wilson_low(samples: int, flagged: int) -> float:
    """The least p with ``(rate - p)^2 <= z^2 p (1 - p) / n``, by bisection."""
    rate, z = flagged / samples, 1.959964
    low, high = 0.0, rate
    for _ in range(200):
        p = (low + high) / 2
        if (rate - p) ** 2 <= z**2 * p * (1 - p) / samples:
            high = p
        else:
            low = p
    return high


def between(
    buckets: Mapping[int, Mapping[CountKey, int]], stream: str, first_ms: int, end_ms: int, bucket_ms: int, flags: int
) -> tuple[int, int]:
    """Inputs and flagged ones of a stream, of one expert, in the buckets that begin within a span."""
    samples = flagged = 0
    for bucket, cells in buckets.items():
        if not first_ms <= bucket * bucket_ms < end_ms:
            continue
        for (name, _, cell), n in cells.items():
            if name == stream and cell < 7:
                samples += n
                if cell < flags:
                    flagged += n
    return samples, flagged


def spent(samples_of_level: Mapping[str, int], requests: float) -> float:
    """Every sample of a level costs 1 / (N x number of levels)."""
    return sum(n / (requests * len(samples_of_level)) for n in samples_of_level.values())
