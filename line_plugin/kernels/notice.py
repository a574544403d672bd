"""What people read of kernels: that they are being compiled, if that takes long, and why one cannot be used."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SAY_AFTER_S = 0.5


@contextmanager
def loading(log: logging.Logger, kernels: str) -> Iterator[None]:
    """Log one line at INFO if what follows takes longer than half a second."""
    text = f"loading {kernels}; if no compiled code is cached it is compiled once, which takes some seconds"
    timer = threading.Timer(SAY_AFTER_S, log.info, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def first_line(error: BaseException) -> str:
    """Of what an error says, for a log line: compilers write pages, and numba colours them if colorama is installed."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(error)).strip().partition("\n")[0][:200]
