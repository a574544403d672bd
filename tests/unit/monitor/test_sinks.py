"""What receivers are sent: identity, times, batches; and that a sink is one file."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone

import pytest

from monitor.alerts import sinks
from monitor.alerts.alert import fingerprint, moment
from monitor.alerts.delivery import Delivery
from monitor.alerts.layout import identity, notes
from monitor.alerts.sink import Context
from monitor.alerts.sinks.alertmanager import BATCH, Alertmanager
from monitor.alerts.sinks.heartbeat import Heartbeat
from monitor.alerts.sinks.webhook import Webhook
from monitor.config import DeliveryConfig, validate
from monitor.errors import ConfigError, MonitorError
from monitor.math.lifecycle import Alert
from monitor.store.verdicts import Notice
from monitor.testing import FakeClock, MemoryDeliveries, MemoryStore
from monitor.testing.receivers import Receiver, status

NOW = 1_790_000_000.0
SURGE = {
    "fingerprint": "f1", "status": "firing", "change": "raised", "kind": "ood", "level": "stream", "stream": "a",
    "severity": "warning", "started_at": moment(NOW - 60), "onset_at": moment(NOW - 90), "updated_at": moment(NOW - 60),
    "ended_at": "", "rate": "0.2", "rate_low": "0.1", "rate_high": "0.3", "samples": "9", "evidence": "1e9",
    "evidence_needed": "1e6", "classes": '["cat"]', "streams": "[]", "artifact": "h",
    "examples": json.dumps([{"id": "r7", "confidence": 0.1}]),
}  # fmt: skip
OVER = {**SURGE, "status": "resolved", "change": "resolved", "ended_at": moment(NOW - 5)}
NOTICE = {
    **Notice("gap", "embeddings/3", True, "critical", "Records were lost: look at retention.", {"lost": "12"}).fields(),
    "fingerprint": "n1", "status": "firing", "change": "raised", "started_at": moment(NOW), "ended_at": "",
    "updated_at": moment(NOW), "onset_at": moment(NOW),
}  # fmt: skip


def context(clock=lambda: NOW, healthy=lambda: True, group="g", **delivery):
    return Context(group, DeliveryConfig(**delivery), healthy, clock)


def manager(url="http://am:9093", **more):
    return Alertmanager(url, context(**{"heartbeat": False, **more}))


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


# -- identity ----------------------------------------------------------------------------------------------------------


def test_nothing_that_may_change_while_an_alert_fires_is_part_of_its_identity():
    risen = {**SURGE, "severity": "critical", "level": "class", "rate": "0.9", "change": "updated"}
    assert identity(SURGE, "g", {}) == identity(risen, "g", {}) == identity(OVER, "g", {})
    assert identity(SURGE, "g", {"team": "ml"}) == {
        "team": "ml", "alertname": "OODSurge", "group": "g", "kind": "ood", "stream": "a",
    }  # fmt: skip
    assert (notes(SURGE)["severity"], notes(risen)["severity"]) == ("warning", "critical")


def test_no_name_of_a_stream_is_taken_for_everything_together():
    def found(stream, kind="ood"):
        return fingerprint("g", Alert(stream, kind, 0, 0.0, 0.0))

    names = [None, "None", "", "everything", "\0None", "stream\0g\0ood\0None", "\ud800", "null"]
    assert len({found(name) for name in names} | {found(name, "silence") for name in names}) == 2 * len(names)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("ood", "OODSurge"), ("silence", "StreamSilent"), ("stalled", "MonitorStalled"), ("gap", "RecordsLost"),
     ("bad-records", "BadRecords"), ("streams", "TooManyStreams"), ("epoch", "EvidenceRestarted"),
     ("disk-full", "MonitorDiskFull")],
)  # fmt: skip
def test_each_kind_has_a_name(kind, name):
    assert identity({"kind": kind, "subject": "x"}, "g", {})["alertname"] == name


def test_two_streams_never_share_an_identity_however_they_are_named():
    long = "x" * 500
    names = [
        "",
        "a",
        "a ",
        "a\x00",
        "a\x01",
        "a\n",
        "a\ufffd",
        "a\ud800",
        "a\u202e",
        long,
        long + "y",
        "\x1b[31m",
        "None",
    ]
    found = [identity({**SURGE, "stream": n, "fingerprint": f"f{i}"}, "g", {}) for i, n in enumerate(names)]
    everything = identity({**SURGE, "stream": "", "level": "everything", "fingerprint": "f"}, "g", {})
    assert len({json.dumps(labels, sort_keys=True) for labels in [*found, everything]}) == len(names) + 1
    for labels in found:
        for value in labels.values():
            value.encode()  # valid UTF-8
            assert value.isprintable()
            assert 0 < len(value) <= 200


def test_an_alert_says_what_happened_in_a_sentence():
    assert notes(SURGE)["summary"].startswith(
        "Stream 'a' has a surge of out-of-distribution inputs: 20.0 % of 9 inputs"
    )
    assert "r7" in notes(SURGE)["description"]
    assert notes({**SURGE, "kind": "silence"})["summary"].startswith("Stream 'a' has sent nothing since")
    assert notes({**SURGE, "stream": "", "level": "everything"})["summary"].startswith("Everything together has")
    assert notes(NOTICE)["summary"] == "Records were lost: look at retention."
    assert notes(NOTICE)["lost"] == "12"


def test_annotations_are_bounded_and_lists_in_them_stay_whole():
    many = {**SURGE, "streams": json.dumps([f"stream-{n}" for n in range(100_000)]), "summary": "x" * 10_000}
    found = notes(many)
    assert all(len(value) <= 2000 for value in found.values())
    assert json.loads(found["streams"])[:2] == ["stream-0", "stream-1"]


# -- webhook -----------------------------------------------------------------------------------------------------------


def test_the_webhook_has_the_layout_of_alertmanagers():
    with Receiver() as receiver:
        assert Webhook(receiver.url, context()).send([OVER]).status == "taken"
        document = receiver.requests[0].json
    assert (document["version"], document["status"], document["groupKey"]) == ("4", "resolved", "g:f1")
    (alert,) = document["alerts"]
    assert (alert["fingerprint"], alert["endsAt"]) == ("f1", OVER["ended_at"])
    assert Webhook(receiver.url, context()).document(SURGE)["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"


# -- Alertmanager ------------------------------------------------------------------------------------------------------


def test_a_firing_alert_ends_by_itself_a_few_intervals_ahead():
    (posted,) = manager(resend_seconds=30).documents([SURGE])
    assert (seconds(posted["startsAt"]), seconds(posted["endsAt"])) == (NOW - 60, NOW + 120)


def test_a_slow_exchange_does_not_outlast_an_alert():
    (posted,) = manager(resend_seconds=1, timeout_seconds=10).documents([SURGE])
    assert seconds(posted["endsAt"]) == NOW + 40


@pytest.mark.parametrize("stream_time", [-3600.0, 0.0, 3300.0, -(2**33)])
def test_times_of_inputs_that_make_no_sense_never_make_an_alert_that_is_refused(stream_time):
    """Alerts carry the time of their inputs; senders choose it."""
    begins = moment(NOW + stream_time)
    for ended in (moment(NOW + stream_time - 500), moment(NOW + stream_time + 5000), "", "nonsense"):
        (posted,) = manager().documents([{**OVER, "started_at": begins, "ended_at": ended}])
        assert seconds(posted["startsAt"]) <= seconds(posted["endsAt"]) <= NOW
    (posted,) = manager().documents([{**SURGE, "started_at": begins}])
    assert seconds(posted["startsAt"]) <= NOW < seconds(posted["endsAt"])


def test_a_clock_that_differs_from_alertmanagers_is_corrected_at_once():
    """This host is ten minutes behind: without a correction every alert ends before it arrives."""
    theirs = datetime.fromtimestamp(NOW + 600, tz=timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    with Receiver(status(200, Date=theirs)) as receiver:
        manager(receiver.url).send([SURGE])
        first, second = receiver.requests
    assert seconds(first.json[0]["endsAt"]) < NOW + 600
    assert seconds(second.json[0]["endsAt"]) == NOW + 600 + 120


@pytest.mark.parametrize(
    "date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 1600 00:00:00 GMT", "soon", "0", "\xff"]
)
def test_a_date_that_cannot_be_a_clock_is_ignored(date):
    with Receiver(status(200, Date=date)) as receiver:
        am = manager(receiver.url, heartbeat=True)
        for _ in range(2):
            assert am.send([SURGE]).status == "taken"
        assert all(seconds(a["endsAt"]) == NOW + 120 for r in receiver.requests for a in r.json)
        assert len(receiver.requests) == 2


def test_one_alert_that_is_refused_does_not_keep_the_others_from_being_told():
    told = set()

    def picky(connection, closed):
        alerts = receiver.requests[-1].json
        streams = {a["labels"]["stream"] for a in alerts}
        if "bad" in streams:
            status(400, "bad alert")(connection, closed)
        else:
            told.update(streams)
            status(200)(connection, closed)

    alerts = [{**SURGE, "stream": name} for name in ("bad", *map(str, range(2 * BATCH)))]
    with Receiver(picky) as receiver:
        outcome = manager(receiver.url).send(alerts)
    assert told == set(map(str, range(2 * BATCH)))
    assert (outcome.status, "bad alert" in outcome.why) == ("refused", True)


def test_the_monitors_own_alerts_come_before_those_that_senders_can_multiply():
    flood = [{**SURGE, "stream": str(n)} for n in range(500)]
    assert manager().documents([*flood, NOTICE])[0]["labels"]["alertname"] == "RecordsLost"


def test_an_alertmanager_that_hangs_is_not_asked_once_for_every_batch():
    with Receiver("hangs") as receiver:
        flood = [{**SURGE, "stream": str(n)} for n in range(20 * BATCH)]
        assert manager(receiver.url, timeout_seconds=0.3).send(flood).status == "again"
        assert len(receiver.requests) == 1


def test_the_heartbeat_is_posted_while_the_process_makes_progress_and_not_after():
    alive = [True]
    am = manager(heartbeat=True, healthy=lambda: alive[0], labels={"team": "ml"})
    (beat,) = am.documents([])
    assert beat["labels"] == {"alertname": "MonitorHeartbeat", "group": "g", "team": "ml"}
    assert seconds(beat["endsAt"]) == NOW + 120
    alive[0] = False
    assert am.documents([]) == []


def test_the_ping_stops_if_the_process_makes_no_progress():
    alive = [True]
    with Receiver() as receiver:
        ping = Heartbeat(receiver.url + "/ping", context(healthy=lambda: alive[0]))
        ping.send(())
        alive[0] = False
        ping.send(())
        assert [(r.method, r.path) for r in receiver.requests] == [("GET", "/ping")]


def test_a_check_of_alertmanager_says_what_is_wrong_without_its_token():
    with Receiver(status(503, "starting")) as receiver, pytest.raises(MonitorError, match="503: starting") as error:
        manager(f"{receiver.url}/hunter2").check()
    assert "hunter2" not in str(error.value)


# -- one file a sink ---------------------------------------------------------------------------------------------------

NEW_SINK = """
from pathlib import Path
from monitor.alerts.sink import TAKEN
from monitor.config import Section


class Settings(Section):
    path: str = ""


class LinesInAFile:
    name, mode, every = "lines", "transitions", 0.0

    def __init__(self, path):
        self.shown, self._path = path, Path(path)

    def send(self, alerts):
        with self._path.open("a") as out:
            out.writelines(f"{a['kind']} {a['subject']} {a['status']}\\\\n" for a in alerts)
        return TAKEN

    def check(self):
        return "it can be written"


def open(settings, context):
    return LinesInAFile(settings.path) if settings.path else None
"""
LEAST = {"model": {"artifact": "a"}, "kafka": {"bootstrap_servers": "b:1", "topic": "t"}}


@pytest.fixture
def dropped_in(tmp_path, monkeypatch):
    """A file beside those of the package, as if it lay in its folder."""
    sys.modules.pop("monitor.alerts.sinks.lines", None)  # an example of the docs has the same name
    vars(sinks).pop("lines", None)
    (tmp_path / "lines.py").write_text(NEW_SINK.replace("\\\\n", "\\n"))
    monkeypatch.setattr(sinks, "__path__", [*sinks.__path__, str(tmp_path)])
    sinks.modules.cache_clear()
    yield tmp_path
    sys.modules.pop("monitor.alerts.sinks.lines", None)
    vars(sinks).pop("lines", None)
    sinks.modules.cache_clear()


def test_a_new_sink_is_one_file_with_its_settings(dropped_in):
    out = dropped_in / "alerts.txt"
    config = validate({**LEAST, "delivery": {"lines": {"path": str(out)}}}).delivery
    store = MemoryStore(FakeClock())
    delivery = Delivery(config, "g", MemoryDeliveries(store), "me")
    assert list(delivery.statuses) == ["lines"]
    runner = delivery._runners[0]
    runner.turn()  # it is switched on
    store.notice(Notice("gap", "embeddings/3", True, "critical", "Lost."))
    runner.turn()
    assert out.read_text() == "gap embeddings/3 firing\n"


def test_settings_of_a_new_sink_are_checked_like_all_others(dropped_in):
    with pytest.raises(ConfigError, match=r"delivery.sinks: lines: unknown key 'pth': did you mean 'path'\?"):
        validate({**LEAST, "delivery": {"lines": {"pth": "x"}}})
    with pytest.raises(ConfigError, match=r"unknown key 'delivery\.line'"):
        validate({**LEAST, "delivery": {"line": {"path": "x"}}})
    assert sinks.open_sinks(context()) == []


def test_a_sink_that_cannot_be_loaded_is_named(dropped_in):
    (dropped_in / "broken.py").write_text("import a_library_that_is_not_there\n")
    sinks.modules.cache_clear()
    with pytest.raises(ConfigError, match=r"the sink broken .* cannot be loaded: No module named 'a_library"):
        validate(LEAST)


@pytest.mark.parametrize(
    ("labels", "message"),
    [({"stream": "x"}, "is set by the monitor"), ({"te-am": "x"}, "expected letters"), ({"team": ""}, "expected 1 to"),
     ({"team": "a\nb"}, "expected 1 to")],
)  # fmt: skip
def test_fixed_labels_that_would_break_an_identity_are_refused(labels, message):
    with pytest.raises(ConfigError, match=message):
        validate({**LEAST, "delivery": {"labels": labels}})
