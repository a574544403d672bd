"""A worker as Prometheus sees it: every metric from the start, and a real rule told by a real Alertmanager."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.service.catalogue import CATALOGUE
from monitor.testing.alertmanager import find_alertmanager, start_alertmanager
from monitor.testing.launcher import HOST, free_port
from monitor.testing.prometheus import ask_prometheus, find_prometheus, start_prometheus
from monitor.testing.receivers import Receiver

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules.yml"
RUNBOOK = "https://wiki.example.com/runbook"


@pytest.fixture
def watched(cluster):
    """A cluster of one worker that shows its metrics; the port is ``watched.config["http"]["port"]``."""
    c = cluster(http={"port": free_port()})
    c.start_worker()
    return c


def page(c) -> str:
    with urlopen(f"http://{HOST}:{c.config['http']['port']}/metrics", timeout=5) as reply:
        return reply.read().decode()


def shows(c, line: str) -> bool:
    try:
        return line in page(c)
    except OSError:
        return False


def test_a_worker_shows_what_the_catalogue_says_from_the_start_and_nothing_else(watched):
    watched.wait(lambda: shows(watched, "ood_monitor_workers 1.0"))
    families = {f.name: f for f in text_string_to_metric_families(page(watched))}
    catalogue = {m.family: m for m in CATALOGUE}
    assert set(families) == set(catalogue)
    for name, family in families.items():
        assert family.type == catalogue[name].kind, name
        assert family.documentation == catalogue[name].help or name.startswith("process_")
        known = set(catalogue[name].known()) if catalogue[name].labels else {()}
        shown = {tuple(s.labels[label] for label in catalogue[name].labels) for s in family.samples}
        assert known <= shown, f"{name} lacks {known - shown}"


def test_what_is_counted_rejected_and_judged_is_shown(watched):
    watched.publish(600)
    watched.producer().send(watched.topic, value=b"short", partition=0).get(30)
    watched.sent += 1
    watched.wait_until_counted()
    watched.wait(lambda: shows(watched, 'ood_monitor_rejected_total{reason="wrong-width"} 0.0'))
    watched.wait(lambda: shows(watched, 'ood_monitor_rejected_total{reason="wrong-size"} 1.0'))
    watched.wait(lambda: shows(watched, "ood_monitor_samples_total 600.0"))
    watched.wait(lambda: shows(watched, 'ood_monitor_budget_samples{level="stream"}'))
    watched.wait(lambda: shows(watched, "ood_monitor_lag_records 0.0"))
    text = page(watched)
    scored = re.search(r"^ood_monitor_scored_samples_total (.+)$", text, re.MULTILINE)
    assert scored is not None
    assert float(scored[1]) >= 600  # what is read again is scored again
    for stage in ("poll", "decode", "score", "commit"):
        assert f'ood_monitor_stage_seconds_count{{stage="{stage}"}}' in text
    watched.wait(lambda: shows(watched, 'ood_monitor_stream_evidence_ratio{stream="model-0"}'))


@pytest.mark.skipif(
    not (find_prometheus() and find_alertmanager()),
    reason="Prometheus or Alertmanager is not installed (Debian: prometheus, prometheus-alertmanager)",
)
def test_a_rule_fires_while_redis_is_away_and_people_get_its_entry_of_the_runbook(watched, redis):
    receiver = Receiver()
    port = watched.config["http"]["port"]
    watched.wait(lambda: shows(watched, "ood_monitor_leaseholder 1.0"))
    with (
        start_alertmanager(f"{receiver.url}/hook") as alertmanager,
        start_prometheus([f"{HOST}:{port}"], RULES, alertmanager.address, RUNBOOK) as prometheus,
    ):
        watched.wait(lambda: bool(ask_prometheus(prometheus, "ood_monitor_build_info")))
        redis.process.send_signal(signal.SIGSTOP)
        try:
            posts = receiver.wait(lambda requests: any(b"OODMonitorStoreAway" in r.body for r in requests), 60)
        finally:
            redis.process.send_signal(signal.SIGCONT)
        (alert,) = next(r.json["alerts"] for r in posts if b"OODMonitorStoreAway" in r.body)
        assert alert["annotations"]["runbook_url"] == f"{RUNBOOK}#rule-OODMonitorStoreAway"
        assert "Redis does not take writes" in alert["annotations"]["summary"]
        assert "runbook" not in alert["labels"]
        over = b'"status":"resolved"'
        receiver.wait(lambda requests: any(over in r.body and b"StoreAway" in r.body for r in requests), 60)
    receiver.close()
