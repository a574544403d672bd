"""Reading the body of a post: no larger, no slower and no more of them at once than the settings allow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request

from monitor.errors import PostError

LINGER_SECONDS = 1.0
"""How long a body that is refused is still taken and thrown away: a sender that is cut off reads no answer."""


class Bodies:
    """Reads bodies within bounds.

    Args:
        body_bytes: of one body.
        together: bytes of all bodies that are being read.
        seconds: within this a body must be here.
        retry_after_seconds: what a post is told to wait if too many are being read.

    Attributes:
        reading: bytes that are set aside for bodies that are being read.
    """

    def __init__(self, body_bytes: int, together: int, seconds: float, retry_after_seconds: int) -> None:
        self._most, self._together, self._seconds = body_bytes, together, seconds
        self._retry = str(retry_after_seconds)
        self.reading = 0

    async def read(self, request: Request) -> bytes:
        """The body.

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
        """What to set aside for the body: what is announced, or the most that it may be."""
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
