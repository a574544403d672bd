"""The routes of the ingest server: posts, probes and metrics. Each error is one sentence in JSON."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from monitor.errors import PostError
from monitor.ingest.binding import KeyFrom, to_message
from monitor.ingest.bodies import Bodies
from monitor.ingest.handover import Handover
from monitor.ingest.metrics import Metrics
from monitor.ingest.posts import Accepted, read_post
from monitor.messages.times import now_ms
from monitor.publishing.complaints import Complaints
from monitor.web.access import OPEN_PATHS, Access, headers_of
from monitor.web.answers import RefusedError, error_answer
from monitor.web.gate import Gate

log = logging.getLogger(__name__)


class Desk:
    """Accepts posts: reads the body, makes events of it, and answers when Kafka has them.

    Args:
        bodies: reads bodies.
        accepted: which posts are accepted.
        key_from: the source of the key.
        handover: hands events to Kafka.
        metrics: counts every post.
        complaints: rate-limited lines.
        now_ms: gives milliseconds since the epoch.
    """

    def __init__(
        self,
        bodies: Bodies,
        accepted: Accepted,
        key_from: KeyFrom,
        handover: Handover,
        metrics: Metrics,
        complaints: Complaints,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._bodies, self._accepted, self._key_from = bodies, accepted, key_from
        self._handover, self._metrics, self._complaints, self._now_ms = handover, metrics, complaints, now_ms

    async def post(self, request: Request) -> Response:
        """Answer 202 without a body if Kafka has all events of the post, otherwise the reason."""
        try:
            body = await self._bodies.read(request)
            headers: list[tuple[bytes, bytes]] = request.scope["headers"]
            events = read_post(headers, body, self._accepted)
            now = self._now_ms()
            messages = [to_message(event, self._key_from.key(event, headers), now) for event in events]
            began = time.monotonic()
            await self._handover.hand_over(messages)
        except PostError as refused:
            self._metrics.answered(refused.status)
            self._complaints.warn(f"{refused.status}", f"a post was answered {refused.status}: {refused.sentence}")
            return error_answer(refused.status, refused.sentence, refused.headers)
        self._metrics.answered(202)
        self._metrics.acknowledged(len(messages), time.monotonic() - began)
        return Response(status_code=202)


def build_site(
    desk: Desk, path: str, access: Access, metrics: Metrics, ready: Callable[[], str], complaints: Complaints
) -> ASGIApp:
    """Build the whole application.

    Args:
        desk: accepts posts.
        path: the path of posts.
        access: who may post and read metrics.
        metrics: shown by ``/metrics``.
        ready: gives a sentence on why this process cannot write to Kafka now; empty if it can.
        complaints: rate-limited lines.
    """

    async def healthy(_request: Request) -> Response:
        return PlainTextResponse("healthy: posts are answered\n")

    async def is_ready(_request: Request) -> Response:
        why = ready()
        return PlainTextResponse(f"{why or 'ready: the topic is there and Kafka acknowledges'}\n", 503 if why else 200)

    async def show_metrics(_request: Request) -> Response:
        return Response(metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def answer_http_error(_request: Request, error: Any) -> Response:
        words = {404: f"there is nothing at this path: posts go to {path}", 405: "this path does not know that method"}
        return error_answer(error.status_code, words.get(error.status_code, error.detail), error.headers)

    routes = [
        Route("/-/healthy", healthy),
        Route("/-/ready", is_ready),
        Route("/metrics", show_metrics),
        Route(path, desk.post, methods=["POST"]),
    ]
    site = Starlette(routes=routes, exception_handlers={404: answer_http_error, 405: answer_http_error})
    return Door(site, access, metrics, complaints)


class Door(Gate):
    """Lets in clients that may post and read metrics. Each refusal is counted, and closes the connection."""

    def __init__(self, app: ASGIApp, access: Access, metrics: Metrics, complaints: Complaints) -> None:
        super().__init__(app)
        self._access, self._metrics, self._complaints = access, metrics, complaints

    def admit(self, scope: Scope) -> None:
        """Refuse posts of other sites' pages, by a browser's credentials or by a host name that leads here."""
        if scope["path"] in OPEN_PATHS:
            return
        headers = headers_of(scope)
        self._access.identify(scope, headers)
        if not (self._access.token or self._access.certificates):
            self._access.refuse_host(headers.get("host", ""))
        if "origin" in headers:
            raise RefusedError(403, "the request comes from a web page, which may not post here")

    def answer_refused(self, scope: Scope, refused: RefusedError) -> Response:
        """Answer in one sentence, and log it at most once a minute."""
        self._complaints.warn(f"{refused.status}", f"a request was answered {refused.status}: {refused.sentence}")
        return self._answer(refused.status, refused.sentence, refused.headers)

    def answer_fault(self, scope: Scope, error: Exception) -> Response:
        """Log a fault of the program at most once a minute, and answer 500 without its details."""
        log.debug("a request failed", exc_info=error)
        about = f"a request failed by a fault of this program ({type(error).__name__}): --debug shows where"
        self._complaints.warn("fault", about)
        return self._answer(500, "this is a fault of the ingest server; its log says more", {})

    def _answer(self, status: int, sentence: str, headers: Mapping[str, str]) -> Response:
        self._metrics.answered(status)
        return error_answer(status, sentence, {**headers, "connection": "close"})
