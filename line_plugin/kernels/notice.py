"""Logs about kernels: that one is being compiled, if that takes long, or why one cannot be used."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SAY_AFTER_S = 0.5


@contextmanager
def loading(log: logging.Logger, kernels: str) -> Iterator[None]:
    """Logs one line at INFO if the block takes longer than half a second."""
    text = f"loading {kernels}; if no compiled code is cached it is compiled once, which takes some seconds"
    timer = threading.Timer(SAY_AFTER_S, log.info, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def first_line(error: BaseException) -> str:
    """The first line of an error, for a log line.

    Compilers write pages, and numba colours them if colorama is installed.
    """
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(error)).strip().partition("\n")[0][:200]
