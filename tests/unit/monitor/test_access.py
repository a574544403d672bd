"""Who may ask, and what every answer carries, whatever the route."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import anyio
import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from monitor.testing.store import MemoryStore
from monitor.web.access import OPEN_PATHS, RUNNING, Access, Guard
from monitor.web.answers import BODY_BYTES, json_answer, read_json
from monitor.web.site import build_site
from monitor.web.sources import Sources

TOKEN = "0123456789abcdef"
JSON = {"content-type": "application/json"}


async def say_hello(_request):
    return PlainTextResponse("hello")


async def take(request):
    return json_answer(await read_json(request))


async def fail(_request):
    raise RuntimeError(f"the token is {TOKEN}")


ROUTES = [
    Route("/", say_hello),
    Route("/take", take, methods=["POST"]),
    Route("/fail", fail),
]


@pytest.fixture(autouse=True)
def _routes_of_ours(monkeypatch):
    monkeypatch.setattr("monitor.web.site.added_routes", lambda: [lambda _sources: ROUTES])


def site(access: Access):
    sources = Sources(
        store=MemoryStore,
        registry=CollectorRegistry(),
        evaluator_state=lambda: None,
        rules=cast("Any", None),
        owned=dict,
        redact=lambda text: text.replace(TOKEN, "***"),
    )
    return build_site(sources, access)


def ask(access: Access, method: str = "GET", path: str = "/", host: str = "127.0.0.1:9464", **given) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app=site(access), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, **given)

    return anyio.run(once)


def basic(password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Token {TOKEN}"},
        {"authorization": TOKEN},
        {"authorization": "Basic !!!"},
        {"authorization": "Bearer \xe4"},
        basic("wrong"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/nothing", "/fail", "/-/healthy/", "//-/healthy"])
def test_without_the_token_nothing_is_answered_but_probes(headers, path):
    raw = [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
    answer = ask(Access(TOKEN), path=path, headers=raw)
    assert answer.status_code == 401
    assert "http.token" in answer.json()["error"]
    assert "Bearer" in answer.headers["www-authenticate"]
    for probe in OPEN_PATHS:
        assert ask(Access(TOKEN), path=probe, headers=raw).status_code == 200
        assert ask(Access(TOKEN), "POST", probe, headers=raw).status_code == 401


@pytest.mark.parametrize("headers", [{"authorization": f"Bearer {TOKEN}"}, basic(TOKEN)])
def test_with_the_token_it_is(headers):
    assert ask(Access(TOKEN), headers=headers).text == "hello"
    assert ask(Access(TOKEN), headers=headers, host="anything.example.com").text == "hello"


def test_two_tokens_in_one_request_are_none():
    twice = [("authorization", "Bearer wrong"), ("authorization", f"Bearer {TOKEN}")]
    assert ask(Access(TOKEN), headers=twice).status_code == 401


@pytest.mark.parametrize("host", ["rebound.example.com", "rebound.example.com:9464", "127.0.0.1.example.com", "[", ""])
def test_without_a_token_a_name_that_is_not_ours_leads_nowhere(host):
    answer = ask(Access(), headers={"host": host})
    assert answer.status_code == 421
    assert "http.allowed_hosts" in answer.json()["error"]
    assert ask(Access(), path="/-/ready", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:9464", "[::1]:9464", "Monitor.Example.com", "monitor.example.com.:1"]
)
def test_addresses_and_names_in_the_settings_lead_here(host):
    assert ask(Access(hosts=frozenset({"monitor.example.com"})), headers={"host": host}).text == "hello"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (JSON, 200),
        (JSON | {"origin": "http://127.0.0.1:9464"}, 200),
        ({"content-type": "Application/JSON; charset=utf-8"}, 200),
        (JSON | {"origin": "http://evil.example.com"}, 403),
        (JSON | {"origin": "null"}, 403),
        (JSON | {"origin": "http://127.0.0.1:1"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
    ],
)
def test_what_changes_something_comes_as_json_and_from_no_other_site(headers, status):
    answer = ask(Access(), "POST", "/take", content=b'{"a": 1}', headers=headers)
    assert answer.status_code == status
    with_token = {**headers, "authorization": f"Bearer {TOKEN}"}
    assert ask(Access(TOKEN), "POST", "/take", content=b'{"a": 1}', headers=with_token).status_code == status


def test_what_changes_something_needs_a_name_that_is_ours_even_with_the_token():
    headers = {**JSON, "authorization": f"Bearer {TOKEN}", "host": "rebound.example.com"}
    assert ask(Access(TOKEN), "POST", "/take", content=b"{}", headers=headers).status_code == 421


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 200),
        (b"[]", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 10_000, 400),
        (b" " * (BODY_BYTES + 1), 413),
    ],
)
def test_a_body_is_a_small_json_object(body, status):
    answer = ask(Access(), "POST", "/take", content=body, headers=JSON)
    assert answer.status_code == status
    assert set(answer.json()) == (set() if status == 200 else {"error"})


def test_a_body_without_a_length_is_bounded_too():
    async def pieces():
        for _ in range(100):
            yield b" " * 1000

    assert ask(Access(), "POST", "/take", content=pieces(), headers=JSON).status_code == 413


@pytest.mark.parametrize("path", ["/", "/nothing", "/fail", "/-/ready"])
def test_every_answer_says_that_nothing_foreign_may_be_loaded(path):
    headers = ask(Access(), path=path).headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"


def test_a_fault_is_a_sentence_without_secrets_and_one_traceback_a_minute(caplog):
    answer = ask(Access(), path="/fail")
    assert answer.status_code == 500
    assert TOKEN not in answer.text
    assert set(json.loads(answer.text)) == {"error"}
    assert len([r for r in caplog.records if r.exc_info]) == 1


def test_more_requests_than_can_be_worked_on_are_told_to_come_back_and_probes_are_not():
    async def crowd() -> tuple[list[int], int]:
        hold, codes = anyio.Event(), list[int]()

        async def wait(_request):
            await hold.wait()
            return PlainTextResponse("done")

        app = Guard(Starlette(routes=[Route("/", wait), Route("/-/healthy", say_hello)]), Access())
        transport = httpx.ASGITransport(app=app)

        async def one() -> None:
            codes.append((await client.get("/")).status_code)
            if len(codes) == 5:  # those that were refused have been told; the others still wait
                probes.append((await client.get("/-/healthy")).status_code)
                hold.set()

        probes: list[int] = []
        client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
        async with client, anyio.create_task_group() as group:
            group.cancel_scope.deadline = anyio.current_time() + 10
            for _ in range(RUNNING + 5):
                group.start_soon(one)
        return codes, probes[0]

    codes, probe = anyio.run(crowd)
    assert sorted(codes) == [200] * RUNNING + [503] * 5
    assert probe == 200
