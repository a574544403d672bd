"""What pages and the API may read of a running process, and the few things that they may change (in the store)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from monitor.alerts.runners import SinkStatus
    from monitor.math.state import MonitorState, Rules
    from monitor.messages.record import Partition
    from monitor.store.overviews import OverviewStore
    from monitor.store.protocol import Store


@dataclass(frozen=True)
class Sources:
    """Everything that a route may ask of the process. All of it may be called from any thread.

    Attributes:
        store: alerts, counts and mutes, over connections of their own. Its methods wait for Redis, so call them in a
            thread (:func:`monitor.web.answers.in_thread`), and let their ``StoreError`` through: it is answered.
        registry: of the metrics.
        evaluator_state: evidence, alerts and budget as this process last judged them; None while another one judges.
        rules: budget, nulls and lifecycle.
        owned: partitions that this process counts now, with the records of each that it has not read; -1: unknown.
        ready: why this process does not do its work yet, in a sentence; empty if it does.
        ends: whether the process is being stopped.
        healthy: why a restart would help this process, in a sentence; empty if it would not.
        group: of this monitor.
        version: of this package.
        artifact: content hash.
        kafka_client: the library that reads the topic.
        calibration_limits: what the calibration set cannot support, in sentences; empty if it supports all.
        settings: sections and keys as they are in force. A secret is ``***`` if it is set, and empty if not.
        redact: a text without secrets.
        class_name: a predicted class for people.
        overviews: what the status page reads of the store, over a connection of its own; None for no status page.
        receivers: sink to where it goes, as people may see it.
        sinks: how each receiver fares in this process.
    """

    store: Callable[[], Store]
    registry: CollectorRegistry
    evaluator_state: Callable[[], MonitorState | None]
    rules: Rules
    owned: Callable[[], Mapping[Partition, int]]
    ready: Callable[[], str] = field(default=lambda: "")
    healthy: Callable[[], str] = field(default=lambda: "")
    ends: Callable[[], bool] = field(default=lambda: False)
    group: str = ""
    version: str = ""
    artifact: str = ""
    kafka_client: str = ""
    calibration_limits: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    redact: Callable[[str], str] = field(default=str)
    class_name: Callable[[int], str] = field(default=str)
    overviews: Callable[[], OverviewStore] | None = None
    receivers: Mapping[str, str] = field(default_factory=dict)
    sinks: Callable[[], Mapping[str, SinkStatus]] = field(default=dict)
