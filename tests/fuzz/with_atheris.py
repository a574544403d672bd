"""Coverage-guided: `pip install atheris`, then `python -m tests.fuzz.with_atheris -runs=100000`. No test runs it.

Atheris steers the bytes by the branches that they reach; the first byte chooses the decoder.
"""

from __future__ import annotations

import logging
import sys

import atheris

with atheris.instrument_imports(include=["monitor.messages"]):
    from monitor.messages import Record, decoders
    from monitor.messages.reading import Reader  # noqa: F401  with all that it imports

    decoders.known()

from tests.fuzz.judge import Judge
from tests.fuzz.messages import KINDS, NOW

logging.getLogger("monitor").setLevel(logging.ERROR)
JUDGE = Judge()


def one(data: bytes) -> None:
    """Judge one input."""
    given = atheris.FuzzedDataProvider(data)
    kind = KINDS[given.ConsumeIntInRange(0, len(KINDS) - 1)].encode()
    name, text = given.ConsumeString(12), given.ConsumeBytes(40)
    value = given.ConsumeBytes(given.remaining_bytes())
    JUDGE.judge([Record("t", 0, 0, NOW, text, value, (("content-type", kind), (name, text)))])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
