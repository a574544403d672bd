"""A log line that kernels are being compiled, if that takes long enough for somebody to wonder."""

from __future__ import annotations

import logging
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
