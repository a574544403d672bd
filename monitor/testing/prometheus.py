"""Starts the real Prometheus on a loopback port for tests, if it is installed."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from monitor.errors import LaunchError
from monitor.testing.launcher import HOST, Server, free_port, is_ready, start


def find_prometheus() -> str:
    """Find the program; empty if it is not installed."""
    return shutil.which("prometheus") or ""


def start_prometheus(targets: list[str], rules: Path, alertmanager: str, runbook: str) -> Server:
    """Start Prometheus with empty storage. It scrapes, and evaluates its rules, every second.

    Args:
        targets: host and port of what is scraped, as the job ``ood-monitor``.
        rules: the file of its alert rules.
        alertmanager: host and port of Alertmanager.
        runbook: the external label of that name.

    Raises:
        LaunchError: it is not installed, or did not start.
    """
    binary = find_prometheus()
    if not binary:
        raise LaunchError("no Prometheus: install prometheus (Debian)")
    folder = Path(tempfile.mkdtemp(prefix="ood-monitor-prometheus-"))
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "external_labels": {"runbook": runbook}},
        "rule_files": [str(rules)],
        "alerting": {
            "alert_relabel_configs": [{"action": "labeldrop", "regex": "runbook"}],
            "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}],
        },
        "scrape_configs": [{"job_name": "ood-monitor", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    port = free_port()
    command = [binary, "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    command += [f"--web.listen-address={HOST}:{port}"]
    server = start("prometheus", command, port, lambda: is_ready(port), folder=folder)
    server.remove = True
    return server


def ask_prometheus(server: Server, query: str) -> list[dict[str, Any]]:
    """Return what a query finds now: labels (``metric``) and ``value`` of each series."""
    with urlopen(f"http://{server.address}/api/v1/query?{urlencode({'query': query})}", timeout=5) as reply:
        found: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    return found
