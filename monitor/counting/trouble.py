"""Remembers what keeps a worker from its records, so that a trouble that lasts is reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any


class Trouble:
    """The trouble that keeps a worker from its records, and since when. It is reported if it lasts.

    Attributes:
        what: a text for people; empty if nothing is wrong.
        topics: the topics it is about, if others can be read; empty if it is about everything.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self.what, self._since = monotonic, "", 0.0
        self.topics: Sequence[str] = ()

    def begins(self, what: str, topics: Sequence[str] = ()) -> None:
        """Note that something is wrong. Its duration counts from the first time.

        Args:
            what: one sentence on what is wrong.
            topics: the topics it is about, if others can be read; empty if it is about everything.
        """
        self._since = self._since if self.what else self._monotonic()
        self.what, self.topics = what, topics

    def is_over(self) -> None:
        """Note that a batch was counted, so nothing is wrong any more."""
        self.what = ""

    def report(self) -> dict[str, Any]:
        """Return ``trouble`` and ``trouble_for_ms``, and ``topics`` if it is only about some of them."""
        lasts = round(1000 * (self._monotonic() - self._since)) if self.what else 0
        about = {"topics": list(self.topics)} if self.what and self.topics else {}
        return {"trouble": self.what, "trouble_for_ms": lasts, **about}
