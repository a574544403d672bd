"""Makes names that senders choose safe to store (valid text of bounded length) and safe to show."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

MARK = "~"
"""Separates the beginning of a name that was cut from the hash of the whole name."""

RESERVED = ("__", MARK)
"""The monitor's own names begin with these. A sender's stream that begins so gets :data:`MARK` in front."""

CANARY = "__canary__"
"""The begin of the canary's stream, which comes through the topic. The text after it cannot be guessed."""


def valid(text: str) -> str:
    """Write each lone surrogate as an escape, so that the text can be stored and sent as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def bounded(text: str, length: int) -> str:
    """The same text if it has at most ``length`` characters, else its beginning, :data:`MARK` and 12 hexadecimal digits
    of its SHA-256, so that long names stay distinct.
    """
    if len(text) <= length:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12]
    return f"{text[: max(0, length - len(digest) - len(MARK))]}{MARK}{digest}"


def stream_name(text: str, length: int) -> str:
    """Return the name a sender's stream is counted under. It is never one of the monitor's own, and never shared."""
    if text.startswith(RESERVED) and not text.startswith(CANARY):
        text = MARK + text
    return bounded(text, length)


def printable(text: str, length: int = 500) -> str:
    """Make a text safe for a terminal or a log: one line, no control characters, none that change the direction.

    Whatever is not a printable character or a plain space is shown as an escape such as ``\\n`` or ``\\u202e``. A
    text that is safe already stays as it is.

    Args:
        text: any text.
        length: longer results are cut and end in ``...``.
    """
    beginning = text[: length + 1]
    if not beginning.isprintable():
        beginning = "".join(c if c.isprintable() else _escaped(c) for c in beginning)
    return beginning if len(beginning) <= length else f"{beginning[: max(0, length - 3)]}..."


def name_topics(topics: Sequence[str]) -> str:
    """Write ``topic birds`` or ``topics birds, cars``; see :func:`list_topics`."""
    return f"topic{'s' if len(topics) > 1 else ''} {list_topics(topics)}"


def list_topics(topics: Sequence[str]) -> str:
    """Write ``birds, cars``. Of more than five topics, name five and count the others."""
    more = f" and {len(topics) - 5} more" if len(topics) > 5 else ""
    return ", ".join(topics[:5]) + more


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
