"""``GET /`` and ``GET /static/NAME``; what the page shows it asks of ``/api/v1``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from monitor.web.answers import RefusedError
from monitor.web.sources import Sources

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
"""By ending; every one is text in UTF-8. A file of another ending is not served."""

PAGE = "index.html"


@dataclass(frozen=True)
class File:
    """A file as it is sent."""

    body: bytes
    kind: str
    tag: str


def routes(sources: Sources) -> list[BaseRoute]:
    """The page, if this process has what it shows."""
    if sources.overviews is None:
        return []
    known = read_files()

    async def page(request: Request) -> Response:
        return _sent(known[PAGE], request)

    async def static(request: Request) -> Response:
        found = known.get(request.path_params["name"])
        if found is None:
            raise RefusedError(404, "there is nothing at this path: the page is at /")
        return _sent(found, request)

    return [Route("/", page), Route("/static/{name}", static)]


def read_files() -> dict[str, File]:
    """Everything that is served, by name. Only what was found at the start can be asked for."""
    found = {}
    for entry in (files("monitor.web.page") / "static").iterdir():
        kind = TYPES.get(entry.name.rpartition(".")[2])
        if kind:
            body = entry.read_bytes()
            found[entry.name] = File(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return found


def _sent(file: File, request: Request) -> Response:
    """The file, or that the browser has it already: it asks each time, so it never mixes two releases."""
    headers = {"cache-control": "no-cache", "etag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.kind)
