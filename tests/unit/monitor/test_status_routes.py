"""What the status page's addresses answer, behind the guard of the whole site."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from monitor.testing import MemoryStore
from monitor.testing.overviews import MemoryOverviews
from monitor.web.access import Access
from monitor.web.overview.routes import facts_of
from monitor.web.overview.texts import stream_id
from monitor.web.site import build_site
from monitor.web.sources import Sources
from tests.status_world import RUNBOOK, Bench, surging_bench

SETTINGS = {
    "delivery": {"runbook_url": RUNBOOK},
    "buckets": {"seconds": 1.0},
    "kafka": {"topic": "embeddings"},
    "canary": {"seconds": None},
}


@pytest.fixture(scope="module")
def bench() -> Bench:
    return surging_bench()


def client_of(store: MemoryStore, bench: Bench, token: str = "") -> TestClient:
    sources = Sources(
        store=lambda: store,
        registry=None,
        evaluator_state=lambda: None,
        rules=bench.world.rules,
        owned=dict,
        settings=SETTINGS,
        overviews=lambda: MemoryOverviews(store),
        redact=lambda text: text.replace("hunter2", "***"),
    )
    return TestClient(build_site(sources, Access(token=token)), base_url="http://127.0.0.1")


@pytest.fixture
def client(bench: Bench) -> TestClient:
    return client_of(bench.store, bench)


def test_the_overview_is_json_that_no_browser_keeps(client):
    answer = client.get("/api/v1/overview")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["verdict"]["headline"] == "Surge in stream front"
    assert answer.json()["alerts"]["firing"][0]["runbook"] == f"{RUNBOOK}#ood"


def test_a_stream_is_found_by_the_id_that_its_row_gives(client):
    row = client.get("/api/v1/overview", params={"search": "fro", "span": "long"}).json()["streams"]["rows"][0]
    assert client.get(f"/api/v1/streams/{row['id']}").json()["name"] == row["name"] == "front"


@pytest.mark.parametrize("wanted", ["front", "0" * 16, "..%2f..%2fetc", "%00", "x" * 5000])
def test_of_an_unknown_stream_a_sentence_says_where_streams_are_named(client, wanted):
    answer = client.get(f"/api/v1/streams/{wanted}")
    assert answer.status_code == 404
    assert "error" in answer.json()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"sort": "size"}, "sort is 'size', expected one of urgency, rate, name, quiet"),
        ({"span": "year"}, "span is 'year', expected short or long"),
        ({"page": "-1"}, "page is '-1', expected a number from 1"),
        ({"page": "²"}, "page is '²', expected a number from 1"),
        ({"page": "9" * 20}, "expected a number from 1"),
        ({"search": "x" * 201}, "search has 201 characters, expected 200 at most"),
        ({"<b>": ""}, "'<b>' is not known here"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_with_what_would_be_right(client, query, says):
    answer = client.get("/api/v1/overview", params=query)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_without_the_token_nothing_is_told(bench):
    client = client_of(bench.store, bench, token="s3cret")
    for path in ("/api/v1/overview", f"/api/v1/streams/{stream_id('front')}"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"authorization": "Bearer s3cret"}).status_code == 200


def test_if_redis_is_away_the_overview_says_so_and_a_stream_is_refused():
    bench = surging_bench()
    client = client_of(bench.store, bench)
    bench.store.away = True
    answer = client.get("/api/v1/overview")
    assert (answer.status_code, answer.json()["verdict"]["headline"]) == (200, "Redis does not answer")
    assert client.get(f"/api/v1/streams/{stream_id('front')}").status_code == 404  # nothing was ever read


def test_a_process_without_a_reader_serves_no_status():
    bench = Bench()
    sources = Sources(lambda: bench.store, None, lambda: None, bench.world.rules, dict)
    client = TestClient(build_site(sources, Access()), base_url="http://127.0.0.1")
    for path in ("/", "/static/main.js", "/api/v1/overview"):
        assert client.get(path).status_code == 404


def test_settings_that_are_not_given_are_read_as_nothing():
    bench = Bench()
    sources = Sources(lambda: bench.store, None, lambda: None, bench.world.rules, dict, settings=SETTINGS)
    facts = facts_of(sources)
    assert (facts.topics, facts.bucket_ms, facts.canary_seconds, facts.image_link) == (("embeddings",), 1000, 0.0, "")


def test_partitions_of_every_topic_that_is_read_are_shown():
    bench = Bench()
    several = {**SETTINGS, "kafka": {"topics": ["embeddings", "birds"], "topic": ""}}
    sources = Sources(lambda: bench.store, None, lambda: None, bench.world.rules, dict, settings=several)
    assert facts_of(sources).topics == ("embeddings", "birds")
