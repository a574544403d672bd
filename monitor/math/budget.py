"""From the operator's statement ("1 false alert per N requests") to thresholds, and what has been spent.

With one threshold A for every key of a level, a level's false alerts after t samples are at most ``sum_key t_key / A
= t / A`` in expectation, for any number of keys (each sample belongs to one key a level). Over levels the bounds add:
``sum_level 1 / A_level = 1 / N``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["stream", "class", "everything"]
LEVELS: tuple[Level, ...] = ("stream", "class", "everything")
"""A stream as a whole, one predicted class of a stream, all streams together."""


def requests_in(days: float, requests_per_second: float) -> float:
    """Requests over all streams in so many days."""
    return days * 86_400 * requests_per_second


@dataclass(frozen=True)
class Budget:
    """At most one false alert per ``requests`` requests, over everything watched.

    Attributes:
        requests: N, ID requests per false alert, in expectation; more than 1.
        shares: how much of the budget each level may spend; positive shares of levels that are watched. They are
            divided by their sum. A level that is absent is not watched. Delay grows with the logarithm of
            ``1 / share`` only.

    Raises:
        ValueError: N not above 1, an unknown level, a share that is not positive, or no level.
    """

    requests: float
    shares: Mapping[Level, float] = field(default_factory=lambda: dict.fromkeys(LEVELS, 1.0))

    def __post_init__(self) -> None:
        if not (math.isfinite(self.requests) and self.requests > 1):
            raise ValueError(f"a budget of 1 false alert per {self.requests} requests given, expected more than 1")
        unknown = set(self.shares) - set(LEVELS)
        if unknown:
            raise ValueError(f"levels {sorted(unknown)} given, expected some of {', '.join(LEVELS)}")
        if not self.shares or not all(math.isfinite(s) and s > 0 for s in self.shares.values()):
            raise ValueError(f"shares {dict(self.shares)} given, expected a positive one for each level watched")

    def threshold(self, level: Level) -> float:
        """A of this level: its keys raise when their evidence reaches it; infinite if it is not watched."""
        share = self.shares.get(level, 0.0)
        return self.requests * sum(self.shares.values()) / share if share else math.inf

    def spent(self, samples: Mapping[Level, int]) -> float:
        """Upper bound on the false alerts expected so far.

        Args:
            samples: of each level, those folded while it could raise.
        """
        return sum(n / self.threshold(level) for level, n in samples.items())

    def words(self, samples: Mapping[Level, int] | None = None, requests_per_second: float | None = None) -> str:
        """The budget, and what of it is spent, in one line for people."""
        said = f"at most 1 false alert per {self.requests:,.0f} requests"
        if requests_per_second:
            days = self.requests / requests_per_second / 86_400
            span = f"{days:,.1f} days" if days >= 1 else f"{days * 24:,.1f} hours"
            said += f" ({span} at {requests_per_second:g} requests/s)"
        said += "; evidence to raise: " + ", ".join(f"{level} {self.threshold(level):,.0f}" for level in self.shares)
        if samples is not None:
            most = max(samples.values(), default=0)
            said += f"; spent: {self.spent(samples):.3g} false alerts expected at most in {most:,} requests"
        return said
