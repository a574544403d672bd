"""How old a time of the store is, also after the store's clock was set back."""

from __future__ import annotations


def age_of(at_ms: int, now_ms: int) -> int:
    """How long ago (ms) something was noted, by the clock of the store.

    A time that lies ahead was noted before that clock was set back. It is as old as it lies ahead: what has been noted
    again since is not, and nobody waits for the clock to come there once more.
    """
    return abs(now_ms - at_ms)
