"""The judge of the chaos harness sees what is wrong: hand-made histories, no servers."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from tests.chaos import table
from tests.chaos.faults import Fault, all_faults
from tests.chaos.judge import WITHIN_SECONDS, Judge, Times
from tests.chaos.load import Surge
from tests.chaos.receiver import Told
from tests.chaos.stage import Ended


class Quiet(Fault):
    name, about, allowance = "quiet", "nothing", 0.0


class Blind(Fault):
    name, about, allowance, blind = "blind", "nobody can see", 5.0, True


class Telling(Fault):
    name, about, must_tell = "telling", "must be told of", ("gap",)


class Sent:
    """What a load knows of itself."""

    def __init__(self, *surges):
        self.surges = list(surges)

    def names(self):
        return ["a", "b"]


def told(at, stream="a", status="firing", kind="ood", starts_at=None, **labels):
    stamp = datetime.fromtimestamp(at if starts_at is None else starts_at, tz=timezone.utc).isoformat()
    return Told(at, status, {"kind": kind, "stream": stream, **labels}, {}, stamp)


SURGE = Surge("a", begin=100.0, first=101.0, end=112.0)
TIMES = Times(injected=99.0, healed=99.5, recovered=100.0)
COUNTS = {("a", 0, 1): 5}


def judged(*heard, fault=None, times=TIMES, surges=(SURGE,), counted=COUNTS, recounted=COUNTS, ended=(), deleted=0):
    judge = Judge(fault or Quiet(), times, Sent(*surges), list(heard))
    return judge.outcome(counted, recounted, deleted, list(ended))


def test_a_surge_that_is_told_in_time_breaks_nothing():
    out = judged(told(103.0))
    assert (out.delays, out.broken) == ([2.0], [])


@pytest.mark.parametrize(
    ("heard", "what"),
    [
        ([], "nobody was told of a surge of a"),
        ([told(103.0, stream="b")], "nobody was told of a surge of a"),
        ([told(95.0)], "false alerts: ood of a"),
        ([told(101.0 + WITHIN_SECONDS + 1)], "told too late: a 1.0 s too late"),
        ([told(103.0), told(103.0, stream="b")], "false alerts: ood of b"),
        ([told(103.0), told(103.0, stream="b", kind="silence")], "false alerts: silence of b"),
        ([told(103.0), told(107.0, status="resolved")], "over too early: a 5.0 s before its end"),
        ([told(103.0), told(95.0, stream="", starts_at=90.0)], "false alerts: ood of all streams together"),
    ],
)
def test_a_broken_promise_is_named(heard, what):
    assert any(what in broken for broken in judged(*heard).broken), judged(*heard).broken


def test_an_alert_on_everything_tells_of_a_surge_only_if_it_began_with_it():
    assert judged(told(104.0, stream="", starts_at=102.0)).broken == []
    assert judged(told(104.0, stream="", starts_at=50.0)).missed == ["a"]


def test_silence_of_a_stream_that_a_fault_sent_is_no_false_alert():
    assert judged(told(103.0), told(104.0, stream="request-7", kind="silence")).broken == []


def test_what_nobody_could_see_is_due_from_the_healing_on_and_not_before():
    times = Times(injected=99.0, healed=140.0, recovered=141.0)
    assert judged(told(150.0), fault=Blind(), times=times).broken == []
    assert judged(told(156.0), fault=Blind(), times=times).late == ["a 1.0 s too late"]


def test_counts_that_differ_from_the_recount_are_lost_or_counted_twice():
    out = judged(told(103.0), counted={("a", 0, 1): 4, ("b", 0, 0): 2}, recounted={("a", 0, 1): 5, ("b", 0, 0): 1})
    assert (out.lost, out.counted_twice) == (1, 1)
    assert out.broken[:2] == ["1 samples were lost", "1 samples were counted twice"]
    assert judged(told(103.0), counted={("a", 0, 1): 3}, deleted=2).broken == []


def test_workers_that_end_and_workers_that_never_catch_up_are_named():
    out = judged(told(103.0), times=Times(99.0, 99.5, 0.0), ended=[Ended(100.0, 70, "ood-monitor: unexpected")])
    assert out.broken == ["the workers never caught up", "workers ended by themselves: 70: ood-monitor: unexpected"]


def test_a_fault_that_must_be_told_is_missed_if_no_notice_of_its_kind_came():
    assert judged(told(103.0), fault=Telling()).broken == ["nobody was told of a gap"]
    assert judged(told(103.0), told(104.0, kind="gap", subject="t/1"), fault=Telling()).broken == []


def test_every_fault_has_a_name_of_its_own_and_says_what_happens():
    faults = all_faults()
    assert len(faults) > 25
    assert all(f.about for f in faults.values())


def run_of(fault="quiet", lost=0, delays=(1.0, 2.0), recovered=0.1, missed=()):
    outcome = {"fault": fault, "about": f"about {fault}", "lost": lost, "counted_twice": 0, "false": [], "late": []}
    outcome |= {"missed": list(missed), "surges": 2, "delays": list(delays), "recovered_seconds": recovered}
    return {"outcomes": [outcome]}


def test_the_table_of_several_runs_shows_each_number_on_which_they_differ():
    rows = table.table([run_of(), run_of(lost=1, delays=[3.0], missed=["a"]), run_of(fault="other", recovered=None)])
    assert [list(row.values()) for row in rows] == [
        ["about quiet", "0; 1", "0", "0", "0 of 2; 1 of 2", "0", "1.5; 3.0", "2.0; 3.0", "0.1"],
        ["about other", "0", "0", "0", "0 of 2", "0", "1.5", "2.0", "never"],
    ]


def test_the_table_is_put_into_its_place_in_the_docs(tmp_path):
    run, page = tmp_path / "run.json", tmp_path / "page.md"
    run.write_text(json.dumps(run_of(delays=[])))
    page.write_text("before\n<!-- table chaos -->\nold\nrows\n<!-- end -->\nafter\n")
    assert table.main([str(run), "--write", str(tmp_path)]) == 0
    assert page.read_text().startswith("before\n<!-- table chaos -->\n| fault | lost |")
    assert "\n| about quiet | 0 | 0 | 0 | 0 of 2 | 0 |  |  | 0.1 |\n<!-- end -->\nafter\n" in page.read_text()
