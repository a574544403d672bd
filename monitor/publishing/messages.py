"""Turns the arrays of a served model into Kafka messages."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.alerts.alert import moment

MAX_KEY_BYTES = 200
"""The longest key that a monitor reads, in bytes. A longer stream name is shortened and ends in a hash."""


@dataclass(frozen=True, slots=True)
class Block:
    """A copy of the rows of one call of ``publish``.

    Attributes:
        rows: (N, D) little-endian float32 or float16, a copy.
        stream: the stream they are counted under.
        ids: N request ids; if empty, ids are made up.
        times_ms: N event times, milliseconds since the epoch.
    """

    rows: Any
    stream: str
    ids: Sequence[Any]
    times_ms: Sequence[int]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Message:
    """One embedding in the form of a Kafka message.

    Attributes:
        key: names the stream; ``None`` if there is none.
        attempts: how often Kafka has refused it.
        alone: it must be sent in a batch of its own, because Kafka found a batch with it too large.
        beside: bytes besides its value that count against the queue.
        answered: called once, from any thread: with an empty text when Kafka has acknowledged it, otherwise with the
            reason why it was given up.
    """

    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp_ms: int
    attempts: int = 0
    alone: bool = False
    beside: int = 0
    answered: Callable[[str], None] | None = None

    @property
    def size(self) -> int:
        """How many bytes of the queue it takes while it is pending."""
        return len(self.value) + self.beside

    def answer(self, why: str) -> None:
        """Call ``answered`` once. ``why`` is empty if Kafka has the message."""
        tell, self.answered = self.answered, None
        if tell is not None:
            tell(why)


@dataclass(frozen=True, slots=True)
class Unsendable:
    """A row of ``size`` bytes that cannot become a message, and why."""

    size: int
    why: str


def read_rows(embeddings: Any) -> Any:
    """Return (N, D) features as an array on the host, without a copy if they are there already.

    Raises:
        ValueError: the shape is not (N, D).
    """
    array = embeddings.detach().cpu() if hasattr(embeddings, "detach") else embeddings
    if hasattr(array, "is_floating_point"):
        import torch

        array = array.numpy() if array.dtype == torch.float16 else array.to(torch.float32).numpy()
    array = np.asarray(array)
    if array.ndim != 2:
        raise ValueError(f"embeddings of shape {array.shape} given, expected (N, D)")
    return array


def wire_type(rows: Any) -> np.dtype[Any]:
    """Return the dtype in which rows are sent: float16 stays, everything else becomes float32."""
    return np.dtype("<f2" if rows.dtype == np.float16 else "<f4")


def encode_text(text: Any) -> bytes:
    """Encode any text as UTF-8. A lone surrogate becomes an escape, so that different names stay different."""
    return str(text).encode("utf-8", "backslashreplace")


def encode_key(stream: str) -> bytes:
    """Return the message key that names a stream."""
    key = encode_text(stream)
    if len(key) <= MAX_KEY_BYTES:
        return key
    digest = hashlib.sha256(key).hexdigest()[:16].encode()
    start = key[: MAX_KEY_BYTES - len(digest) - 1].decode("utf-8", "ignore").encode()
    return start + b"~" + digest


class Encoder:
    """Turns blocks into messages.

    Args:
        source: the CloudEvents source.
        model: the model's name; empty if it is not sent.
    """

    def __init__(self, source: str, model: str) -> None:
        self._same = [
            ("content-type", b"application/octet-stream"),
            ("ce_specversion", b"1.0"),
            ("ce_type", b"embedding"),
            ("ce_source", encode_text(source)),
            *([("ce_model", encode_text(model))] if model else []),
        ]

    def messages(self, block: Block) -> Iterator[Message | Unsendable]:
        """Make one message per row; an :class:`Unsendable` if a row cannot become one (a time in the year 300,000)."""
        key = encode_key(block.stream)
        same = [
            *self._same,
            ("ce_dtype", b"float16" if block.rows.dtype.itemsize == 2 else b"float32"),
            ("ce_dim", b"%d" % block.rows.shape[1]),
        ]
        for n, row in enumerate(block.rows):
            at_ms = block.times_ms[n]
            try:
                time = moment(at_ms / 1000).encode()
                name = encode_text(block.ids[n]) if len(block.ids) else uuid.uuid4().hex.encode()
            except Exception as error:  # a time beyond the calendar, or an error of an id's text
                why = f"its id or its event time, {at_ms} ms since 1970, is not valid"
                yield Unsendable(row.nbytes, f"{why} ({type(error).__name__}: {error})")
                continue
            yield Message(key, row.tobytes(), [*same, ("ce_id", name), ("ce_time", time)], at_ms)
