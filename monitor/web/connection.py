"""One connection of the server: its headers must arrive in time, and its answers must be taken in time."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

TAKEN_BYTES = 65_536
"""A client takes at least this much of an answer in ``Bounds.answer_seconds``, or all that is left of it."""

LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(H11Protocol):
    """One connection. The headers of its request must arrive in time, and its answers must be taken in time.

    Without the second rule, a client that asks again and again and reads nothing holds its connection for good.
    """

    most, seconds, answer_seconds, full = 256, 5.0, 30.0, b""
    _since = 0.0
    _unsent = 0
    _timer: asyncio.TimerHandle | None = None
    _look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Greet a client, or turn it away if as many as are allowed are connected."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "certified": bool(transport.get_extra_info("peercert"))}
        self._since = self.loop.time()
        self._look = self.loop.call_later(self.answer_seconds, self._look_at_reader)
        if len(self.connections) > self.most and not self._make_room():
            transport.write(self.full)
            transport.close()
            return
        self._expect_headers()

    def _make_room(self) -> bool:
        """Close the connection that has been idle longest, so that idle clients do not keep others out."""
        held: list[Any] = [c for c in self.connections if c is not self and not c.transport.is_closing()]
        idle = [c for c in held if c.cycle is None or c.cycle.response_complete]
        if len(held) < self.most:
            return len(self.connections) <= 2 * self.most  # those that close may still hold what nobody takes
        if not idle:
            return False
        min(idle, key=lambda c: c._since).transport.close()
        return True

    def data_received(self, data: bytes) -> None:
        """Take what a client sends; the headers of a request that begins must be complete in time."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        began = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if not began:
            self._since = self.loop.time()
            self._cancel()
        elif self._timer is None:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines of a client that is gone."""
        self._cancel()
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._refuse_late)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.write(LATE)
            self.transport.close()

    def _look_at_reader(self) -> None:
        """Cut the client off if it has taken too little of its answers since the last look."""
        left = self.transport.get_write_buffer_size()
        if self._unsent and left > max(0, self._unsent - TAKEN_BYTES):
            self.transport.abort()
            return
        self._unsent = left
        self._look = self.loop.call_later(self.answer_seconds, self._look_at_reader)
