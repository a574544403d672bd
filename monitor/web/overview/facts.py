"""The facts about a process and its settings that the status page shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from monitor.alerts.runners import SinkStatus
from monitor.math.state import Rules


@dataclass(frozen=True)
class Facts:
    """Facts about a process that do not change while it runs.

    Attributes:
        rules: the rules of judging.
        bucket_ms: width of a bucket.
        version: of this package.
        artifact: content hash.
        group: the consumer group.
        topics: the topics that are read.
        class_name: gives the name of a predicted class.
        limits: sentences on what the calibration set supports and what it does not.
        image_link: address of a request's image, with ``{id}`` in it; if empty, there are no links.
        runbook: address of ``docs/runbook.md``; if empty, there is no link.
        canary_seconds: time between two canaries; 0 if none are sent.
        canary_timeout_seconds: a canary must be detected within this time.
        drift_window: inputs in a window of slow drift; 0 if drift is not looked for.
        receivers: the receiver of each sink, as people may see it.
        redact: removes secrets from a text.
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
    receivers: Mapping[str, str] = field(default_factory=dict)
    redact: Callable[[str], str] = str


@dataclass(frozen=True)
class Present:
    """The current work of a process.

    Attributes:
        judges: whether it holds the lease.
        partitions: how many partitions it reads.
        trouble: why it makes no progress; empty if it does.
        sinks: the status of each sink in this process.
    """

    judges: bool = False
    partitions: int = 0
    trouble: str = ""
    sinks: Mapping[str, SinkStatus] = field(default_factory=dict)
