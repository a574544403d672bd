"""Transitions as server-sent events. A client that reconnects continues at its last event, by ``Last-Event-ID``."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from monitor.errors import StoreError

MOST_CLIENTS = 16
"""How many clients may listen at once. Each reads the store once a second."""

EVERY_SECONDS = 1.0
QUIET_SECONDS = 15.0
"""At least this often (in seconds) something is sent, so that both sides notice if the other is gone."""

SEND_SECONDS = 30.0
"""A client that accepts nothing for this long (in seconds) is disconnected. It can reconnect and continue."""

Transitions = Callable[[str], Awaitable[Sequence[dict[str, Any]]]]
"""Reads the transitions after an id of the history, the earliest first, as documents with their ``id``."""


class EventStream(Response):
    """The event stream of one client.

    Args:
        after: id of the history; the stream begins after it.
        look: reads the transitions after an id.
        ends: whether the process is being stopped.
    """

    media_type = "text/event-stream"

    def __init__(self, after: str, look: Transitions, ends: Callable[[], bool]) -> None:
        super().__init__(headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._after, self._look, self._ends = after, look, ends

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client leaves, the process stops, or nothing can be sent."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with anyio.create_task_group() as group:

            async def leave() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(leave)
            await self._tell(send)
            group.cancel_scope.cancel()

    async def _tell(self, send: Send) -> None:
        away, said_at = False, time.monotonic()
        text = "retry: 2000\n\n"
        while not self._ends():
            if text or time.monotonic() - said_at > QUIET_SECONDS:
                said_at = time.monotonic()
                with anyio.move_on_after(SEND_SECONDS) as sending:
                    await send(
                        {"type": "http.response.body", "body": (text or ": quiet\n\n").encode(), "more_body": True}
                    )
                if sending.cancelled_caught:
                    return
            try:
                found = await self._look(self._after)
                text = "event: answers\ndata: {}\n\n" if away else ""
                away = False
            except StoreError as error:
                found, text = [], "" if away else f"event: away\ndata: {json.dumps({'error': str(error)})}\n\n"
                away = True
            for document in found:
                self._after = document["id"]
                text += f"id: {self._after}\nevent: transition\ndata: {json.dumps(document)}\n\n"
            if not found:
                await anyio.sleep(EVERY_SECONDS)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
