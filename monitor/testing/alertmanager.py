"""Starts the real Alertmanager on a loopback port for tests, if it is installed."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml

from monitor.errors import LaunchError
from monitor.testing.launcher import HOST, Server, free_port, is_ready, start

NAMES = ("prometheus-alertmanager", "alertmanager")


def find_alertmanager() -> str:
    """Find the program; empty if it is not installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), "")


def start_alertmanager(
    webhook_url: str,
    resolve_timeout: str = "5m",
    *,
    port: int | None = None,
    group_wait: str = "0s",
    group_interval: str = "1s",
) -> Server:
    """Start Alertmanager with empty storage. It passes every alert on to ``webhook_url``.

    Args:
        webhook_url: gets each change, one group for each alert.
        resolve_timeout: an alert that was posted without an end ends after this.
        port: to listen on; a free one if not given.
        group_wait: the first alert of a group is handed on after this.
        group_interval: a change is handed on within this.

    Raises:
        LaunchError: it is not installed, or did not start.
    """
    binary = find_alertmanager()
    if not binary:
        raise LaunchError("no Alertmanager: install prometheus-alertmanager (Debian) or alertmanager")
    folder = Path(tempfile.mkdtemp(prefix="ood-monitor-alertmanager-"))
    settings = {
        "global": {"resolve_timeout": resolve_timeout},
        "route": {
            "receiver": "hook", "group_by": ["..."], "group_wait": group_wait, "group_interval": group_interval,
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "hook", "webhook_configs": [{"url": webhook_url, "send_resolved": True}]}],
    }  # fmt: skip
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    chosen = port or free_port()
    command = [binary, "--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address="]
    command += [f"--web.listen-address={HOST}:{chosen}"]
    server = start("alertmanager", command, chosen, lambda: is_ready(chosen), folder=folder)
    server.remove = True
    return server


def standing_alerts(server: Server) -> list[dict[str, Any]]:
    """Return all alerts that Alertmanager holds as active."""
    with urlopen(f"http://{server.address}/api/v2/alerts?active=true", timeout=5) as reply:
        found: list[dict[str, Any]] = json.load(reply)
    return found
