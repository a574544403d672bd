"""The routes ``GET /api/v1/overview`` and ``GET /api/v1/streams/{id}``. docs/status-page.md says what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from monitor.web.answers import RefusedError, in_thread
from monitor.web.overview.desk import Desk
from monitor.web.overview.facts import Facts, Present
from monitor.web.overview.gathering import Gatherer
from monitor.web.overview.streams import SORTS, Query
from monitor.web.sources import Sources

LONGEST_SEARCH = 200


def routes(sources: Sources) -> list[BaseRoute]:
    """Return the routes of the status document and of one stream."""
    if sources.overviews is None:
        return []
    facts = facts_of(sources)
    return desk_routes(Desk(Gatherer(sources.overviews(), facts), facts, lambda: present_of(sources)))


def desk_routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes that answer from one desk."""

    async def overview(request: Request) -> Response:
        query = read_query(request.query_params)
        ready = desk.ready(query)
        return _json(await in_thread(lambda: desk.overview(query)) if ready is None else ready)

    async def stream(request: Request) -> Response:
        wanted = request.path_params["stream"]
        found: bytes | None = await in_thread(lambda: desk.stream(wanted))
        if found is None:
            raise RefusedError(404, "no stream has this id: /api/v1/overview names them, in streams.rows")
        return _json(found)

    return [Route("/api/v1/overview", overview), Route("/api/v1/streams/{stream}", stream)]


def read_query(given: Mapping[str, str]) -> Query:
    """Which streams a client asks for.

    Raises:
        RefusedError: the query is not valid.
    """
    unknown = sorted(set(given) - {"search", "sort", "page", "span"})
    if unknown:
        raise RefusedError(400, f"{unknown[0][:40]!r} is not known here: expected search, sort, page or span")
    search, sort = given.get("search", ""), given.get("sort", "urgency")
    page, span = given.get("page", "1"), given.get("span", "short")
    if len(search) > LONGEST_SEARCH:
        raise RefusedError(400, f"search has {len(search)} characters, expected {LONGEST_SEARCH} at most")
    if sort not in SORTS:
        raise RefusedError(400, f"sort is {sort[:40]!r}, expected one of {', '.join(SORTS)}")
    if span not in ("short", "long"):
        raise RefusedError(400, f"span is {span[:40]!r}, expected short or long")
    if not (page.isascii() and page.isdigit() and 0 < len(page) < 7):
        raise RefusedError(400, f"page is {page[:40]!r}, expected a number from 1")
    return Query(search, sort, max(1, int(page)), cast(Literal["short", "long"], span))


def facts_of(sources: Sources) -> Facts:
    """Collect the facts that do not change while the process runs."""
    s = sources.settings
    return Facts(
        rules=sources.rules,
        bucket_ms=max(1, round(1000 * float(_of(s, "buckets", "seconds", 1.0)))),
        version=sources.version,
        artifact=sources.artifact,
        group=sources.group,
        topics=tuple(_of(s, "kafka", "topics", ())) or tuple(filter(None, [str(_of(s, "kafka", "topic", ""))])),
        class_name=sources.class_name,
        limits=sources.calibration_limits,
        image_link=str(_of(s, "http", "image_link", "")),
        runbook=str(_of(s, "delivery", "runbook_url", "")),
        canary_seconds=float(_of(s, "canary", "seconds", 0)),
        canary_timeout_seconds=float(_of(s, "canary", "timeout_seconds", 120)),
        drift_window=int(_of(s, "drift", "window", 0)),
        receivers=sources.receivers,
        redact=sources.redact,
    )


def present_of(sources: Sources) -> Present:
    """Collect what the process is doing now."""
    judges = sources.evaluator_state() is not None
    return Present(judges, len(sources.owned()), sources.healthy() or sources.ready(), sources.sinks())


def _of(settings: Mapping[str, Mapping[str, Any]], section: str, key: str, default: Any) -> Any:
    found = settings.get(section, {}).get(key)
    return default if found is None else found


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
