"""Everything that is served, as one Starlette application behind :class:`monitor.web.access.Guard`.

``/-/healthy`` and ``/-/ready`` are :mod:`monitor.web.health`'s, ``/metrics`` is :mod:`monitor.web.metrics`'.
:mod:`monitor.web.server` bounds what clients may hold.

A folder ``monitor/web/NAME/`` with a function ``routes(sources: Sources) -> list[Route]`` adds its own: it is found,
not named here. Of its routes: the token, the Host header, security headers, errors in JSON and the number of requests
at once are the guard's. A function that waits (for Redis, for a disk) is either ``def`` and not ``async def``, or
uses :func:`monitor.web.answers.in_thread`; either way few of them run at once. What a route refuses it raises as
:class:`monitor.web.answers.RefusedError`; a ``StoreError`` becomes a 503 with its sentence.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from monitor.errors import StoreError
from monitor.web import health, metrics
from monitor.web.access import Access, Guard, answer_http_error
from monitor.web.answers import RefusedError, error_answer
from monitor.web.sources import Sources

STREAMS = frozenset({"/api/v1/events"})


def build_site(sources: Sources, access: Access) -> ASGIApp:
    """The application of a running process.

    Args:
        sources: what routes may read.
        access: who may ask.
    """
    routes: list[BaseRoute] = [*health.routes(sources), *metrics.routes(sources)]
    for added in added_routes():
        routes += added(sources)

    async def answer_store_error(_request: Request, error: Exception) -> Response:
        return error_answer(503, sources.redact(str(error)), {"retry-after": "2"})

    async def answer_refusal(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)  # noqa: S101  registered for that class
        return error_answer(error.status, sources.redact(error.sentence), error.headers)

    async def answer_fault(_request: Request, _error: Exception) -> Response:
        return error_answer(500, "this is a fault of the monitor; its log says more")

    handlers = {
        Exception: answer_fault,
        HTTPException: answer_http_error,
        StoreError: answer_store_error,
        RefusedError: answer_refusal,
    }
    site = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
    return Guard(site, access, sources.redact, STREAMS)


def added_routes() -> Sequence[Callable[[Sources], Sequence[BaseRoute]]]:
    """The functions ``routes`` of the folders of this package, by the folders' names."""
    package = importlib.import_module("monitor.web")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg)
    return [importlib.import_module(f"monitor.web.{name}").routes for name in names]
