"""``/metrics``, for Prometheus."""

from __future__ import annotations

from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from monitor.web.answers import in_thread
from monitor.web.sources import Sources


def routes(sources: Sources) -> list[BaseRoute]:
    """Return the route of the metrics, in the format that the client asks for. Only one answer is built at a time."""
    from prometheus_client.exposition import choose_encoder

    one_at_a_time = CapacityLimiter(1)

    async def metrics(request: Request) -> Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        page: bytes = await in_thread(lambda: encode(sources.registry), one_at_a_time)
        return Response(page, headers={"content-type": kind})

    return [Route("/metrics", metrics)]
