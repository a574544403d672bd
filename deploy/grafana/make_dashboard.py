"""``python deploy/grafana/make_dashboard.py`` writes ``dashboard.json``: a panel for each question of an operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

JOB = 'job=~"$job"'
RATE = "[$__rate_interval]"
FLAGGED = (
    f"sum by (expert) (rate(ood_monitor_flagged_samples_total{{{JOB}}}{RATE})) / ignoring (expert) "
    f"group_left sum (rate(ood_monitor_scored_samples_total{{{JOB}}}{RATE}))"
)
STAGES = (
    f"sum by (stage) (rate(ood_monitor_stage_seconds_sum{{{JOB}}}{RATE})) / "
    f"sum by (stage) (rate(ood_monitor_stage_seconds_count{{{JOB}}}{RATE}))"
)
SLOWEST = f"histogram_quantile(0.99, sum by (le) (rate(ood_monitor_batch_seconds_bucket{{{JOB}}}{RATE})))"

ROWS: tuple[tuple[str, tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...]], ...] = (
    ("Do inputs surge?", (
        ("Alerts that fire", "none", "Surges and silent streams", (
            (f"max(ood_monitor_alerts_firing{{{JOB}}})", "alerts"),
        )),
        ("Evidence against what raises", "percentunit", "An alert is raised at 100 %", (
            (f"max by (level) (ood_monitor_evidence_max_ratio{{{JOB}}})", "{{level}}"),
        )),
        ("Streams with most evidence", "percentunit", "The first twenty", (
            (f"max by (stream) (ood_monitor_stream_evidence_ratio{{{JOB}}})", "{{stream}}"),
        )),
        ("Flagged inputs", "percentunit", "Share of scored inputs beyond the threshold, by expert", (
            (FLAGGED, "{{expert}}"),
        )),
    )),
    ("Can the monitor tell?", (
        ("What keeps it from telling", "none", "1 while it cannot", (
            (f"max by (subject) (ood_monitor_stalled{{{JOB}}})", "{{subject}}"),
        )),
        ("Behind the topic", "s", "How long the oldest record has waited", (
            (f"max(ood_monitor_lag_seconds{{{JOB}}})", "seconds"),
        )),
        ("Records that wait", "none", "Over all partitions", (
            (f"max(ood_monitor_lag_records{{{JOB}}})", "records"),
        )),
        ("Waiting to be judged", "s", "0 if nothing waits", (
            (f"max(ood_monitor_judging_wait_seconds{{{JOB}}})", "seconds"),
        )),
    )),
    ("Where does the time go?", (
        ("Embeddings a second", "none", "Counted", (
            (f"sum(rate(ood_monitor_samples_total{{{JOB}}}[$__rate_interval]))", "embeddings"),
        )),
        ("Stages of a batch", "s", "Mean; polling includes waiting for Kafka", (
            (STAGES, "{{stage}}"),
        )),
        ("From polled to counted", "s", "99 of 100 batches are faster", (
            (SLOWEST, "p99"),
        )),
        ("Memory of a process", "bytes", "", (
            (f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}"),
        )),
    )),
    ("Are people told, and what is not scored?", (
        ("Age of the oldest untold change", "s", "By receiver", (
            (f"max by (sink) (ood_monitor_delivery_oldest_seconds{{{JOB}}})", "{{sink}}"),
        )),
        ("Attempts to tell", "none", "A second, by receiver and outcome", (
            (f"sum by (sink, outcome) (rate(ood_monitor_deliveries_total{{{JOB}}}[$__rate_interval]))",
             "{{sink}} {{outcome}}"),
        )),
        ("Rejected records", "none", "A second, by reason", (
            (f"sum by (reason) (rate(ood_monitor_rejected_total{{{JOB}}}[$__rate_interval])) > 0", "{{reason}}"),
        )),
        ("Spent of the budget", "none", "False alerts to be expected so far, at most", (
            (f"max(ood_monitor_budget_spent_alerts{{{JOB}}})", "alerts"),
        )),
    )),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    for y, (heading, questions) in enumerate(ROWS):
        top = y * 9
        panels.append({"type": "row", "title": heading, "id": len(panels) + 1, "collapsed": False, "panels": []}
                      | {"gridPos": {"h": 1, "w": 24, "x": 0, "y": top}})  # fmt: skip
        for x, (title, unit, about, queries) in enumerate(questions):
            panels.append(_panel(len(panels) + 1, title, unit, about, queries, 6 * x, top + 1))
    job = {
        "name": "job", "label": "group", "type": "query", "datasource": _SOURCE, "multi": True, "includeAll": True,
        "query": {"query": "label_values(ood_monitor_build_info, job)", "refId": "job"}, "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "title": "OOD monitor", "uid": "ood-monitor", "schemaVersion": 39, "editable": True, "refresh": "30s",
        "tags": ["ood-monitor"], "time": {"from": "now-3h", "to": "now"}, "timezone": "utc",
        "templating": {"list": [source, job]}, "panels": panels,
    }  # fmt: skip


_SOURCE = {"type": "prometheus", "uid": "${source}"}


def _panel(
    number: int, title: str, unit: str, about: str, queries: tuple[tuple[str, str], ...], x: int, y: int
) -> dict[str, Any]:
    targets = [
        {"expr": expression, "legendFormat": legend, "refId": chr(65 + n), "datasource": _SOURCE}
        for n, (expression, legend) in enumerate(queries)
    ]
    return {
        "type": "timeseries", "id": number, "title": title, "description": about, "datasource": _SOURCE,
        "gridPos": {"h": 8, "w": 6, "x": x, "y": y}, "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }  # fmt: skip


if __name__ == "__main__":
    text = json.dumps(dashboard(), indent=1) + "\n"
    Path(__file__).with_name("dashboard.json").write_text(text, encoding="utf-8")
