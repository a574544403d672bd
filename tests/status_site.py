"""The guarded site on a real port, over a store that a world has filled: what a browser opens."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from prometheus_client import CollectorRegistry

from monitor.alerts.runners import SinkStatus
from monitor.config.sections.http import HttpConfig
from monitor.errors import StoreError
from monitor.store.overviews import OverviewStore
from monitor.testing import launcher
from monitor.web.access import Access
from monitor.web.server import Bounds, listen, make_server, serve
from monitor.web.site import build_site
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
        registry=CollectorRegistry(),
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
    bounds, listening = Bounds(), listen(launcher.HOST, 0)
    server = make_server(build_site(sources, Access()), HttpConfig(), bounds)
    over = threading.Event()
    threads = [
        threading.Thread(target=serve, args=(server, listening, bounds.header_seconds), daemon=True),
        threading.Thread(target=_beat, args=(world, over), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield f"http://{launcher.HOST}:{listening.getsockname()[1]}"
    finally:
        over.set()
        server.should_exit = True
        for thread in threads:
            thread.join(20)
        listening.close()


def _beat(world: World, over: threading.Event) -> None:
    """A worker reports and judges every few seconds, as long as Redis is there."""
    while not over.wait(2):
        with suppress(StoreError):
            world.judge()
