"""Checks how deep JSON nests and how many digits its numbers have, before it is parsed, in linear time."""

from __future__ import annotations

import numpy as np

from monitor.errors import RecordError
from monitor.messages.limits import Limits

QUOTE, OPEN, CLOSE = ord('"'), (ord("["), ord("{")), (ord("]"), ord("}"))


def check(value: bytes, limits: Limits) -> None:
    """Refuse JSON that would cost a parser too much.

    Raises:
        RecordError: ``too-complex``.
    """
    if b"\\" in value:
        value = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    text = np.frombuffer(value, np.uint8)
    if b'"' in value:
        text = text[(np.cumsum(text == QUOTE) & 1) == 0]  # the text outside of quotes
    opens = (text == OPEN[0]) | (text == OPEN[1])
    if np.count_nonzero(opens) > limits.depth:
        depth = np.cumsum(opens.astype(np.int32) - ((text == CLOSE[0]) | (text == CLOSE[1])))
        if depth.max() > limits.depth:
            raise RecordError("too-complex", f"JSON nests {depth.max()} deep, expected at most {limits.depth}")
    others = np.flatnonzero((text < ord("0")) | (text > ord("9")))
    longest = int(np.diff(np.concatenate([[-1], others, [len(text)]])).max()) - 1
    if longest > limits.digits:
        raise RecordError("too-complex", f"a number of {longest} digits in JSON, expected at most {limits.digits}")
