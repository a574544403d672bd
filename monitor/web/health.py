"""Health: ``/-/healthy`` says whether a restart would help, ``/-/ready`` whether the process does its work.

Nothing here waits for anything.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from monitor.web.sources import Sources


def routes(sources: Sources) -> list[BaseRoute]:
    """``/-/healthy`` and ``/-/ready``."""

    async def healthy(_request: Request) -> Response:
        return _answer(sources.healthy(), "healthy: the process makes progress")

    async def ready(_request: Request) -> Response:
        return _answer(sources.ready(), "ready: the process counts, or stands by for those that do")

    return [Route("/-/healthy", healthy), Route("/-/ready", ready)]


def _answer(trouble: str, well: str) -> Response:
    return PlainTextResponse(f"{trouble or well}\n", 503 if trouble else 200)
