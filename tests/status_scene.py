"""A night on which somebody is woken: half an hour of usual traffic, then a surge that is under way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from monitor.store.handling import Mute
from monitor.store.protocol import Store
from monitor.store.verdicts import Notice
from tests.status_world import GROUP, World

STREAMS = ("camera-north", "camera-south", "camera-gate", "uploads-web", "uploads-app", "partner-feed", "kiosk-12")
SURGING = "camera-north"
STEP = 5
"""Buckets from one with input to the next."""


def night(
    store: Store, *, seconds: int = 2100, surge: int = 240, group: str = GROUP, ids: Mapping[str, str] | None = None
) -> World:
    """The world at the end of it, a surge of one stream having begun ``surge`` seconds ago.

    Args:
        store: an empty one.
        seconds: how long the traffic has come.
        surge: how long ago the surge began.
        group: of the store.
        ids: what the requests of a stream are called.
    """
    now = store.now_ms() // 1000
    names = {stream: f"req-{stream}" for stream in STREAMS} | dict(ids or {})
    world = World(store, now - seconds, ids=names, seed=4, group=group, requests=2_000_000)
    usual = dict.fromkeys((*STREAMS, *(ids or {})), 0.0)
    while world.bucket < now - surge:  # the same draws at any time of day
        busy = 30 + 18 * math.sin((now - world.bucket) / 300)
        world.write(1, usual, samples=round(busy), step=STEP)
        if (now - world.bucket) % 300 < STEP:
            world.judge()
    for part in range(surge // STEP):
        share = min(0.45, 0.06 * (part + 1))
        world.write(1, {**usual, SURGING: share, "partner-feed": 0.004}, samples=40, into=1, step=STEP)
    store.mark("canary_first")
    store.mark("canary_sent")
    store.mark("canary_seen")
    world.judge()
    return world


def troubled(store: Store) -> None:
    """A trouble of the monitor itself, and a mute."""
    late = Notice("bad-records", "embeddings/1", True, "warning")
    words = (
        "12 % of the recent records of embeddings/1 cannot be scored (wrong-width): mend the sender that the dead "
        "letters name."
    )
    store.notice(replace(late, summary=words))
    now = store.now_ms()
    store.mute(
        Mute("m1", "the partner rolls out a new encoder tonight", "Mira", now, now + 7_200_000, stream="partner-feed")
    )
