"""The share of recent records that cannot be scored, and its limit."""

from __future__ import annotations

import collections

from monitor.errors import BadShareError


class BadShare:
    """The share of recent records that could not be scored.

    Args:
        limit: stop above it.
        window: recent records over which it is taken, about.
    """

    def __init__(self, limit: float, window: int) -> None:
        self._limit, self._window = limit, window
        self._taken: collections.deque[tuple[int, int]] = collections.deque()

    def take(self, records: int, bad: int) -> None:
        """Add a batch.

        Raises:
            BadShareError: to stop rather than drain the topic into the dead letters.
        """
        self._taken.append((records, bad))
        total = sum(n for n, _ in self._taken)
        while len(self._taken) > 1 and total - self._taken[0][0] >= self._window:
            total -= self._taken.popleft()[0]
        refused = sum(b for _, b in self._taken)
        if refused > self._limit * max(total, self._window):
            raise BadShareError(
                f"{refused} of the last {total} records cannot be scored, over the limit of {self._limit:.0%} of "
                f"{self._window}: this batch was not taken; check the publisher and the artifact, or raise "
                "dead_letters.max_share"
            )
