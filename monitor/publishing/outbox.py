"""The outbox: a bounded queue of published rows that are not acknowledged yet.

The threads that serve the model only call :meth:`Outbox.offer`. It never waits for Kafka, only for a lock that is held
for no longer than a few assignments.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from monitor.publishing.messages import Block, Encoder, Message, Unsendable, wire_type

CLOSED = "the queue was closed before Kafka had it"
"""Why a message was dropped although nothing is wrong with it."""


class Outbox:
    """A queue in which each row counts exactly once: it is ``pending`` until it is ``sent`` or ``dropped``.

    Args:
        max_rows: how many rows may be pending.
        max_bytes: how many bytes of rows may be pending.
    """

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._changed = threading.Condition(threading.Lock())
        self._blocks: deque[Block] = deque()
        self._ready: OrderedDict[int, Message] = OrderedDict()  # encoded already; by id(), to be found at once
        self._open_block: Iterator[Message | Unsendable] = iter(())
        self._waiting = 0
        self._bytes = 0
        self._in_flight = 0
        self.sent = 0
        self.dropped = 0
        self.pending = 0
        self.closing = False
        self.abandoned = False

    # -- the side of the served model ------------------------------------------------------------------------------

    def offer(self, rows: Any, stream: str, ids: Sequence[Any], times_ms: Sequence[int]) -> int:
        """Copy and queue as many of the first rows as fit, and return how many that are."""
        kind = wire_type(rows)
        row_bytes = max(1, rows.shape[1] * kind.itemsize)
        with self._changed:
            room = min(self._max_rows - self.pending, (self._max_bytes - self._bytes) // row_bytes)
            taken = 0 if self.closing else max(0, min(len(rows), room))
            self.dropped += len(rows) - taken
            self.pending += taken
            self._bytes += taken * row_bytes
        if not taken:
            return 0
        try:
            copied = np.array(rows[:taken], dtype=kind, order="C", copy=True)
        except BaseException:
            self._settle(taken, taken * row_bytes, dropped=taken)
            raise
        with self._changed:
            if not self.abandoned:
                self._blocks.append(Block(copied, stream, ids, times_ms))
                self._waiting += taken
                self._changed.notify_all()
        return taken

    def offer_message(self, message: Message) -> bool:
        """Queue an encoded message. Returns whether it was accepted; if not, it still belongs to the caller."""
        with self._changed:
            full = self.pending >= self._max_rows or self._bytes + message.size > self._max_bytes
            if full or self.closing:
                return False
            self.pending += 1
            self._bytes += message.size
            self._waiting += 1
            self._ready[id(message)] = message
            self._changed.notify_all()
            return True

    def withdraw(self, message: Message) -> bool:
        """Take back a message of :meth:`offer_message`. Returns False if a producer already has it."""
        with self._changed:
            if self._ready.pop(id(message), None) is None:
                return False
            self._waiting -= 1
        message.answered = None
        self._settle(1, message.size, dropped=1)
        return True

    def wait_until_empty(self, seconds: float) -> bool:
        """Wait until nothing is pending. Returns False if the time is up first."""
        until = time.monotonic() + max(0.0, seconds)
        with self._changed:
            return self._changed.wait_for(lambda: not self.pending, max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Accept nothing more."""
        with self._changed:
            self.closing = True
            self._changed.notify_all()

    def abandon(self) -> int:
        """Drop everything that is pending, and return how many rows that were."""
        with self._changed:
            lost, self.pending, self._bytes, self._in_flight = self.pending, 0, 0, 0
            self.dropped += lost
            self.closing = self.abandoned = True
            self._waiting = 0
            self._blocks.clear()
            left = list(self._ready.values())
            self._ready.clear()
            self._changed.notify_all()
        for message in left:
            message.answer(CLOSED)
        return lost

    # -- the side of Kafka -----------------------------------------------------------------------------------------

    @property
    def pending_bytes(self) -> int:
        """How many bytes are pending."""
        return self._bytes

    @property
    def in_flight(self) -> int:
        """How many messages a producer has that it has not answered yet."""
        return self._in_flight

    @property
    def finished(self) -> bool:
        """Whether the queue is closed and empty."""
        return self.abandoned or (self.closing and not self.pending)

    def wait_for_work(self, seconds: float) -> bool:
        """Wait until there is a message to send or the queue is closed. Returns whether there is a message."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.closing, seconds)
            return self._waiting > 0

    def wait_for_answers(self, below: int, seconds: float, *, or_work: bool = False) -> bool:
        """Wait until fewer than ``below`` messages are in flight or, if asked for, until there is a message to send."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._in_flight < below or self.abandoned or (or_work and self._waiting > 0), seconds
            )

    def wait_for_close(self, seconds: float) -> None:
        """Sleep until the time is up or the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.closing, seconds)

    def take(self, encoder: Encoder) -> Message | Unsendable | None:
        """Take the next message, which is then in flight, or an :class:`Unsendable`; ``None`` if there is none.

        Only one thread may call this.
        """
        with self._changed:
            if not self._waiting:
                return None
            self._waiting -= 1
            self._in_flight += 1
            if self._ready:
                return self._ready.popitem(last=False)[1]
        while True:
            found = next(self._open_block, None)
            with self._changed:
                if self.abandoned:
                    return None
                if found is not None:
                    return found
                self._open_block = encoder.messages(self._blocks.popleft())

    def acknowledge(self, message: Message) -> None:
        """Note that Kafka has acknowledged a message."""
        self._settle(1, message.size, sent=1, flying=1)
        message.answer("")

    def discard(self, message: Message | Unsendable, why: str = "") -> None:
        """Drop a message in flight."""
        self._settle(1, message.size, dropped=1, flying=1)
        if isinstance(message, Message):
            message.answer(why or "Kafka refused it")

    def put_back(self, message: Message) -> None:
        """Put a message in flight back, to be sent again."""
        with self._changed:
            if not self.abandoned:
                self._in_flight -= 1
                self._waiting += 1
                self._ready[id(message)] = message
                self._changed.notify_all()
                return
        message.answer(CLOSED)

    def _settle(self, rows: int, size: int, *, sent: int = 0, dropped: int = 0, flying: int = 0) -> None:
        with self._changed:
            if self.abandoned:  # it was counted as dropped then
                return
            self.sent += sent
            self.dropped += dropped
            self._in_flight -= flying
            self.pending -= rows
            self._bytes -= size
            self._changed.notify_all()
