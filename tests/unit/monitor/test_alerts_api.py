"""Alerts over HTTP: as they stand, as they change, and what people do about them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import anyio
import httpx
import pytest
from prometheus_client import CollectorRegistry

from monitor.store.handling import MOST_MUTES
from monitor.store.verdicts import Notice
from monitor.testing import FakeClock, MemoryStore, outage
from monitor.web.access import Access
from monitor.web.alerts import events
from monitor.web.alerts.routes import routes
from monitor.web.site import build_site
from monitor.web.sources import Sources

TROUBLE = Notice("stalled", "judging", True, "warning", "Nothing has been judged for two minutes.")
JSON = {"content-type": "application/json"}
BY = {"author": "anna", "reason": "deploying"}


class World:
    """A store in memory behind the whole site."""

    def __init__(self, monkeypatch) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.ends = False
        monkeypatch.setattr("monitor.web.site.added_routes", lambda: [routes])
        sources = Sources(
            store=lambda: self.store,
            registry=CollectorRegistry(),
            evaluator_state=lambda: None,
            rules=cast("Any", None),
            owned=dict,
            ends=lambda: self.ends,
            settings={"delivery": {"runbook_url": "https://wiki.example.com/runbook"}},
        )
        self.site = build_site(sources, Access())

    def notice(self, subject="judging", **more) -> str:
        self.store.notice(replace(TROUBLE, subject=subject, **more))
        return next(a["fingerprint"] for a in self.store.alerts() if a["subject"] == subject)

    def ask(self, method: str, path: str, **given) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.site, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, **given)

        return anyio.run(once)

    def get(self, path: str, **given) -> Any:
        answer = self.ask("GET", path, **given)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def change(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self.ask(method, path, content=json.dumps({} if body is None else body), headers=JSON)


@pytest.fixture
def world(monkeypatch) -> World:
    return World(monkeypatch)


def test_alerts_are_shown_as_they_stand_with_nothing_left_to_parse(world):
    world.notice("a")
    world.notice("b")
    world.notice("b", firing=False)
    (alert,) = world.get("/api/v1/alerts")["alerts"]
    assert (alert["subject"], alert["status"], alert["name"]) == ("a", "firing", "MonitorStalled")
    assert alert["summary"] == TROUBLE.summary
    assert alert["started_at"].endswith("Z")
    assert alert["ended_at"] is None
    assert alert["rate"] is None
    assert alert["classes"] == []
    assert (alert["muted"], alert["acknowledged"]) == (None, None)
    assert {a["subject"] for a in world.get("/api/v1/alerts?status=all")["alerts"]} == {"a", "b"}
    assert [a["subject"] for a in world.get("/api/v1/alerts?status=resolved")["alerts"]] == ["b"]
    assert world.get("/api/v1/alerts?kind=ood")["alerts"] == []


def test_what_is_left_out_by_a_limit_is_counted(world):
    for n in range(5):
        world.notice(f"s{n}")
    found = world.get("/api/v1/alerts?limit=2")
    assert (len(found["alerts"]), found["found"]) == (2, 5)


def test_one_alert_is_shown_with_its_history(world):
    name = world.notice("a")
    world.notice("a", severity="critical")
    world.notice("b")
    found = world.get(f"/api/v1/alerts/{name}")
    assert found["alert"]["severity"] == "critical"
    assert [e["change"] for e in found["history"]] == ["updated", "raised"]
    assert world.ask("GET", "/api/v1/alerts/unknown").status_code == 404
    assert len(world.get("/api/v1/history")["history"]) == 3


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/alerts?status=odd",
        "/api/v1/alerts?limit=0",
        "/api/v1/alerts?limit=1001",
        "/api/v1/alerts?limit=-1",
        "/api/v1/alerts?odd=1",
        "/api/v1/history?limit=%C2%B2",
        "/api/v1/events?after=yesterday",
        "/api/v1/mutes?odd=1",
    ],
)
def test_a_question_that_makes_no_sense_is_refused_in_a_sentence(world, path):
    answer = world.ask("GET", path)
    assert answer.status_code == 400
    assert "expected" in answer.json()["error"]


def test_an_alert_is_taken_on_and_given_back(world):
    name = world.notice("a")
    path = f"/api/v1/alerts/{name}/acknowledge"
    assert world.change("POST", path, BY).status_code == 200
    (alert,) = world.get("/api/v1/alerts")["alerts"]
    assert alert["acknowledged"]["author"] == "anna"
    assert "Acknowledged by anna" not in alert["summary"]
    assert world.change("DELETE", path).status_code == 200
    assert world.get("/api/v1/alerts")["alerts"][0]["acknowledged"] is None
    assert world.change("DELETE", path).status_code == 404
    assert world.change("POST", "/api/v1/alerts/unknown/acknowledge", BY).status_code == 409
    world.notice("a", firing=False)
    assert "fires no more" in world.change("POST", path, BY).json()["error"]


def test_a_mute_is_set_shown_and_ended(world):
    world.notice("a")
    done = world.change("POST", "/api/v1/mutes", {"kind": "stalled", "minutes": 30, **BY})
    assert done.status_code == 201
    (mute,) = world.get("/api/v1/mutes")["mutes"]
    assert (mute["id"], mute["state"], mute["kind"]) == (done.json()["id"], "in force", "stalled")
    assert world.get("/api/v1/alerts")["alerts"][0]["muted"]["author"] == "anna"
    assert world.change("DELETE", f"/api/v1/mutes/{mute['id']}").status_code == 200
    assert world.get("/api/v1/mutes")["mutes"][0]["state"] == "over"
    assert world.get("/api/v1/alerts")["alerts"][0]["muted"] is None
    assert world.change("DELETE", f"/api/v1/mutes/{mute['id']}").status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"stream": "a"},
        {"stream": "a", "minutes": 5, "author": "anna"},
        {"minutes": 5, **BY},
        {"stream": "a", "minutes": 0, **BY},
        {"stream": "a", "minutes": -1, **BY},
        {"stream": "a", "minutes": 10_081, **BY},
        {"stream": "a", "minutes": True, **BY},
        {"stream": "a", "minutes": "5", **BY},
        {"stream": 5, "minutes": 5, **BY},
        {"stream": "a", "minutes": 5, "odd": 1, **BY},
        {"stream": "a", "minutes": 5, "author": "anna", "reason": ""},
        {"stream": "a", "minutes": 5, "author": "an\nna", "reason": "x"},
        {"stream": "a", "minutes": 5, "author": "\ud800", "reason": "x"},
    ],
)
def test_a_mute_that_may_not_be_is_refused_and_leaves_nothing(world, wrong):
    answer = world.change("POST", "/api/v1/mutes", wrong)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert world.get("/api/v1/mutes")["mutes"] == []


@pytest.mark.parametrize("minutes", ["NaN", "Infinity", "1e400"])
def test_minutes_that_are_no_number_are_refused(world, minutes):
    body = f'{{"stream": "a", "author": "a", "reason": "r", "minutes": {minutes}}}'
    assert world.ask("POST", "/api/v1/mutes", content=body, headers=JSON).status_code == 400


def test_more_mutes_than_can_be_overlooked_are_refused(world):
    codes = [
        world.change("POST", "/api/v1/mutes", {"stream": f"s{n}", "minutes": 5, **BY}).status_code
        for n in range(MOST_MUTES + 1)
    ]
    assert codes == [201] * MOST_MUTES + [409]


def test_while_redis_is_away_everything_is_a_503_with_a_sentence(world):
    with outage(world.store):
        for path in ("/api/v1/alerts", "/api/v1/alerts/x", "/api/v1/history", "/api/v1/mutes", "/api/v1/events"):
            answer = world.ask("GET", path)
            assert answer.status_code == 503
            assert answer.json()["error"]
            assert "retry-after" in answer.headers
        assert world.change("POST", "/api/v1/mutes", {"stream": "a", "minutes": 5, **BY}).status_code == 503


# -- events ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def listening(world, path="/api/v1/events", headers=()):
    """A client: its status, and a function that gives the text so far once something is in it."""
    texts: list[str] = []
    status: list[int] = []
    left = anyio.Event()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path.partition("?")[0], "raw_path": path.encode(), "query_string": path.partition("?")[2].encode(),
        "headers": [(b"host", b"127.0.0.1"), *headers], "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
        "state": {},
    }  # fmt: skip

    async def receive():
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            status.append(message["status"])
        else:
            texts.append(message.get("body", b"").decode())

    async def holds(what: str) -> str:
        with anyio.fail_after(20):
            while what not in "".join(texts):
                await anyio.sleep(0.01)
        return "".join(texts)

    async def answer():
        await world.site(scope, receive, send)
        texts.append("-- over --")

    async with anyio.create_task_group() as group:
        group.start_soon(answer)
        try:
            yield status, holds
        finally:
            left.set()


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(events, "EVERY_SECONDS", 0.01)


def test_a_client_hears_of_what_happens_from_now_on_and_goes_on_where_it_was(world):
    world.notice("before")

    async def listen():
        async with listening(world) as (_, holds):
            await holds("retry: 2000")
            world.notice("a")
            text = await holds('"subject": "a"')
            assert "before" not in text
            assert text.count("event: transition") == 1
            last = next(line[4:] for line in text.splitlines() if line.startswith("id: "))
        world.notice("b")
        async with listening(world, headers=[(b"last-event-id", last.encode())]) as (_, holds):
            text = await holds('"subject": "b"')
            assert '"subject": "a"' not in text
        async with listening(world, "/api/v1/events?after=0-0") as (_, holds):
            assert (await holds('"subject": "b"')).count("event: transition") == 3

    anyio.run(listen)


def test_redis_away_is_told_once_and_so_is_its_return_and_nothing_is_missed(world):
    async def listen():
        async with listening(world) as (_, holds):
            await holds("retry")
            with outage(world.store):
                await holds("event: away")
                await anyio.sleep(0.1)
            world.notice("a")
            text = await holds('"subject": "a"')
            assert (text.count("event: away"), text.count("event: answers")) == (1, 1)

    anyio.run(listen)


def test_clients_beyond_the_bound_are_told_to_come_back_and_one_that_leaves_makes_room(world, monkeypatch):
    monkeypatch.setattr(events, "MOST_CLIENTS", 1)

    async def listen():
        async with listening(world) as (_, holds):
            await holds("retry")
            async with listening(world) as (status, more):
                await more("clients listen already")
                assert status == [503]
        async with listening(world) as (status, holds):
            await holds("retry")
            assert status == [200]

    anyio.run(listen)


def test_a_process_that_is_being_stopped_lets_its_clients_go(world):
    async def listen():
        with anyio.fail_after(20):
            async with listening(world) as (_, holds):
                await holds("retry")
                world.ends = True
                await holds("-- over --")

    anyio.run(listen)


def test_a_client_that_takes_nothing_is_given_up(world, monkeypatch):
    monkeypatch.setattr(events, "SEND_SECONDS", 0.05)
    hung: list[bool] = []

    async def listen():
        async def receive():
            await anyio.sleep_forever()

        async def send(message):
            if message["type"] == "http.response.body":
                hung.append(True)
                await anyio.sleep_forever()

        stream = events.EventStream("0-0", lambda _after: anyio.sleep(0), lambda: False)
        with anyio.fail_after(20):
            await stream({"type": "http"}, receive, send)

    anyio.run(listen)
    assert hung == [True]
