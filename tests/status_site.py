"""The guarded site on a real port, over a store that a world has filled: what a browser opens."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from monitor.alerts.runners import SinkStatus
from monitor.errors import HandlingError, StoreError
from monitor.store.handling import Mute
from monitor.store.overviews import OverviewStore
from monitor.store.redis import RedisStore
from monitor.testing import launcher
from monitor.web import site
from monitor.web.access import Access
from monitor.web.answers import RefusedError, in_thread, json_answer, read_json
from monitor.web.overview.routes import routes as overview_routes
from monitor.web.page import routes as page_routes
from monitor.web.sources import Sources
from tests.status_world import RUNBOOK, TOPIC, World

SETTINGS: dict[str, dict[str, Any]] = {
    "delivery": {"runbook_url": RUNBOOK},
    "kafka": {"topic": TOPIC},
    "http": {"image_link": "https://images.example.org/{id}"},
    "canary": {"seconds": 60, "timeout_seconds": 120},
    "streams": {"limit": 2000},
}
LIMITS = ("The budget of 1 false alert per 2,000,000 requests stands on 50,000 calibration samples.",)


@contextmanager
def served(world: World, overviews: OverviewStore, *, settings: Mapping[str, Any] | None = None) -> Iterator[str]:
    """The address of the site while the context lasts."""
    sources = Sources(
        store=lambda: world.store,
        registry=None,
        evaluator_state=lambda: world.evaluator.state,
        rules=world.rules,
        owned=lambda: dict.fromkeys(world.parts, 0),
        group=world.group,
        version="1.4.0",
        artifact="3f9a1c77d02b",
        calibration_limits=LIMITS,
        settings={**SETTINGS, **(settings or {}), "buckets": {"seconds": world.bucket_ms / 1000}},
        class_name=world.class_name,
        overviews=lambda: overviews,
        receivers={"alertmanager": "http://alertmanager:9093", "webhook": "https://pager.example.org"},
        sinks=lambda: {"alertmanager": SinkStatus(delivered=41), "webhook": SinkStatus(delivered=17)},
    )
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(world, over), daemon=True)
    beat.start()
    server = uvicorn.Server(
        uvicorn.Config(_site(sources, world.store), host=launcher.HOST, port=0, log_level="warning")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the site's server ended while it started"
        assert time.monotonic() < until, "the site's server did not start within 20 seconds"
        time.sleep(0.02)
    try:
        yield f"http://{launcher.HOST}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        over.set()
        server.should_exit = True
        thread.join(20)
        beat.join(20)


def _beat(world: World, over: threading.Event) -> None:
    """A worker reports and judges every few seconds, as long as Redis is there."""
    while not over.wait(2):
        with suppress(StoreError):
            world.judge()


def _site(sources: Sources, store: RedisStore) -> Any:
    """Every folder's routes; those that change alerts stand in for a process that serves them otherwise."""
    found = site.added_routes
    own = lambda: (overview_routes, page_routes, lambda _: handling_routes(store))  # noqa: E731
    site.added_routes = own  # type: ignore[assignment]
    try:
        return site.build_site(sources, Access())
    finally:
        site.added_routes = found


def handling_routes(store: RedisStore) -> Sequence[BaseRoute]:
    """Acknowledgements and mutes, on the store's own functions."""

    async def acknowledge(request: Request) -> Response:
        fingerprint = request.path_params["fingerprint"]
        body = await read_json(request)
        if request.method == "DELETE":
            done = await in_thread(lambda: store.client.hdel(store.keys.acknowledged, fingerprint))
            return json_answer({"undone": bool(done)})
        return json_answer(await _tried(lambda: vars(store.acknowledge(fingerprint, body["author"], body["reason"]))))

    async def mute(request: Request) -> Response:
        body = await read_json(request)
        now = store.now_ms()
        about = {name: body[name] for name in ("stream", "alert", "kind") if name in body}
        ends = now + 60_000 * int(body["minutes"])
        wanted = Mute(secrets.token_hex(4), body["reason"], body["author"], now, ends, **about)
        return json_answer(await _tried(lambda: vars(store.mute(wanted))))

    async def unmute(request: Request) -> Response:
        return json_answer({"ended": await in_thread(lambda: store.unmute(request.path_params["id"]))})

    return [
        Route("/api/v1/alerts/{fingerprint}/acknowledge", acknowledge, methods=["POST", "DELETE"]),
        Route("/api/v1/mutes", mute, methods=["POST"]),
        Route("/api/v1/mutes/{id}", unmute, methods=["DELETE"]),
    ]


async def _tried(call: Any) -> Any:
    try:
        return await in_thread(call)
    except HandlingError as error:
        raise RefusedError(400, str(error)) from None
