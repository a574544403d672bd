"""Confidence intervals of rates."""

from __future__ import annotations

from line_plugin.math import beta


def interval(samples: float, flagged: float, confidence: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval of a rate; [0, 1] without samples. More flagged than there are count as all.

    A stored alert may have lost a count, and is shown nevertheless.
    """
    if samples <= 0:
        return (0.0, 1.0)
    flagged = min(flagged, samples)
    tail = (1 - confidence) / 2
    low = beta.quantile(flagged, samples - flagged + 1, tail) if flagged > 0 else 0.0
    high = beta.quantile(flagged + 1, samples - flagged, 1 - tail) if flagged < samples else 1.0
    return (low, high)
