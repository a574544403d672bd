"""The parts of a running process that routes may read, and the store that they may change."""

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
    """The parts of a process that routes may use. Any thread may call all of it.

    Attributes:
        store: alerts, counts and mutes, over connections of their own. Its methods wait for Redis, so call them in a
            thread (:func:`monitor.web.answers.in_thread`), and let their ``StoreError`` through: it is answered.
        registry: the metrics.
        evaluator_state: evidence, alerts and budget as this process last judged them; None if another process judges.
        rules: the rules of judging.
        owned: partitions that this process reads now, with the number of records left to read; -1 if unknown.
        ready: a sentence on why this process does not do its work yet; empty if it does.
        ends: whether the process is being stopped.
        healthy: a sentence on why a restart would help this process; empty if it would not.
        group: the consumer group.
        version: of this package.
        artifact: content hash.
        kafka_client: the library that reads the topic.
        calibration_limits: sentences on what the calibration set cannot support; empty if it supports everything.
        settings: the settings in force, by section and key. A secret is ``***`` if it is set, else empty.
        redact: removes secrets from a text.
        class_name: gives the name of a predicted class.
        overviews: reads the store for the status page, over a connection of its own; None if there is no status page.
        receivers: the receiver of each sink, as people may see it.
        sinks: the status of each sink in this process.
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
