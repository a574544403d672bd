"""Keeps secrets out of everything a process prints: its log, tracebacks, and what libraries print by themselves.

Our own lines are made without secrets in the first place. This is for the texts of libraries:
with ``--debug`` kafka-python logs its settings, password and all.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TextIO

from monitor.config.redaction import Redactor


class RedactedStream:
    """A text stream that replaces secrets and otherwise behaves like the wrapped stream."""

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream, self._redactor = stream, redactor

    @property
    def redactor(self) -> Redactor:
        """The function that replaces secrets."""
        return self._redactor

    @property
    def plain(self) -> TextIO:
        """The wrapped stream, for lines whose values were redacted one by one, so that JSON stays JSON."""
        return self._stream

    def write(self, text: str) -> int:
        """Write the text without secrets."""
        self._stream.write(self._redactor(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the lines as one text, because a secret may span several."""
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def hide_secrets(redactor: Redactor) -> None:
    """From now on, remove secrets from everything this process prints to stdout and stderr."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, RedactedStream(getattr(sys, name), redactor))
    sys.excepthook = _print_exception
    threading.excepthook = lambda raised: _print_exception(
        raised.exc_type, raised.exc_value or raised.exc_type(), raised.exc_traceback
    )
    logging.captureWarnings(True)


def _print_exception(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Print an exception in one write, so that no secret is cut in two."""
    sys.stderr.write("".join(traceback.format_exception(kind, error, where)))
