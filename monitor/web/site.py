"""Puts all routes together into one Starlette application behind :class:`monitor.web.access.Guard`.

``/-/healthy`` and ``/-/ready`` are :mod:`monitor.web.health`'s, ``/metrics`` is :mod:`monitor.web.metrics`'.
:mod:`monitor.web.server` limits what clients may take.

A folder ``monitor/web/NAME/`` with a function ``routes(sources: Sources) -> list[Route]`` adds routes. Such folders
are found by themselves. The guard checks the token and the Host header, adds security headers, answers errors in JSON
and limits the number of requests at once. A function that blocks (on Redis, on a disk) must be ``def``, or
use :func:`monitor.web.answers.in_thread`; only a few of them run at once. To refuse a request, raise
:class:`monitor.web.answers.RefusedError`. A ``StoreError`` is answered with 503 and its sentence.
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
    """Build the application of a running process.

    Args:
        sources: what routes may read.
        access: which requests are allowed.
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
    """Find the ``routes`` functions of the folders of this package, by folder name."""
    package = importlib.import_module("monitor.web")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg)
    return [importlib.import_module(f"monitor.web.{name}").routes for name in names]
