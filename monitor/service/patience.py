"""Writes to a stream whose reader may hang: a log that nobody reads must not stop those who write it."""

from __future__ import annotations

import select
from typing import TextIO

WAIT_SECONDS = 1.0
"""How long a line waits until it is taken. If one was not, those after it do not wait, until one is."""

PIECE = 400
"""Characters that are written at once: at most 4,000 bytes, escapes included. A pipe takes 4,096 whole if any."""


class PatientWriter:
    """Writes whole texts, and leaves out those that are not taken in time.

    Args:
        stream: such as stderr. If it has no file descriptor, it is written to without a look.

    Attributes:
        left_out: how many texts were left out, or cut off, since somebody last set this to 0.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.left_out = 0

    def write(self, text: str) -> None:
        """Write the text, and wait for its reader for up to a second."""
        for first in range(0, len(text), PIECE):
            if not self.takes(0.0 if self.left_out else WAIT_SECONDS):
                self.left_out += 1
                return
            self._stream.write(text[first : first + PIECE])
            self._stream.flush()

    def takes(self, seconds: float) -> bool:
        """Wait until the stream takes a piece. Returns False if it does not in time."""
        try:
            number = self._stream.fileno()
        except (AttributeError, OSError, ValueError):
            return True
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))
