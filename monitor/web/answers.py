"""Helpers of routes: answers in JSON, bodies of bounded size, and calls of the store in threads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import Response

BODY_BYTES = 16_384
"""The largest body of a request, in bytes."""

T = TypeVar("T")


class RefusedError(Exception):
    """Raised to answer a request with an error status and a sentence.

    Attributes:
        status: of HTTP.
        sentence: what was wrong, and what was expected.
        headers: of the answer.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})


def json_answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a document as JSON. Text that senders chose is escaped, so it stays inside its strings."""
    text = json.dumps(document, ensure_ascii=True, allow_nan=False)
    return Response(text + "\n", status, dict(headers or {}), media_type="application/json")


def error_answer(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with ``{"error": sentence}``."""
    return json_answer({"error": sentence}, status, headers)


async def read_json(request: Request) -> dict[str, Any]:
    """Read the body of a request.

    Raises:
        RefusedError: the body is too large or not a JSON object.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES:
            raise RefusedError(413, f"the body is larger than {BODY_BYTES} bytes")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, 'the body is not JSON: expected an object such as {"reason": "..."}') from None
    if not isinstance(found, dict):
        raise RefusedError(400, f"the body is {type(found).__name__}, expected a JSON object")
    return found


async def in_thread(call: Callable[[], T], limiter: CapacityLimiter | None = None) -> T:
    """Run a blocking call, such as one of the store, in a thread. Only a few run at once.

    Args:
        call: what to do.
        limiter: how many at once; four calls of the store if not given.
    """
    return await anyio.to_thread.run_sync(call, limiter=limiter)
