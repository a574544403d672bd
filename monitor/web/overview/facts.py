"""What a process knows of itself and of its settings, as far as the status page shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from monitor.alerts.runners import SinkStatus
from monitor.math.state import Rules


@dataclass(frozen=True)
class Facts:
    """What does not change while a process runs.

    Attributes:
        rules: budget, nulls and lifecycle.
        bucket_ms: width of a bucket.
        version: of this package.
        artifact: content hash.
        group: of this monitor.
        topics: that are read.
        class_name: a predicted class for people.
        limits: what the calibration set supports and what it does not, in sentences.
        image_link: address of a request's image, with ``{id}`` in it; empty for none.
        runbook: address at which ``docs/runbook.md`` is kept; empty for none.
        canary_seconds: time between two canaries, 0 for none.
        canary_timeout_seconds: a canary must be noticed within this.
        drift_window: inputs of a window of slow drift, 0 if nobody looks for it.
        streams_limit: streams that are counted by name.
        receivers: sink to where it goes, as people may see it.
        redact: a text without secrets.
    """

    rules: Rules
    bucket_ms: int
    version: str = ""
    artifact: str = ""
    group: str = ""
    topics: tuple[str, ...] = ()
    class_name: Callable[[int], str] = str
    limits: tuple[str, ...] = ()
    image_link: str = ""
    runbook: str = ""
    canary_seconds: float = 0.0
    canary_timeout_seconds: float = 120.0
    drift_window: int = 0
    streams_limit: int = 0
    receivers: Mapping[str, str] = field(default_factory=dict)
    redact: Callable[[str], str] = str


@dataclass(frozen=True)
class Present:
    """What a process is doing now.

    Attributes:
        judges: whether it holds the lease.
        partitions: how many it counts.
        trouble: why it does not make progress, empty if it does.
        sinks: how each receiver fares here.
    """

    judges: bool = False
    partitions: int = 0
    trouble: str = ""
    sinks: Mapping[str, SinkStatus] = field(default_factory=dict)
