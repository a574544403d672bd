"""Turns the operator's budget ("1 false alert per N requests") into thresholds, and counts how much of it is spent.

All keys of a level have one threshold A. Each sample belongs to one key of each level, so a level's false alerts after
t samples are at most ``sum_key t_key / A = t / A`` in expectation, for any number of keys. The bounds of the levels add
up: ``sum_level 1 / A_level = 1 / N``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["stream", "class", "everything"]
LEVELS: tuple[Level, ...] = ("stream", "class", "everything")
"""The levels: a stream as a whole, one predicted class of a stream, all streams together."""


def requests_in(days: float, requests_per_second: float) -> float:
    """How many requests all streams have in a number of days."""
    return days * 86_400 * requests_per_second


@dataclass(frozen=True)
class Budget:
    """At most one false alert per ``requests`` requests, over all streams and levels.

    Attributes:
        requests: N, ID requests per false alert, in expectation; more than 1.
        shares: the share of the budget that each watched level may spend, above 0. They are divided by their sum. A
            level without a share is not watched. The delay grows only with the logarithm of ``1 / share``.

    Raises:
        ValueError: N is not above 1, a level is unknown, a share is not positive, or no level is given.
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
        """The threshold A of a level: a key raises when its evidence reaches it.

        It is infinite if the level is not watched.
        """
        share = self.shares.get(level, 0.0)
        return self.requests * sum(self.shares.values()) / share if share else math.inf

    def spent(self, samples: Mapping[Level, int]) -> float:
        """An upper bound on the expected number of false alerts so far.

        Args:
            samples: for each level, how many samples were folded while it could raise.
        """
        return sum(n / self.threshold(level) for level, n in samples.items())

    def words(self, samples: Mapping[Level, int] | None = None, requests_per_second: float | None = None) -> str:
        """The budget and how much of it is spent, in one line for people."""
        text = f"at most 1 false alert per {self.requests:,.0f} requests"
        if requests_per_second:
            days = self.requests / requests_per_second / 86_400
            span = f"{days:,.1f} days" if days >= 1 else f"{days * 24:,.1f} hours"
            text += f" ({span} at {requests_per_second:g} requests/s)"
        text += "; evidence to raise: " + ", ".join(f"{level} {self.threshold(level):,.0f}" for level in self.shares)
        if samples is not None:
            most = max(samples.values(), default=0)
            text += f"; spent: {self.spent(samples):.3g} false alerts expected at most in {most:,} requests"
        return text
