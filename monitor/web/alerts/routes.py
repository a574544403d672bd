"""The routes of the alerts API. docs/http.md says what each answers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from monitor.errors import HandlingError
from monitor.store.handling import Mute
from monitor.store.protocol import Store
from monitor.web.alerts import events
from monitor.web.alerts.documents import alert_document, mute_document
from monitor.web.alerts.events import EventStream
from monitor.web.alerts.wishes import read_mute_wish, read_words
from monitor.web.answers import RefusedError, in_thread, json_answer, read_json
from monitor.web.sources import Sources

log = logging.getLogger(__name__)

MOST_ALERTS = 1000
T = TypeVar("T")
STATUSES = ("firing", "resolved", "all")


def routes(sources: Sources) -> list[BaseRoute]:
    """Return the routes below ``/api/v1/alerts``, ``/history``, ``/events`` and ``/mutes``."""
    api = Api(sources)
    return [
        Route("/api/v1/alerts", api.alerts),
        Route("/api/v1/alerts/{fingerprint}", api.alert),
        Route("/api/v1/alerts/{fingerprint}/acknowledge", api.acknowledge, methods=["POST"]),
        Route("/api/v1/alerts/{fingerprint}/acknowledge", api.unacknowledge, methods=["DELETE"]),
        Route("/api/v1/history", api.history),
        Route("/api/v1/events", api.events),
        Route("/api/v1/mutes", api.mutes, methods=["GET"]),
        Route("/api/v1/mutes", api.mute, methods=["POST"]),
        Route("/api/v1/mutes/{id}", api.unmute, methods=["DELETE"]),
    ]


class Api:
    """Answers requests from the store. It has a connection of its own and makes a few calls at once.

    Args:
        sources: what the process offers to routes.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._runbook = str(sources.settings.get("delivery", {}).get("runbook_url", ""))
        self._listening = 0
        self._limiter = CapacityLimiter(4)

    @cached_property
    def _store(self) -> Store:
        return self._sources.store()

    # -- what there is ---------------------------------------------------------------------------------------------

    async def alerts(self, request: Request) -> Response:
        """Answer with the current alerts, the latest change first."""
        given = _query(request, ("status", "stream", "kind", "limit"))
        status, limit = given.get("status", "firing"), _number(given.get("limit", "200"), MOST_ALERTS)
        if status not in STATUSES:
            raise RefusedError(400, f"status is {status[:40]!r}, expected one of {', '.join(STATUSES)}")

        def find() -> dict[str, Any]:
            handling = self._store.handling()
            found = [
                alert
                for alert in self._store.alerts()
                if status in ("all", alert.get("status"))
                and all(alert.get(name) == given[name] for name in ("stream", "kind") if name in given)
            ]
            shown = [alert_document(alert, handling, self._runbook) for alert in found[:limit]]
            return {"alerts": shown, "found": len(found)}

        return json_answer(await in_thread(find, self._limiter))

    async def alert(self, request: Request) -> Response:
        """Answer with one current alert and its latest transitions."""
        name = request.path_params["fingerprint"]

        def find() -> dict[str, Any] | None:
            handling = self._store.handling()
            found = self._store.alert(name)
            if not found:
                return None
            late = [e for e in self._store.history(MOST_ALERTS) if e.get("fingerprint") == name]
            shown = [alert_document(event, handling, self._runbook) for event in late[:100]]
            return {"alert": alert_document(found, handling, self._runbook), "history": shown}

        found = await in_thread(find, self._limiter)
        if found is None:
            raise RefusedError(404, "no alert has this fingerprint: /api/v1/alerts?status=all names them")
        return json_answer(found)

    async def history(self, request: Request) -> Response:
        """Answer with transitions, the latest first."""
        limit = _number(_query(request, ("limit",)).get("limit", "100"), MOST_ALERTS)

        def find() -> dict[str, Any]:
            handling = self._store.handling()
            return {"history": [alert_document(e, handling, self._runbook) for e in self._store.history(limit)]}

        return json_answer(await in_thread(find, self._limiter))

    async def events(self, request: Request) -> Response:
        """Answer with a stream of transitions as they happen."""
        given = _query(request, ("after",)).get("after", request.headers.get("last-event-id", ""))
        if given and not re.fullmatch(r"[0-9]{1,16}-[0-9]{1,10}", given):
            raise RefusedError(400, f"after is {given[:40]!r}, expected an id of the history such as 1717171717171-0")
        if self._listening >= events.MOST_CLIENTS:
            raise RefusedError(503, f"{events.MOST_CLIENTS} clients listen already: try again", {"retry-after": "5"})
        after = given or await in_thread(self._newest, self._limiter)
        return _Counted(self, EventStream(after, self._behind, self._sources.ends))

    async def mutes(self, request: Request) -> Response:
        """Answer with the mutes that are in force, that begin later, and that ended recently."""
        _query(request, ())
        found = await in_thread(self._store.handling, self._limiter)
        return json_answer({"mutes": [mute_document(m, found.now_ms) for m in found.mutes]})

    # -- what people do --------------------------------------------------------------------------------------------

    async def acknowledge(self, request: Request) -> Response:
        """Acknowledge a firing alert."""
        name = request.path_params["fingerprint"]
        author, reason = read_words(await read_json(request))
        done = await in_thread(lambda: _asked(lambda: self._store.acknowledge(name, author, reason)), self._limiter)
        log.info("alert %s is acknowledged by %s: %s", name[:64], author, reason, extra={"alert": name[:64]})
        return json_answer({"fingerprint": name, "episode": done.episode, "author": author, "reason": reason})

    async def unacknowledge(self, request: Request) -> Response:
        """Withdraw an acknowledgement."""
        name = request.path_params["fingerprint"]
        if not await in_thread(lambda: self._store.unacknowledge(name), self._limiter):
            raise RefusedError(404, "nobody has acknowledged an alert of this fingerprint")
        log.info("alert %s is no longer acknowledged", name[:64], extra={"alert": name[:64]})
        return json_answer({"fingerprint": name})

    async def mute(self, request: Request) -> Response:
        """Mute a stream, an alert or a kind for a while."""
        given = await read_json(request)

        def do() -> Mute:
            return _asked(lambda: self._store.mute(read_mute_wish(given, self._store.now_ms())))

        done = await in_thread(do, self._limiter)
        log.info("muted: %s", done.words())
        return json_answer(mute_document(done, done.begun_ms), 201)

    async def unmute(self, request: Request) -> Response:
        """End a mute."""
        name = request.path_params["id"]
        if not await in_thread(lambda: self._store.unmute(name), self._limiter):
            raise RefusedError(404, "no mute of this id is in force: /api/v1/mutes names them")
        log.info("mute %s is ended", name[:40])
        return json_answer({"id": name})

    # ----------------------------------------------------------------------------------------------------------------

    def _newest(self) -> str:
        found = self._store.history(1)
        return found[0]["id"] if found else "0-0"

    async def _behind(self, after: str) -> Sequence[dict[str, Any]]:
        def find() -> list[dict[str, Any]]:
            late = self._store.since(after)
            handling = self._store.handling() if late else None
            return [alert_document(event, handling, self._runbook) for event in late if handling is not None]

        return await in_thread(find, self._limiter)

    def listens(self, change: int) -> None:
        """Count one listening client more or less."""
        self._listening += change


class _Counted(Response):
    """Counts a client for as long as it listens."""

    def __init__(self, api: Api, stream: EventStream) -> None:
        super().__init__()
        self._api, self._stream = api, stream

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._api.listens(1)
        try:
            await self._stream(scope, receive, send)
        finally:
            self._api.listens(-1)


def _asked(what: Callable[[], T]) -> T:
    """Call the store on behalf of a client. If the store refuses, the client gets a 4xx answer with the reason."""
    try:
        return what()
    except HandlingError as error:
        raise RefusedError(409, str(error)) from None


def _query(request: Request, known: tuple[str, ...]) -> Mapping[str, str]:
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        expected = ", ".join(known) or "nothing"
        raise RefusedError(400, f"{unknown[0][:40]!r} is not known here: expected {expected}")
    return request.query_params


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 7 and 0 < int(text) <= most):
        raise RefusedError(400, f"limit is {text[:40]!r}, expected a number from 1 to {most}")
    return int(text)
