"""Confidence intervals of rates."""

from __future__ import annotations


def interval(samples: float, flagged: float, confidence: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval of a rate; [0, 1] without samples."""
    from scipy.special import betaincinv

    if samples <= 0:
        return (0.0, 1.0)
    tail = (1 - confidence) / 2
    low = float(betaincinv(flagged, samples - flagged + 1, tail)) if flagged > 0 else 0.0
    high = float(betaincinv(flagged + 1, samples - flagged, 1 - tail)) if flagged < samples else 1.0
    return (low, high)
