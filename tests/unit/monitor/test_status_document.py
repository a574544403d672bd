"""The document behind the status page: its figures against a literal oracle, and what it says first."""

from __future__ import annotations

import json
import math
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alerts.layout import ALERT_NAMES
from monitor.errors import StoreError
from monitor.store.counts import OVERFLOW
from monitor.store.handling import Mute
from monitor.store.verdicts import Notice
from monitor.web.overview import alerts, streams
from monitor.web.overview.desk import Desk
from monitor.web.overview.streams import Query
from monitor.web.overview.texts import stream_id
from tests.oracle import literal_overview as literal
from tests.status_world import BEGIN, RUNBOOK, Bench, surging_bench


def row_of(found: dict, name: str) -> dict:
    return next(row for row in found["streams"]["rows"] if row["name"] == name)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


@pytest.fixture
def surging() -> Bench:
    return surging_bench()


# -- figures, against the oracle ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("span", ["short", "long"])
@pytest.mark.parametrize("bucket_ms", [1000, 400, 15_000])
def test_flag_rates_over_time_are_those_of_the_counts_with_their_intervals(span, bucket_ms):
    bench = Bench(bucket_ms=bucket_ms)
    bench.world.bucket = BEGIN * 1000 // bucket_ms
    for share in (0.0, 0.3, 0.0, 0.1):
        bench.world.write(37, {"a": share, "b": 0.0}, step=3)
        bench.clock.advance(37 * 3 * bucket_ms / 1000)
        bench.world.judge()
    found = bench.document(span=span)
    last = bench.world.evaluator.state.last_bucket
    counted = {b: bench.store.counts(b) for b in range(BEGIN * 1000 // bucket_ms, last + 1)}
    for name in ("a", "b"):
        series = row_of(found, name)["series"]
        step = round(1000 * series["step_seconds"])
        assert step % bucket_ms == 0
        seen = 0
        for i, samples in enumerate(series["samples"]):
            first = ms(series["from"]) + i * step
            flags = bench.world.rules.flag_cells
            n, flagged = literal.between(counted, name, first, first + step, bucket_ms, flags)
            assert (samples, series["flagged"][i]) == (n, flagged)
            seen += n
            if not n:
                assert (series["low"][i], series["high"][i]) == (None, None)
                continue
            low, high = literal.clopper_pearson(n, flagged)
            assert series["low"][i] == pytest.approx(1000 * low, abs=0.051)
            assert series["high"][i] == pytest.approx(1000 * high, abs=0.051)
        assert seen > 300
        newest = ms(series["from"]) + len(series["samples"]) * step
        assert newest - step <= bench.clock.now_ms - 1 < newest


def test_the_rate_of_a_row_is_that_of_the_last_ten_minutes(surging):
    found = surging.document()
    now, step = surging.clock.now_ms, surging.gatherer.points.step_ms
    end = ((now - 1) // step + 1) * step
    for name in ("front", "back", "side"):
        rate = row_of(found, name)["rate"]
        n, flagged = surging.between(name, end - 60 * step, end)
        low, high = literal.clopper_pearson(n, flagged)
        assert (rate["samples"], rate["flagged"]) == (n, flagged)
        assert (rate["rate"], rate["low"], rate["high"]) == pytest.approx((flagged / n, low, high), abs=6e-6)
    assert found["streams"]["rate_seconds"] == 600


def test_what_was_counted_and_is_not_judged_yet_is_no_rate(surging):
    before = row_of(surging.document(), "front")["rate"]
    surging.world.write(1, {"front": 1.0})
    assert row_of(surging.document(), "front")["rate"] == before


def test_evidence_stands_against_what_the_budget_asks_for(surging):
    found = surging.document()
    state = surging.world.evaluator.state
    needed = math.log10(2 * 100_000)  # two levels share the budget
    for name in ("front", "back", "side"):
        evidence = row_of(found, name)["evidence"]
        log10 = state.log_evidence((name, None)) / math.log(10)
        assert evidence["needed_log10"] == pytest.approx(needed, abs=5e-4)
        if math.isfinite(log10):
            assert evidence["log10"] == pytest.approx(log10, abs=5e-4)
            assert evidence["progress"] == pytest.approx(min(1, max(0, log10 / needed)), abs=1e-3)
        else:
            assert (evidence["log10"], evidence["progress"]) == (None, 0)
    total = found["budget"]["everything"]
    assert total["needed_log10"] == pytest.approx(needed, abs=5e-4)
    assert total["log10"] == pytest.approx(state.log_evidence((None, None)) / math.log(10), abs=5e-4)


def test_what_is_spent_of_the_budget_is_what_every_judged_input_cost(surging):
    budget = surging.document()["budget"]
    samples = {level: surging.world.evaluator.state.samples[level] for level in ("stream", "everything")}
    assert budget["requests"] == 100_000
    assert budget["spent"] == pytest.approx(literal.spent(samples, 100_000), rel=1e-4)
    assert budget["spent"] > 0.05
    assert budget["raised"] == 1
    assert {row["level"]: row["samples"] for row in budget["levels"]} == samples
    assert [row["needed"] for row in budget["levels"]] == [200_000, 200_000]


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 1)), min_size=1, max_size=20))
@settings(deadline=None, max_examples=50)
def test_intervals_of_many_rates_are_those_of_one_by_one(drawn):
    samples = np.array([n for n, _ in drawn])
    flagged = np.array([round(n * share) for n, share in drawn])
    low, high = streams.intervals(samples, flagged)
    for i in range(len(drawn)):
        expected = literal.clopper_pearson(int(samples[i]), int(flagged[i])) if samples[i] else (0.0, 1.0)
        assert (low[i], high[i]) == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
@settings(deadline=None, max_examples=100)
def test_the_least_rate_that_sorts_streams_is_wilsons(drawn):
    n, flagged = drawn
    assert streams._least(n, flagged) == pytest.approx(literal.wilson_low(n, flagged), abs=1e-5)


# -- alerts ------------------------------------------------------------------------------------------------------------


def test_a_surge_is_told_with_everything_that_an_operator_needs(surging):
    surging.facts = surging.world.facts(image_link="https://images.example.org/{id}.png")
    found = surging.document()
    (alert,) = found["alerts"]["firing"]
    stored = next(a for a in surging.store.alerts() if a["status"] == "firing")
    assert (alert["kind"], alert["about"], alert["stream_id"]) == ("ood", "front", stream_id("front"))
    assert alert["onset_at"] == stored["onset_at"]
    begin = (BEGIN + 120) * 1000
    assert abs(ms(alert["onset_at"]) - begin) < 10_000
    assert (alert["rate"]["samples"], alert["rate"]["flagged"]) == (int(stored["samples"]), int(stored["flagged"]))
    assert alert["classes"][0]["class"] == "cat"
    assert alert["classes"][0]["low"] > 0.05
    assert alert["runbook"] == f"{RUNBOOK}#ood"
    assert alert["history"][0]["change"] in ("updated", "raised")
    assert alert["history"][-1]["change"] == "raised"
    worst = json.loads(stored["examples"])
    assert [e["id"] for e in alert["examples"]] == [e["id"] for e in worst][:5]
    assert alert["examples"][0]["link"] == f"https://images.example.org/{worst[0]['id']}.png"
    assert found["verdict"]["findings"][0]["title"] == alert["title"] == "Surge in stream front"
    assert found["verdict"]["level"] == "alarm"
    assert found["verdict"]["headline"] == "Surge in stream front"
    assert found["verdict"]["since"] == alert["onset_at"]
    assert found["verdict"]["findings"][0]["to_do"]
    assert found["streams"]["rows"][0]["name"] == "front"
    assert row_of(found, "front")["since"] == alert["onset_at"]


def test_the_way_to_the_end_of_a_surge_is_shown_and_then_nothing_fires(surging):
    shares = {"front": 0.0, "back": 0.0, "side": 0.0}
    before = surging.document()["alerts"]["firing"][0]["resolving"]
    surging.run(10, shares)
    held = surging.world.evaluator.state.alerts["front", "ood"]
    during = surging.document()["alerts"]["firing"][0]["resolving"]
    assert during == pytest.approx(held.cusum / math.log(surging.world.rules.alerts.resolve_after), abs=1e-4)
    assert 0 <= before < during < 1
    surging.run(120, shares)
    found = surging.document()
    assert found["alerts"]["firing"] == []
    assert found["alerts"]["recent"][0]["change"] == "resolved"
    assert (found["verdict"]["level"], found["verdict"]["headline"]) == ("ok", "No surge")


def test_who_took_an_alert_on_is_told_and_the_page_calms_down(surging):
    fingerprint = surging.document()["alerts"]["firing"][0]["fingerprint"]
    surging.store.acknowledge(fingerprint, "anna", "rolling back")
    found = surging.document()
    (alert,) = found["alerts"]["firing"]
    assert (alert["handled"], alert["muted"]) == (True, None)
    assert (alert["acknowledged"]["by"], alert["acknowledged"]["reason"]) == ("anna", "rolling back")
    assert found["verdict"]["level"] == "handled"


def test_mutes_are_listed_with_what_they_cover(surging):
    now = surging.clock.now_ms
    surging.store.mute(Mute("m1", "a deploy", "anna", now, now + 60_000, stream="front"))
    surging.store.mute(Mute("m2", "noise", "bert", now, now + 90_000, kind="stalled"))
    found = surging.document()
    assert found["mutes"] == [
        {"id": "m1", "stream": "front", "stream_id": stream_id("front"), "by": "anna", "reason": "a deploy"}
        | {"until": "2023-11-14T22:17:20.000Z"},
        {"id": "m2", "kind": "stalled", "by": "bert", "reason": "noise", "until": "2023-11-14T22:17:50.000Z"},
    ]
    (alert,) = found["alerts"]["firing"]
    assert (alert["muted"]["id"], alert["handled"], alert["acknowledged"]) == ("m1", True, None)
    surging.clock.advance(61)
    assert [m["id"] for m in surging.document()["mutes"]] == ["m2"]


def test_a_stream_without_a_name_is_not_taken_for_everything_together():
    facts = Bench().facts
    nameless = alerts.brief({"kind": "ood", "level": "stream", "stream": ""}, facts)
    together = alerts.brief({"kind": "ood", "level": "everything", "stream": ""}, facts)
    assert (nameless["about"], nameless["stream_id"]) == ("the stream without a name", stream_id(""))
    assert (together["about"], together["stream_id"]) == ("everything together", "")


def test_surges_come_before_what_blinds_the_monitor_and_both_before_the_rest(surging):
    surging.store.notice(Notice("streams", "limit", True, "warning", "Too many streams."))
    surging.store.notice(Notice("stalled", "redis", True, "critical", "Redis is full."))
    verdict = surging.document()["verdict"]
    assert [f["level"] for f in verdict["findings"]] == ["alarm", "blind", "attention"]
    assert verdict["findings"][1]["runbook"] == f"{RUNBOOK}#stalled-redis"
    assert verdict["more"] == 0


def test_what_the_monitor_says_of_itself_is_told_in_its_own_words_with_a_title_for_people(surging):
    surging.store.notice(Notice("stalled", "redis", True, "critical", "Redis is full: free memory."))
    finding = surging.document()["verdict"]["findings"][1]
    assert (finding["title"], finding["text"]) == ("A surge may go unnoticed (redis)", "Redis is full: free memory.")
    told = {"ood", "silence", "drift"} | set(alerts.TITLES)
    assert set(ALERT_NAMES) <= told, "a kind of alert has no title for people"
    assert alerts.title({"kind": "disk-full", "subject": "{about}"}) == "MonitorDiskFull: {about}"


def test_what_is_taken_care_of_comes_after_what_is_not(surging):
    surging.store.notice(Notice("bad-records", "t/0", True, "warning", "Many."))
    first, second = surging.document()["alerts"]["firing"]
    assert (first["kind"], second["kind"]) == ("ood", "bad-records")
    surging.store.acknowledge(first["fingerprint"], "anna", "at it")
    assert [a["kind"] for a in surging.document()["alerts"]["firing"]] == ["bad-records", "ood"]
    assert [f["level"] for f in surging.document()["verdict"]["findings"]] == ["attention", "handled"]


def test_many_alerts_are_counted_and_only_some_are_shown(surging):
    for n in range(80):
        surging.store.notice(Notice("bad-records", f"{n}", True, "warning", "x" * 500))
    found = surging.document()
    assert found["alerts"]["total"] == 81
    assert len(found["alerts"]["firing"]) == alerts.MOST
    assert len(found["verdict"]["findings"]) + found["verdict"]["more"] == 81


def test_examples_that_cannot_be_numbers_do_not_break_the_document(surging):
    alert = next(a for a in surging.store._alerts.values() if a["status"] == "firing")
    alert["examples"] = '[{"id": "r", "confidence": NaN}, 5, {"id": 7, "confidence": Infinity}]'
    alert["classes"], alert["streams"], alert["samples"] = "{", "[1, null]", "many"
    (shown,) = surging.document()["alerts"]["firing"]
    assert [(e["id"], e["confidence"]) for e in shown["examples"]] == [("r", None), ("7", None)]


# -- streams -----------------------------------------------------------------------------------------------------------


def test_streams_are_sorted_searched_and_paged():
    bench = Bench()
    names = {f"stream-{n:02d}": 0.0 for n in range(60)}
    bench.run(10, names, samples=5)
    first = bench.document(sort="name")["streams"]
    assert (first["total"], first["matching"], first["page"], first["pages"]) == (60, 60, 1, 3)
    assert [r["name"] for r in first["rows"]] == sorted(names)[:25]
    assert [r["name"] for r in bench.document(sort="name", page=3)["streams"]["rows"]] == sorted(names)[50:]
    assert bench.document(sort="name", page=999)["streams"]["page"] == 3
    assert [r["name"] for r in bench.document(search="AM-07")["streams"]["rows"]] == ["stream-07"]
    assert bench.document(search="nothing")["streams"]["rows"] == []


def test_by_rate_a_stream_with_few_inputs_does_not_lead_by_chance():
    bench = Bench()
    bench.run(100, {"busy": 0.5})
    bench.world.write(1, {"rare": 1.0}, samples=1)
    bench.clock.advance(1)
    bench.world.judge()
    assert [r["name"] for r in bench.document(sort="rate")["streams"]["rows"]] == ["busy", "rare"]


def test_by_quiet_those_lead_that_nothing_came_from_for_longest():
    bench = Bench()
    bench.run(10, {"a": 0.0, "b": 0.0})
    bench.run(10, {"b": 0.0})
    assert [r["name"] for r in bench.document(sort="quiet")["streams"]["rows"]] == ["a", "b"]


def test_one_stream_is_told_with_its_classes_and_its_worst_requests(surging):
    desk = Desk(surging.gatherer, surging.facts, monotonic=lambda: 0.0)
    found = json.loads(desk.stream(stream_id("front")))
    assert (found["name"], found["alert"]) == ("front", "warning") or found["alert"] == "critical"
    assert {c["class"] for c in found["classes"]} == {"aeroplane", "bird", "cat"}
    latest = surging.world.evaluator.state.last_bucket
    worst = sorted(
        (e for b in range(latest, latest - 20, -1) for e in surging.store.examples(b, "front")),
        key=lambda e: e.confidence,
    )
    assert [e["id"] for e in found["examples"]] == [e.id for e in worst][:5]
    assert desk.stream("0" * 16) is None


def test_streams_beyond_the_limit_are_shown_as_one_and_a_canary_never():
    bench = Bench()
    bench.run(10, {"a": 0.0, OVERFLOW: 0.0, "__canary__0123": 0.0})
    bench.store._sums["overflow"] = 7
    rows = bench.document()["streams"]["rows"]
    assert {row["shown"] for row in rows} == {"a", "streams beyond the limit, together"}


# -- the group ---------------------------------------------------------------------------------------------------------


def test_partitions_are_listed_with_their_lag_the_furthest_behind_first(surging):
    surging.world.report(lag=[3, 900])
    found = surging.document()["partitions"]
    assert (found["total"], found["unread"], found["lag"]) == (2, 0, 903)
    assert [(row["name"], row["lag"]) for row in found["rows"]] == [("embeddings/1", 900), ("embeddings/0", 3)]
    assert found["rows"][0]["behind_since"]
    surging.clock.advance(16)
    assert surging.document()["partitions"]["unread"] == 2


def test_without_a_worker_the_page_says_so_first(surging):
    surging.clock.advance(16)
    verdict = surging.document()["verdict"]
    assert [f["title"] for f in verdict["findings"]][:2] == ["Surge in stream front", "No worker runs"]
    assert surging.document()["workers"] == {"total": 0, "rows": []}


def test_inputs_that_nobody_judges_are_told():
    bench = Bench()
    bench.run(20, {"a": 0.0})
    bench.world.evaluator.release()
    bench.world.write(1, {"a": 0.0})
    bench.clock.advance(30)
    bench.world.report()
    found = bench.document()
    assert found["verdict"]["headline"] == "Nobody judges"
    assert found["judging"]["waiting_seconds"] == 30.0
    assert found["judging"]["holder"] == ""


def test_the_canary_is_late_only_if_it_was_not_seen_in_time():
    bench = Bench()
    bench.facts = bench.world.facts(canary_seconds=60, canary_timeout_seconds=30)
    bench.store.mark("canary_first")
    bench.clock.advance(89)
    assert bench.document()["canary"]["late"] is False
    bench.clock.advance(2)
    assert bench.document()["canary"]["late"] is True
    bench.store.mark("canary_seen")
    assert bench.document()["canary"]["late"] is False


def test_the_limits_of_the_calibration_are_told_in_its_own_words():
    bench = Bench()
    bench.facts = bench.world.facts(limits=("With 500 samples no budget can be kept.",))
    found = bench.document()["calibration"]
    assert found["limits"] == ["With 500 samples no budget can be kept."]
    assert found["flag_rate"] == pytest.approx(bench.world.rules.null_rate(), abs=1e-5)


def test_what_was_rejected_is_told_with_what_to_do():
    bench = Bench()
    bench.store._rejected = {"wrong-width": 2, "bad-key": 9}
    rows = bench.document()["rejected"]
    assert [(row["reason"], row["records"]) for row in rows] == [("bad-key", 9), ("wrong-width", 2)]
    assert all(row["means"] and row["to_do"] for row in rows)


# -- Redis away --------------------------------------------------------------------------------------------------------


def test_before_anything_was_judged_nothing_is_claimed():
    verdict = Bench().document()["verdict"]
    assert [f["title"] for f in verdict["findings"]] == ["No worker runs"]
    bench = Bench()
    bench.world.report()
    assert (bench.document()["verdict"]["level"], bench.document()["verdict"]["headline"]) == (
        "waiting",
        "Nothing has been judged yet",
    )


def test_if_redis_is_away_from_the_beginning_the_document_is_a_sentence_about_it():
    bench = Bench()
    bench.store.away = True
    bench.now = 5.0
    found = bench.document()
    assert found["store"] == {"answers": False, "away_seconds": 5.0, "why": "the store cannot be reached"}
    assert found["verdict"]["headline"] == "Redis does not answer"
    assert found["verdict"]["findings"][0]["runbook"] == f"{RUNBOOK}#stalled-redis"
    assert found["streams"]["rows"] == []


def test_if_redis_goes_away_what_was_known_stays_and_is_called_old(surging):
    before = surging.document()
    surging.store.away = True
    surging.now = 42.0
    found = surging.document()
    assert found["streams"]["rows"] == before["streams"]["rows"]
    assert found["read_at"] == before["read_at"]
    assert "42 seconds" in next(f for f in found["verdict"]["findings"] if f["level"] == "blind")["text"]
    surging.store.away = False
    assert surging.document()["store"]["answers"] is True


def test_the_desk_answers_while_redis_is_away_and_a_stream_is_refused_in_a_sentence(surging):
    desk = Desk(surging.gatherer, surging.facts, monotonic=lambda: 0.0)
    surging.store.away = True
    surging.now = 1.0
    assert json.loads(desk.overview(Query()))["store"]["answers"] is False
    surging.store.away = False
    surging.look()
    surging.store.away = True
    with pytest.raises(StoreError):
        Desk(surging.gatherer, surging.facts).stream(stream_id("front"))
