"""Where the actors of a replay run, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fleet:
    """Actors of Ray.

    Attributes:
        address: of a Ray cluster that runs; empty for one on this machine that ends with the replay.
        actors: how many read at once; 0 for one a CPU.
    """

    address: str = ""
    actors: int = 0
