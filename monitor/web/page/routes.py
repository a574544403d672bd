"""The routes ``GET /`` and ``GET /static/NAME``. The page itself asks ``/api/v1`` for its data."""

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
"""Content types by file extension. All are text in UTF-8; files with other extensions are not served."""

PAGE = "index.html"


@dataclass(frozen=True)
class File:
    """A file in the form in which it is sent."""

    body: bytes
    kind: str
    tag: str


def routes(sources: Sources) -> list[BaseRoute]:
    """Return the routes of the page, if this process can show it."""
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
    """Read all files that are served, by name. Files that appear later are not served."""
    found = {}
    for entry in (files("monitor.web.page") / "static").iterdir():
        kind = TYPES.get(entry.name.rpartition(".")[2])
        if kind:
            body = entry.read_bytes()
            found[entry.name] = File(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return found


def _sent(file: File, request: Request) -> Response:
    """Send the file, or 304 if the browser has it. Browsers ask each time, so they never mix two releases."""
    headers = {"cache-control": "no-cache", "etag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.kind)
