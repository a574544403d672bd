"""The catalogue, what is made of it, the pages written from it, and the runbook that has an entry for everything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.layout import ALERT_NAMES, notes, runbook_link
from monitor.cli.exit_codes import ExitCode
from monitor.config import validate
from monitor.errors import ConfigError
from monitor.judging.watch import SUBJECTS
from monitor.math.budget import LEVELS
from monitor.messages.reasons import REASONS
from monitor.messages.record import Partition
from monitor.service.catalogue import CATALOGUE, OWN, metric
from monitor.service.catalogue.__main__ import pages
from monitor.service.evidence_metrics import label_of, largest
from monitor.service.telemetry import Telemetry
from monitor.sources.deadletters import Sent
from monitor.store.partitions import PartitionState
from monitor.store.verdicts import Health

DOCS = Path(__file__).parents[3] / "docs"
RUNBOOK = (DOCS / "runbook.md").read_text()
ANCHORS = set(re.findall(r'<a id="([^"]+)"></a>', RUNBOOK))


def test_the_generated_pages_are_up_to_date():
    for path, text in pages(DOCS).items():
        assert path.read_text() == text, f"{path.name} is out of date: run `make docs`"


def test_names_have_their_unit_and_labels_are_bounded():
    assert len({m.name for m in CATALOGUE}) == len(CATALOGUE)
    for m in OWN:
        assert re.fullmatch(r"ood_monitor_[a-z0-9_]+", m.name)
        assert m.name.endswith("_total") == (m.kind == "counter"), m.name
        assert m.unit != "seconds" or m.name.endswith("_seconds"), m.name
        assert not m.help.endswith(".")
        assert not {"id", "request", "offset"} & set(m.labels)


def test_metrics_are_in_a_registry_of_their_own_and_known_series_begin_at_zero():
    from prometheus_client import REGISTRY, generate_latest

    telemetry = Telemetry("0123456789abcdef", version="1", group="g", kafka_client="kafka-python")
    text = generate_latest(telemetry.registry).decode()
    assert (
        'ood_monitor_build_info{artifact="0123456789ab",group="g",kafka_client="kafka-python",version="1"} 1.0' in text
    )
    for reason in REASONS:
        assert f'ood_monitor_rejected_total{{reason="{reason}"}} 0.0' in text
    telemetry.counted(5, {"wrong-width": 2}, 0.01)
    telemetry.store_away(True)
    telemetry.watch_letters(Sent(letters=9, stubs=3, unsent=1, failures=2))
    text = generate_latest(telemetry.registry).decode()
    assert "ood_monitor_samples_total 5.0" in text
    assert 'ood_monitor_rejected_total{reason="wrong-width"} 2.0' in text
    assert "ood_monitor_store_away 1.0" in text
    assert "ood_monitor_dead_letter_failures_total 2.0" in text
    for kind, n in (("whole", 6.0), ("stub", 3.0), ("nothing", 1.0)):
        assert f'ood_monitor_dead_letters_total{{sent="{kind}"}} {n}' in text
    assert b"ood_monitor" not in generate_latest(REGISTRY)


def test_lag_and_what_cannot_be_read_are_shown_for_each_topic_that_is_read():
    from prometheus_client import generate_latest

    telemetry = Telemetry("0123456789abcdef", topics=("cars", "birds"))
    states = {
        Partition("cars", 0): PartitionState(1, 10, 5, 0, 0, 7),
        Partition("cars", 1): PartitionState(1, 10, 5, 0, 0, 2),
        Partition("birds", 0): PartitionState(1, 10, 5, 0, 0, 0),
    }
    telemetry.watched(Health(1000), states, [])
    telemetry.watched(Health(5000), states, [])
    telemetry.unreadable(["birds"])
    text = generate_latest(telemetry.registry).decode()
    for line in (
        "ood_monitor_lag_records 9.0", 'ood_monitor_topic_lag_records{topic="cars"} 9.0',
        'ood_monitor_topic_lag_records{topic="birds"} 0.0', 'ood_monitor_topic_lag_seconds{topic="cars"} 4.0',
        'ood_monitor_topic_lag_seconds{topic="birds"} 0.0', "ood_monitor_lag_seconds 4.0",
        'ood_monitor_topic_away{topic="cars"} 0.0', 'ood_monitor_topic_away{topic="birds"} 1.0',
    ):  # fmt: skip
        assert line in text, line
    telemetry.unreadable([])
    assert 'ood_monitor_topic_away{topic="birds"} 0.0' in generate_latest(telemetry.registry).decode()


@given(names=st.lists(st.text(max_size=250), unique=True, max_size=12))
def test_no_two_streams_share_a_label_and_no_label_is_long(names):
    taken = {}
    for name in names:
        taken[label_of(name, taken)] = name
    assert len(taken) == len(names)
    assert all(len(label) <= 200 and "\n" not in label for label in taken)


def test_the_largest_evidence_of_a_level_is_shown_even_if_there_is_none():
    assert largest({}) == dict.fromkeys(LEVELS, 0.0)
    assert largest({("a", None): 0.2, ("b", None): 0.7, (None, None): 0.1, ("a", 3): 0.4}) == {
        "stream": 0.7,
        "everything": 0.1,
        "class": 0.4,
    }


def test_a_metric_that_is_not_in_the_catalogue_is_an_error():
    assert metric("samples_total") is metric("ood_monitor_samples_total")
    with pytest.raises(KeyError):
        metric("no_such")


# -- the runbook -------------------------------------------------------------------------------------------------------


def expected_anchors() -> set[str]:
    import yaml

    rules = yaml.safe_load((DOCS.parent / "deploy/prometheus/rules.yml").read_text())["groups"][0]["rules"]
    kinds = {kind for kind in ALERT_NAMES if kind != "stalled"}
    return (
        kinds
        | {f"stalled-{subject}" for subject in SUBJECTS}
        | {f"rule-{rule['alert']}" for rule in rules}
        | {f"reason-{reason}" for reason in REASONS}
        | {f"exit-{int(code)}" for code in ExitCode}
        | {"heartbeat", "dead-letters"}
    )


def test_the_runbook_has_an_entry_for_everything_and_none_that_is_stale():
    assert expected_anchors() == ANCHORS


def test_every_entry_of_the_runbook_says_what_it_means_and_what_to_do():
    for entry in re.split(r"(?=<a id=)", RUNBOOK)[1:]:
        if 'id="dead-letters"' not in entry:
            assert "**It means" in entry, entry[:80]
            assert re.search(r"\*\*(Do|It means, look at, do|Look at, do):\*\*", entry), entry[:80]


@pytest.mark.parametrize("kind", [k for k in ALERT_NAMES if k != "stalled"])
def test_each_alert_links_to_its_entry(kind):
    alert = {"kind": kind, "subject": "embeddings/3" if kind in ("gap", "bad-records") else ""}
    link = notes(alert, "https://wiki.example.com/r")["runbook_url"]
    assert link.removeprefix("https://wiki.example.com/r#") in ANCHORS


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_reason_for_being_blind_links_to_its_entry(subject):
    link = runbook_link({"kind": "stalled", "subject": subject}, "https://wiki.example.com/r")
    assert link.removeprefix("https://wiki.example.com/r#") in ANCHORS


def test_without_an_address_there_is_no_link_and_no_name_gets_into_one():
    assert "runbook_url" not in notes({"kind": "ood"})
    assert runbook_link({"kind": "stalled", "subject": 'x"><script>'}, "https://wiki.example.com/r") == ""


@pytest.mark.parametrize(
    "address", ["wiki/r", "https://wiki example", "https://wiki.example.com/r#x", "javascript:alert(1)"]
)
def test_an_address_that_is_no_link_is_refused(address):
    document = {"model": {"artifact": "a"}, "kafka": {"bootstrap_servers": "h:1", "topic": "t"}}
    with pytest.raises(ConfigError, match="runbook_url"):
        validate(document | {"delivery": {"runbook_url": address}})
