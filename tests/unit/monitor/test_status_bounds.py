"""How much the status page reads and says at most, how often, and what hostile names do to it: nothing."""

from __future__ import annotations

import json

import pytest

from monitor.store.counts import Example
from monitor.store.handling import Mute
from monitor.store.verdicts import Notice
from monitor.testing.overviews import MemoryOverviews
from monitor.web.overview import points
from monitor.web.overview.desk import Desk
from monitor.web.overview.gathering import Gatherer
from monitor.web.overview.streams import Query
from monitor.web.overview.texts import image_link, stream_id
from tests.status_world import Bench, surging_bench

HOSTILE = [
    "<script>alert(1)</script>",
    "\u202e\x1b[2J\x00\n",
    "x" * 200,
    "../../etc/passwd",
    "\ud800 alone",
    '"}]</style>',
    "größe 😀",
    "",
]


@pytest.fixture
def surging() -> Bench:
    return surging_bench()


# -- bounds ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("span", ["short", "long"])
def test_the_document_stays_small_with_ten_thousand_streams_and_every_alert_at_its_longest(span):
    bench = Bench()
    names = [f"{'n' * 192}-{n:06d}" for n in range(10_000)]
    for first in range(0, 10_000, 1000):
        bench.world.write(1, dict.fromkeys(names[first : first + 1000], 0.0), samples=2)
    bench.clock.advance(10)
    bench.world.judge()
    for n in range(200):
        bench.store.notice(Notice("bad-records", f"{'s' * 190}-{n}", True, "warning", "x" * 2000))
    for n in range(100):
        now = bench.clock.now_ms
        bench.store.mute(Mute(f"m{n}", "r" * 500, "a" * 200, now, now + 60_000, stream="s" * 200))
    bench.store._alerts.update({f"{n}": worst_alert(n) for n in range(50)})
    bench.document()
    while bench.gatherer.unread:
        bench.document()
    desk = Desk(bench.gatherer, bench.facts, monotonic=lambda: 0.0)
    text = desk.overview(Query(span=span))
    found = json.loads(text)
    assert found["streams"]["total"] == 10_000
    assert len(text) < 500_000
    assert len(desk.stream(stream_id(names[0]))) < 20_000


def worst_alert(n: int) -> dict[str, str]:
    worst = [{"id": "i" * 200, "confidence": -1.5, "class": "c" * 200, "partition": "t" * 200, "offset": 2**60}] * 5
    return {
        "fingerprint": f"{n}",
        "status": "firing",
        "severity": "critical",
        "kind": "ood",
        "level": "stream",
        "stream": "s" * 200,
        "samples": "99",
        "flagged": "9",
        "classes": json.dumps(["c" * 200] * 1000),
        "streams": json.dumps(["s" * 200] * 1000),
        "examples": json.dumps(worst * 10),
    }


def test_names_that_senders_chose_come_through_as_they_are_and_nothing_breaks():
    bench = Bench(ids={name: name for name in HOSTILE})
    bench.facts = bench.world.facts(image_link="https://images.example.org/{id}")
    bench.run(30, dict.fromkeys(HOSTILE, 0.0))
    bench.run(30, dict.fromkeys(HOSTILE, 0.6))
    bench.look()
    desk = Desk(bench.gatherer, bench.facts, monotonic=lambda: 0.0)
    found = json.loads(desk.overview(Query()).decode())
    assert {row["name"] for row in found["streams"]["rows"]} == set(HOSTILE)
    for name in HOSTILE:
        one = json.loads(desk.stream(stream_id(name)).decode())
        assert one["name"] == name
        for example in one["examples"]:
            assert example["link"].startswith("https://images.example.org/")
            assert "/" not in example["link"].removeprefix("https://images.example.org/")
    assert len({stream_id(name) for name in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize(
    ("request_id", "expected"),
    [
        ("abc", "https://h/i/abc.png"),
        ("../../x?y#z", "https://h/i/..%2F..%2Fx%3Fy%23z.png"),
        ("@evil.example", "https://h/i/%40evil.example.png"),
        ("\ud800", "https://h/i/%5Cud800.png"),
        ("", ""),
        (".", ""),
        ("..", ""),
        ("x" * 2000, ""),
    ],
)
def test_a_request_id_cannot_lead_anywhere_but_to_its_image(request_id, expected):
    assert image_link("https://h/i/{id}.png", request_id) == expected
    assert image_link("", request_id) == ""


@pytest.mark.parametrize(
    "template",
    ["javascript:alert('{id}')", "//h/{id}", "data:text/html,{id}", "ftp://h/{id}", "/i/{id}", "https://{id}/"],
)
def test_a_link_that_is_not_http_is_no_link(template):
    assert image_link(template, "abc") == ""


# -- how often the store is looked at ----------------------------------------------------------------------------------


class CountingOverviews(MemoryOverviews):
    looks = 0

    def look(self, sinks=(), history=100):
        self.looks += 1
        return super().look(sinks, history)


def test_the_store_is_looked_at_every_few_seconds_at_most_whatever_the_number_of_viewers(surging):
    reader, now = CountingOverviews(surging.store), [0.0]
    desk = Desk(Gatherer(reader, surging.facts), surging.facts, every=3.0, monotonic=lambda: now[0])
    for n in range(20):
        desk.overview(Query(page=n + 1))
        now[0] += 0.1
    assert reader.looks == 1
    assert desk.ready(Query(page=1)) is not None
    assert desk.ready(Query(page=99)) is None
    now[0] = 3.1
    assert desk.ready(Query(page=1)) is None
    desk.overview(Query())
    assert reader.looks == 2


def test_a_judged_bucket_is_read_once_and_a_late_viewer_has_the_past(surging):
    for _ in range(4):
        surging.look()
    assert surging.gatherer.unread == 0
    asked = []
    counts = surging.gatherer.store.counts
    surging.gatherer.store.counts = lambda buckets, most: asked.append(list(buckets)) or counts(buckets, most)
    surging.run(10, {"front": 0.0})
    surging.look()
    last = surging.world.evaluator.state.last_bucket
    assert asked == [list(range(last, last - 10, -1))]
    assert surging.gatherer.unread == 0


def test_a_bucket_that_is_added_again_is_not_counted_again():
    found = points.Points(1000, 5)
    for _ in range(2):
        found.add({4: {("a", 0, 0): 3, ("a", 0, 6): 4}})
    assert found.recent(4999, 10_000).tolist() == [[7, 3]]


def test_only_so_many_points_are_kept_and_streams_that_are_gone_are_forgotten():
    found = points.Points(1000, 5)
    found.add({n: {(f"s{n % 300}", 0, 0): 1} for n in range(20_000)})
    assert found._table.nbytes < 2_000_000
    found.keep(["s1"])
    assert found.streams() == ["s1"]
    assert found.missing(19_999) == 0


def test_examples_are_not_kept_from_one_reading_to_the_next(surging):
    surging.look()
    desk = Desk(surging.gatherer, surging.facts, every=0.0)
    bucket = surging.world.evaluator.state.last_bucket
    surging.store._examples[bucket, "back"] = [Example(-99.0, "newest", 0, surging.world.parts[0], 1)]
    assert json.loads(desk.stream(stream_id("back")))["examples"][0]["id"] == "newest"
