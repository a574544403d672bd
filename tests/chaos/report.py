"""Outcomes as a Markdown table and as JSON, with what they were measured on."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

from tests.chaos.judge import Outcome

COLUMNS = (
    "fault", "lost", "counted twice", "false", "missed", "late", "mean delay s", "worst delay s", "recovered after s",
    "ended", "told about itself", "broken",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Date, machine and versions."""
    libraries = ("torch", "numpy", "kafka-python", "confluent-kafka", "redis")
    servers = {
        "redis-server": _first_line("redis-server", "--version").split("v=")[-1].split(" ")[0],
        "alertmanager": _first_line("prometheus-alertmanager", "--version").split("version ")[-1].split(" ")[0],
    }
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "kafka": "Apache Kafka 4.1.0, KRaft, one node, 6 partitions",
        **servers,
        **{name: metadata.version(name) for name in libraries},
    }


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "not installed"
    return (done.stdout or done.stderr).splitlines()[0]


def row(outcome: Outcome) -> str:
    """One line of the table."""
    delays = outcome.delays
    recovered = "never" if outcome.recovered_seconds is None else f"{outcome.recovered_seconds:g}"
    mean, worst = (f"{statistics.mean(delays):.1f}", f"{max(delays):.1f}") if delays else ("", "")
    values = [
        outcome.fault, outcome.lost, outcome.counted_twice, len(outcome.false),
        f"{len(outcome.missed)} of {outcome.surges}", len(outcome.late), mean, worst, recovered, len(outcome.ended),
        "; ".join(outcome.notices), "; ".join(outcome.broken) or "no promise",
    ]  # fmt: skip
    return "| " + " | ".join(str(v).replace("|", "/").replace("\n", " ") for v in values) + " |"


def head() -> str:
    """The head of the table."""
    return f"| {' | '.join(COLUMNS)} |\n|{'-|' * len(COLUMNS)}"


def as_json(outcomes: Sequence[Outcome], measured_on: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Everything, for a script."""
    return {"machine": measured_on, "options": options, "outcomes": [asdict(o) for o in outcomes]}
