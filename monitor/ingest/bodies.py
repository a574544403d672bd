"""Reads the bodies of posts within limits on size, time and number at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request

from monitor.errors import PostError

LINGER_SECONDS = 1.0
"""For how long a refused body is still read and dropped: a sender that is cut off does not read the answer."""


class Bodies:
    """Reads bodies within limits.

    Args:
        body_bytes: size of one body.
        together: size of all bodies that are being read at once.
        seconds: a body must arrive within this time.
        retry_after_seconds: how long a post must wait if too many are being read.

    Attributes:
        reading: how many bytes are reserved for bodies that are being read.
    """

    def __init__(self, body_bytes: int, together: int, seconds: float, retry_after_seconds: int) -> None:
        self._most, self._together, self._seconds = body_bytes, together, seconds
        self._retry = str(retry_after_seconds)
        self.reading = 0

    async def read(self, request: Request) -> bytes:
        """Read the body of a request.

        Raises:
            PostError: 400, 408, 413, 415 or 503.
        """
        try:
            size = self._size(request.headers)
        except PostError as refused:
            if refused.status == 413 and "expect" not in request.headers:
                await self._throw_away(request)
            raise
        if self.reading + size > self._together:
            why = f"{self.reading} bytes of other posts are being read: send it again after {self._retry} s"
            raise PostError(503, why, {"retry-after": self._retry})
        self.reading += size
        try:
            return await asyncio.wait_for(self._collect(request), self._seconds)
        except asyncio.TimeoutError:
            why = f"the body was not here within {self._seconds:g} s"
            raise PostError(408, why, {"connection": "close"}) from None
        finally:
            self.reading -= size

    def _size(self, headers: Mapping[str, str]) -> int:
        """How many bytes to reserve for a body: its announced length, or the limit."""
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise PostError(
                415, f"Content-Encoding {coding[:40]!r} is not read, expected a body that is not compressed"
            )
        given = headers.get("content-length")
        if given is None:
            return self._most
        if not (given.isascii() and given.isdigit() and len(given) <= 18):
            raise PostError(400, f"Content-Length {given[:40]!r} is not a number of bytes")
        if int(given) > self._most:
            raise self._too_large()
        return int(given)

    async def _collect(self, request: Request) -> bytes:
        pieces, size = [], 0
        try:
            async for piece in request.stream():
                size += len(piece)
                if size > self._most:
                    raise self._too_large()
                pieces.append(piece)
        except ClientDisconnect:
            raise PostError(400, "the sender hung up before its body was here") from None
        return b"".join(pieces)

    async def _throw_away(self, request: Request) -> None:
        async def read() -> None:
            left = 4 * self._most
            async for piece in request.stream():
                left -= len(piece)
                if left < 0:
                    return

        with contextlib.suppress(asyncio.TimeoutError, ClientDisconnect):
            await asyncio.wait_for(read(), LINGER_SECONDS)

    def _too_large(self) -> PostError:
        return PostError(
            413, f"the body is larger than {self._most} bytes (bounds.body_bytes)", {"connection": "close"}
        )
