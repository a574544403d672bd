"""Says on which machines the Ray actors of a replay run, and how many of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fleet:
    """Actors of Ray.

    Attributes:
        address: the address of a running Ray cluster; "" for a Ray on this machine that ends with the replay.
        actors: how many read at once; 0 for one for each CPU.
    """

    address: str = ""
    actors: int = 0
