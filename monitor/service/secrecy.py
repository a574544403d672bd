"""Nothing that a process prints shows a secret: not its log, not a traceback, not what a library prints by itself.

Lines are built without secrets in the first place. This stands behind them, for the texts of other people's libraries:
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
    """A text stream on which secrets are replaced; everything else is the stream's own."""

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream, self._redactor = stream, redactor

    @property
    def redactor(self) -> Redactor:
        """What replaces the secrets."""
        return self._redactor

    @property
    def plain(self) -> TextIO:
        """The stream itself, for lines whose values were redacted one by one: JSON stays JSON whatever is replaced."""
        return self._stream

    def write(self, text: str) -> int:
        """Write the text without secrets."""
        self._stream.write(self._redactor(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the lines as one text: a secret may span them."""
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def hide_secrets(redactor: Redactor) -> None:
    """From here on, what this process prints to stdout and stderr has no secret in it."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, RedactedStream(getattr(sys, name), redactor))
    sys.excepthook = _print_exception
    threading.excepthook = lambda raised: _print_exception(
        raised.exc_type, raised.exc_value or raised.exc_type(), raised.exc_traceback
    )
    logging.captureWarnings(True)


def _print_exception(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """In one write, so that no secret is cut in two."""
    sys.stderr.write("".join(traceback.format_exception(kind, error, where)))
