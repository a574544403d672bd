"""Rules, routes and dashboard: each is read by the tool that will read it, and each rule fires and stays quiet."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from monitor.service.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/rules.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
CASES = yaml.safe_load((Path(__file__).parent / "rule_cases.yml").read_text())
BY_NAME = {r["alert"]: r for g in yaml.safe_load(RULES.read_text())["groups"] for r in g["rules"]}

promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
amtool = pytest.mark.skipif(
    not shutil.which("amtool"), reason="amtool is not installed (Debian: prometheus-alertmanager)"
)


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def case(name: str, series: dict[str, str], at: str, fires: bool) -> dict:
    return {
        "interval": "1m",
        "external_labels": {"runbook": "https://wiki.example.com/runbook"},
        "input_series": [{"series": s, "values": v} for s, v in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
                "eval_time": at,
                "exp_samples": [{"labels": "{}", "value": int(fires)}],
            }
        ],
    }


def test_every_rule_has_a_case():
    assert set(CASES) == set(BY_NAME)


@promtool
@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_rule_fires_on_what_it_is_for_and_on_nothing_else(name, tmp_path):
    rule = CASES[name]
    tests = [case(name, rule["fires"], rule["at"], True)]
    if name != "Watchdog":  # it always fires
        tests.append(case(name, rule["quiet"], rule["at"], False))
    document = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(document))
    run("promtool", "test", "rules", "cases.yml", cwd=tmp_path)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_rule_goes_by_metrics_that_exist_and_links_to_its_own_entry(name):
    rule = BY_NAME[name]
    assert metrics_in(rule["expr"]) <= exposed()
    assert rule["annotations"]["runbook_url"].endswith(f"#rule-{name}")
    assert {"summary", "description"} <= rule["annotations"].keys()


@promtool
def test_prometheus_accepts_the_rules_and_the_example_of_its_settings(tmp_path):
    assert f"{len(BY_NAME)} rules found" in run("promtool", "check", "rules", str(RULES))
    run("promtool", "check", "config", str(ROOT / "deploy/prometheus/prometheus.yml"))


@amtool
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "OODSurge", "kind": "ood"}, "people"),
        ({"alertname": "MonitorStalled", "kind": "stalled"}, "people-who-run-the-monitor"),
        ({"alertname": "OODMonitorStoreAway", "severity": "critical"}, "people-who-run-the-monitor"),
        ({"alertname": "OODMonitorEvidenceRises", "severity": "info"}, "nobody"),
        ({"alertname": "InputsDrift", "kind": "drift"}, "nobody"),
        ({"alertname": "MonitorHeartbeat"}, "dead-mans-switch"),
        ({"alertname": "Watchdog"}, "dead-mans-switch"),
    ],
)
def test_alertmanager_routes_each_alert_to_whom_it_concerns(labels, receiver):
    settings = str(ROOT / "deploy/alertmanager/alertmanager.yml")
    run("amtool", "check-config", settings)
    pairs = [f"{k}={v}" for k, v in labels.items()]
    assert run("amtool", "config", "routes", "test", f"--config.file={settings}", *pairs).split() == [receiver]


def test_the_dashboard_is_the_one_that_its_script_writes():
    made = runpy.run_path(str(DASHBOARD.with_name("make_dashboard.py")))["dashboard"]()
    assert json.loads(DASHBOARD.read_text()) == made, "run deploy/grafana/make_dashboard.py"


def test_the_dashboard_goes_by_metrics_that_exist():
    for expression in expressions():
        assert metrics_in(expression) <= exposed(), expression


@promtool
def test_prometheus_can_read_every_query_of_the_dashboard(tmp_path):
    rules = [{"record": f"x:{n}", "expr": e} for n, e in enumerate(expressions())]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    assert f"{len(rules)} rules found" in run("promtool", "check", "rules", "queries.yml", cwd=tmp_path)


def test_no_two_panels_of_the_dashboard_overlap():
    places = [p["gridPos"] for p in json.loads(DASHBOARD.read_text())["panels"]]
    cells = [(p["x"] + x, p["y"] + y) for p in places for x in range(p["w"]) for y in range(p["h"])]
    assert len(cells) == len(set(cells))


def expressions() -> list[str]:
    found = [t["expr"] for p in json.loads(DASHBOARD.read_text())["panels"] for t in p.get("targets", ())]
    return [e.replace("$__rate_interval", "1m").replace("$job", "ood-monitor") for e in found]


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:ood_monitor|process)_\w+", expression))


def exposed() -> set[str]:
    found = {m.name for m in CATALOGUE}
    return found | {
        f"{m.name}_{part}" for m in CATALOGUE if m.kind == "histogram" for part in ("sum", "count", "bucket")
    }
